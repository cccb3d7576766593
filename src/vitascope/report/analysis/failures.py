"""What each encoder alone gets wrong, and alone gets right: examples of a task on which it differs from all others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vitascope.evaluation.results import Result, read_predictions
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard

COLUMNS = frozenset({"id", "fold", "label", "top", "outcome", "path", "frame_rate", "from", "to"})
RIGHT = 50.0
"""Mean outcome over seeds from which an example counts as right, percent."""
MAX_SHOWN = 4
"""Examples shown of one encoder and kind."""
MAX_LOOPS = 72
"""Examples shown on a page."""


class Part(NamedTuple):
    """A video file and the part of it that is an example; seconds, NaN for its start or end."""

    path: str
    frame_rate: float
    start: float
    end: float


class Example(NamedTuple):
    """An example on which an encoder differs from all others."""

    id: str
    part: Part
    truth: str
    predicted: str


class Alone(NamedTuple):
    """What an encoder alone gets wrong, or right: how many examples, and some of different classes."""

    row: EncoderRow
    right: bool
    total: int
    examples: tuple[Example, ...]


class TaskFailures(NamedTuple):
    """A task, the number of examples that all its encoders were tested on, and what each alone gets wrong or right."""

    task: str
    dataset: str
    probe: str
    common: int
    alone: tuple[Alone, ...]
    tells_files: bool
    """Whether the predictions tell the files of examples, as those of earlier versions do not."""


@dataclass(frozen=True)
class _Answers:
    """Predictions of an encoder, by fold and example."""

    place: Mapping[str, int]
    right: NDArray[np.bool_]
    columns: Mapping[str, Sequence[object]]
    classes: Sequence[str]

    def example(self, key: str) -> Example:
        """One example with what was predicted."""
        i, column = self.place[key], self.columns
        top = column["top"][i] if "top" in column else None
        first = int(top[0]) if isinstance(top, list) and top else -1
        predicted = self.classes[first] if 0 <= first < len(self.classes) else ""
        numbers = [self._number(name, i) for name in ("frame_rate", "from", "to")]
        path = str(column["path"][i]) if "path" in column else ""
        truth = str(column["label"][i]) if "label" in column else ""
        return Example(str(column["id"][i]), Part(path, *numbers), truth, str(predicted))

    def _number(self, name: str, i: int) -> float:
        value = self.columns[name][i] if name in self.columns else None
        return float(value) if isinstance(value, (int, float)) else math.nan


def failures(board: Leaderboard) -> list[TaskFailures]:
    """The main columns of one label per example in which two encoders or more have predictions."""
    found = [one for column in board.main() if (one := _of_column(column, board.rows))]
    share = max(MAX_LOOPS // max(sum(len(task.alone) for task in found), 1), 1)
    return [
        task._replace(alone=tuple(a._replace(examples=a.examples[: min(share, MAX_SHOWN)]) for a in task.alone))
        for task in found
    ]


def _of_column(column: Column, rows: Sequence[EncoderRow]) -> TaskFailures | None:
    loaded = {row: answers for row, result in column.cells.items() if (answers := _load(result))}
    if len(loaded) < 2:
        return None
    keys = sorted(set.intersection(*(set(a.place) for a in loaded.values())))
    order = list(loaded)
    right = np.array([[loaded[row].right[loaded[row].place[key]] for key in keys] for row in order], bool)
    alone = tuple(each for i, row in enumerate(order) for each in _alone(rows[row], loaded[row], right, (i, keys)))
    first = column.first
    tells = all("path" in answers.columns for answers in loaded.values())
    return TaskFailures(column.task, first.dataset, first.probe, len(keys), alone, tells) if alone else None


def _alone(
    row: EncoderRow, answers: _Answers, right: NDArray[np.bool_], at: tuple[int, Sequence[str]]
) -> Iterator[Alone]:
    """What the encoder at place `at[0]` alone gets wrong, then right, where there is any.

    Of two encoders only what each gets wrong, since the other alone is right there.
    """
    own, keys = at
    others = np.delete(right, own, axis=0)
    kinds = [(False, ~right[own] & others.all(0)), (True, right[own] & ~others.any(0))]
    for kind, mask in kinds if len(others) > 1 else kinds[:1]:
        found = [answers.example(keys[i]) for i in np.flatnonzero(mask).tolist()]
        if found:
            yield Alone(row, kind, len(found), tuple(spread(found)[:MAX_SHOWN]))


def spread(examples: Sequence[Example]) -> list[Example]:
    """Examples in turn from each class: the first of every class, then the second, and so on."""
    turn: dict[str, int] = {}
    numbered: list[tuple[int, int, Example]] = []
    for example in examples:
        turn[example.truth] = turn.get(example.truth, -1) + 1
        numbered.append((turn[example.truth], len(numbered), example))
    return [example for *_, example in sorted(numbered, key=lambda item: item[:2])]


def _load(result: Result) -> _Answers | None:
    path = Path(result.predictions)
    if result.kind != "recognition" or result.multilabel or not result.predictions or not path.is_file():
        return None
    columns = read_predictions(path, COLUMNS, top=1)
    if "outcome" not in columns:
        return None
    folds = columns.get("fold", [0] * len(columns["id"]))
    place = {f"{fold}/{i}": n for n, (fold, i) in enumerate(zip(folds, columns["id"], strict=True))}
    right = np.array(columns["outcome"], float) >= RIGHT
    return _Answers(place, right, columns, result.settings.get("classes") or ())
