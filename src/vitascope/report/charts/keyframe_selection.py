"""Keyframe selection: which keyframes of a task are drawn, and which boxes of each encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vitascope.core.text import escaped
from vitascope.metrics import boxes
from vitascope.metrics.frame_ap import IOU
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.phrases import with_caveats
from vitascope.report.charts.best_boxes import BestBoxes, FrameKey, read_best_boxes

MAX_ENCODERS = 8
"""Number of encoders of a task whose keyframes are drawn."""
LETTERS = 26
"""Letters of a label that are drawn; all of it is in the tooltip."""
MAX_LABELS = 3
"""Labels of a box that are drawn; all of them are in the tooltip."""
NOTE = (
    "Each encoder is shown with the best of its boxes, as many (box, class) rows as the keyframe has true ones. Right: "
    f"rows of a class whose true box they overlap with an IoU of at least {IOU:g}. Best and worst: by the percentage "
    "of right rows, then by their number; typical: the median. White: the true boxes; hover for all classes and scores."
)


class Label(NamedTuple):
    """A line of text in a box."""

    text: str
    kind: str
    """`true`, `right`, `wrong` or `place`, as the boxes."""


class ShownBox(NamedTuple):
    """A box over a picture: fractions of its width and height."""

    left: float
    top: float
    width: float
    height: float
    kind: str
    """Of true boxes `true` or `missed`, of predicted ones `right`, `partly`, `label` or `place` (what is wrong)."""
    labels: tuple[Label, ...]
    tip: str


class Source(NamedTuple):
    """Where the frame of a keyframe is."""

    path: str
    frame_rate: float
    """Of a folder of frames; 0: unknown."""
    time: float
    """Seconds from the first frame."""


class KeyframeView(NamedTuple):
    """A keyframe with the boxes of one encoder."""

    row: int
    """Index of the encoder."""
    encoder: str
    reason: str
    name: str
    """The example and the time."""
    score: str
    source: Source
    shown: tuple[ShownBox, ...]


class TaskKeyframes(NamedTuple):
    """Keyframes of one column of the leaderboard."""

    title: str
    stem: str
    """First part of the names of its picture files."""
    note: str
    own: tuple[tuple[KeyframeView, ...], ...]
    """Best, typical and worst keyframe of each encoder."""
    apart: tuple[KeyframeView, ...]
    """The keyframe on which encoders differ most, of each; empty for fewer than two."""
    left_out: int
    """Number of further encoders."""

    @property
    def views(self) -> list[KeyframeView]:
        """All of them."""
        return [*(view for views in self.own for view in views), *self.apart]


class Encoder(NamedTuple):
    """The boxes of one encoder of a task."""

    row: int
    label: str
    best: BestBoxes


class ColumnBoxes(NamedTuple):
    """A column of the leaderboard, and its encoders with saved predictions."""

    column: Column
    encoders: list[Encoder]

    @property
    def title(self) -> str:
        """The task, with caveats, and the protocol of a column that is not the main one."""
        column = self.column
        other = "" if column.main else f", protocol {column.protocol[:6]}"
        return with_caveats(escaped(column.task), column) + other

    @property
    def stem(self) -> str:
        """First part of the names of picture files."""
        name = f"{self.column.first.dataset}-{self.column.first.probe}"
        return name if self.column.main else f"{name}-{self.column.protocol[:6]}"

    @property
    def classes(self) -> list[str]:
        """Names of the classes, safe to show."""
        return [escaped(name) for name in self.column.first.settings.get("classes") or ()]


def load(board: Leaderboard) -> list[ColumnBoxes]:
    """Read the saved predictions of all tasks of actors in space and time."""
    return [ColumnBoxes(c, _encoders(board, c)) for c in board.plain() if c.first.kind == "detection"]


def _encoders(board: Leaderboard, column: Column) -> list[Encoder]:
    cells = [(row, column.cells[row.index]) for row in board.rows if row.index in column.cells]
    read = [(row, read_best_boxes(result)) for row, result in cells]
    return [Encoder(row.index, escaped(row.label), best) for row, best in read if best is not None]


def task_keyframes(columns: Sequence[ColumnBoxes]) -> list[TaskKeyframes]:
    """Choose keyframes for each task with saved predictions."""
    return [chosen for one in columns if (chosen := _of_column(one))]


def _of_column(boxed: ColumnBoxes) -> TaskKeyframes | None:
    shown = [one for one in boxed.encoders[:MAX_ENCODERS] if one.best.frames]
    if not shown:
        return None
    classes = boxed.classes
    own = tuple(
        tuple(_view(one, frame, reason, classes) for frame, reason in choose(one.best).items()) for one in shown
    )
    most = farthest_apart([one.best for one in shown])
    apart = tuple(_view(one, most, "largest difference", classes) for one in shown) if most else ()
    return TaskKeyframes(boxed.title, boxed.stem, NOTE, own, apart, len(boxed.encoders[MAX_ENCODERS:]))


def choose(best: BestBoxes) -> dict[FrameKey, str]:
    """The best, the typical (median) and the worst keyframe of an encoder, and why each; ties go to the first."""
    frames = best.frames
    ranked = sorted(frames, key=lambda f: (frames[f].share, frames[f].overlap))
    top = max(frames, key=lambda f: (frames[f].share, frames[f].rows, frames[f].overlap))
    worst = min(frames, key=lambda f: (frames[f].share, -frames[f].rows, frames[f].overlap))
    reasons: dict[FrameKey, list[str]] = {top: ["best"]}
    middle = ranked[(len(ranked) - 1) // 2 :] + ranked[: (len(ranked) - 1) // 2]
    reasons.setdefault(next((f for f in middle if f not in (top, worst)), middle[0]), []).append("typical")
    reasons.setdefault(worst, []).append("worst")
    return {frame: ", ".join(each) for frame, each in reasons.items()}


def farthest_apart(encoders: Sequence[BestBoxes]) -> FrameKey | None:
    """The keyframe of all encoders on which the best and the worst differ most; None if they nowhere do."""
    common = [f for f in encoders[0].frames if all(f in one.frames for one in encoders[1:])]
    gaps = {f: np.ptp([one.frames[f].share for one in encoders]) for f in common}
    most = max(gaps, key=lambda f: (gaps[f], encoders[0].frames[f].rows), default=None)
    return most if most is not None and gaps[most] > 0 else None


def _view(one: Encoder, frame: FrameKey, reason: str, classes: Sequence[str]) -> KeyframeView:
    score, name = one.best.frames[frame], escaped(frame[0])
    alone = sum(example == frame[0] for example, _ in one.best.frames) == 1
    return KeyframeView(
        one.row,
        one.label,
        reason,
        name if alone else f"{name}, {frame[1]:.2f} s",
        f"{round(score.share * score.rows)} of {score.rows} right",
        Source(*one.best.sources.get(frame[0], ("", 0.0)), frame[1]),
        (*_true_boxes(one.best, frame, classes), *_predicted_boxes(one.best, frame, classes)),
    )


def _true_boxes(best: BestBoxes, frame: FrameKey, classes: Sequence[str]) -> Iterator[ShownBox]:
    side, rows = best.true, best.frames[frame].true_rows
    for own in _same_boxes(side, rows):
        names = [_name(classes, label) for label in side.label[own].tolist()]
        found = bool(best.overlap_of_true[own[0]] >= IOU)
        told = "\n".join(["true box" if found else "true box, not found", *names])
        labels = (Label(_short(", ".join(names)), "true"),)
        yield _box(side, own[0], "true" if found else "missed", labels, told)


def _predicted_boxes(best: BestBoxes, frame: FrameKey, classes: Sequence[str]) -> Iterator[ShownBox]:
    side, rows = best.predicted, best.frames[frame].predicted_rows
    for own in _same_boxes(side, rows):
        right = best.partner[own] >= 0
        kind = (
            ("right" if right.all() else "partly" if right.any() else "label")
            if (best.overlap[own[0]] >= IOU)
            else "place"
        )
        texts = [
            (f"{_name(classes, label)} {score:.2f}", good)
            for label, score, good in zip(
                side.label[own].tolist(), side.score[own].tolist(), right.tolist(), strict=True
            )
        ]
        told = [f"IoU {best.overlap[own[0]]:.2f}", *(f"{'right' if good else 'wrong'}: {text}" for text, good in texts)]
        bad = "place" if kind == "place" else "wrong"
        labels = [Label(_short(text), "right" if good else bad) for text, good in texts[:MAX_LABELS]]
        yield _box(side, own[0], kind, tuple(labels), "\n".join(["predicted box", *told]))


def _same_boxes(side: boxes.Boxes, rows: Sequence[int]) -> list[list[int]]:
    """The rows by box, in their order."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for row in rows:
        groups.setdefault(tuple(side.box[row].tolist()), []).append(row)
    return list(groups.values())


def _box(side: boxes.Boxes, row: int, kind: str, labels: tuple[Label, ...], tip: str) -> ShownBox:
    left, top, right, bottom = np.clip(side.box[row], 0.0, 1.0).tolist()
    return ShownBox(left, top, max(right - left, 0.0), max(bottom - top, 0.0), kind, labels, tip)


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def _name(classes: Sequence[str], label: int) -> str:
    return classes[label] if 0 <= label < len(classes) else f"class {label}"


def sources_of(tasks: Sequence[TaskKeyframes]) -> Mapping[Source, None]:
    """The frames to decode, each once, in the order in which they are shown."""
    return dict.fromkeys(view.source for task in tasks for view in task.views)
