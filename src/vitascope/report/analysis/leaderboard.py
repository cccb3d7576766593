"""Leaderboard: encoders by tasks, one column per task and protocol, so that only comparable results share a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.text import clipped
from vitascope.core.types import digest
from vitascope.evaluation import results
from vitascope.evaluation.results import Result

AXES = ("appearance", "motion", "")
"""In the order of the tables; the last is for tasks whose axis is unknown."""
AVERAGED = ("top-1", "mAP")
"""Headline scores that are averaged over the tasks of an axis."""
LONGEST_PATH = 160
"""Letters of a path that a message shows."""
ON_TEST = "best-on-test"
"""Value of a probe's `select` if its head was selected on the test set."""


@dataclass(frozen=True)
class EncoderRow:
    """One encoder with one card; `label` is its name, plus the card's digest if several cards share the name."""

    index: int
    label: str
    encoder: str
    card: Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """Results that can be ranked together: same task and protocol, all limited or none; `cells` by row index."""

    task: str
    axis: str
    protocol: str
    limited: bool
    cells: Mapping[int, Result]
    main: bool = True
    """Whether this is the task's column with the most encoders; its other columns are shown separately."""

    @property
    def first(self) -> Result:
        """Any one of the results, to read what all of them share."""
        return next(iter(self.cells.values()))

    @property
    def variant(self) -> Mapping[str, str]:
        """How the task differs from its standard form; empty for the standard form."""
        return self.first.variant

    @property
    def on_test(self) -> bool:
        """Whether the head was selected by its score on the test set, which makes the score too high."""
        return (self.first.settings.get("probe") or {}).get("select") == ON_TEST

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the protocol, without those of the encoder."""
        return {k: v for k, v in self.first.settings.items() if k not in ("card", "model")}


@dataclass(frozen=True)
class Leaderboard:
    """All rows in the order recorded, and all columns: main ones first, by axis.

    Variants of a task (fewer training examples, altered clips) have columns but no ranking.
    """

    rows: tuple[EncoderRow, ...]
    columns: tuple[Column, ...]

    def main(self, axis: str | None = None) -> tuple[Column, ...]:
        """Main columns of standard tasks, of one axis or of all."""
        return tuple(c for c in self.plain() if c.main and axis in (None, c.axis))

    def other_protocols(self) -> tuple[Column, ...]:
        """Columns of standard tasks under another protocol than the task's main column."""
        return tuple(c for c in self.plain() if not c.main)

    def plain(self) -> tuple[Column, ...]:
        """Columns of standard tasks."""
        return tuple(c for c in self.columns if not c.variant)

    def variants(self) -> tuple[Column, ...]:
        """Columns of task variants."""
        return tuple(c for c in self.columns if c.variant)

    def main_of(self, column: Column) -> Column:
        """The main column of the same task."""
        return next(c for c in self.columns if c.main and c.task == column.task)

    def titles(self) -> dict[str, str]:
        """Main tasks without the options of their probes, unless two tasks of a dataset differ in nothing else."""
        short = {c.task: f"{c.first.dataset}:{c.first.probe.partition('+')[0]}" for c in self.main()}
        count = Counter(short.values())
        return {task: title if count[title] == 1 else task for task, title in short.items()}


class SettingDifference(NamedTuple):
    """A setting that differs between two protocols: dotted name and both values as text."""

    name: str
    ours: str
    theirs: str


def load_results(runs: Iterable[str | Path]) -> list[Result]:
    """Read the results of run folders, with full paths to their predictions; later results replace earlier ones."""
    by_key: dict[tuple[str, str, str], Result] = {}
    for run in runs:
        for result in resolve_predictions(results.read(run), run):
            by_key[result.key] = result
    return list(by_key.values())


def resolve_predictions(recorded: Iterable[Result], run: str | Path) -> list[Result]:
    """The results of a run folder with their predictions as full paths; UserError for one outside the folder."""
    return [replace(result, predictions=_inside(Path(run), result.predictions)) for result in recorded]


def _inside(run: Path, path: str) -> str:
    if not path:
        return ""
    where, name = run / results.RESULTS, clipped(path, LONGEST_PATH)
    try:
        full = (run / path).resolve()
        full.stat()
    except (FileNotFoundError, NotADirectoryError):  # was never saved, or left behind
        pass
    except (OSError, ValueError) as error:  # of thousands of letters, or with a zero among them
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{where}: predictions {name!r} cannot be a file: {why}") from error
    if not full.is_relative_to(run.resolve()):
        raise UserError(f"{where}: predictions {name!r} are outside the run folder")
    return str(full)


def build(recorded: Sequence[Result]) -> Leaderboard:
    """Arrange results in a leaderboard."""
    places = {key: index for index, key in enumerate(dict.fromkeys(_identity(r) for r in recorded))}
    rows = tuple(_row(key, index, places, recorded) for key, index in places.items())
    cells: dict[tuple[str, str, bool], dict[int, Result]] = {}
    for result in recorded:
        cells.setdefault((result.task, result.protocol, result.limited), {})[places[_identity(result)]] = result
    columns = [
        Column(task, _axis(next(iter(c.values()))), protocol, limited, c)
        for (task, protocol, limited), c in cells.items()
    ]
    best: dict[str, Column] = {}
    for column in columns:
        current = best.setdefault(column.task, column)
        if (not column.limited, len(column.cells)) > (not current.limited, len(current.cells)):
            best[column.task] = column
    marked = (replace(c, main=c is best[c.task]) for c in columns)
    return Leaderboard(rows, tuple(sorted(marked, key=_order)))


def _axis(result: Result) -> str:
    """The axis over which the score may be averaged: none for scores that are no accuracies over all classes."""
    return result.axis if result.kind == "recognition" and next(iter(result.scores)) in AVERAGED else ""


def _order(column: Column) -> tuple[bool, int]:
    return not column.main, AXES.index(column.axis) if column.axis in AXES else len(AXES)


def _identity(result: Result) -> tuple[str, str]:
    return result.encoder, digest(result.settings.get("card"))


def _row(key: tuple[str, str], index: int, places: Iterable[tuple[str, str]], recorded: Sequence[Result]) -> EncoderRow:
    name, card = key
    shared = sum(other == name for other, _ in places) > 1
    first = next(r for r in recorded if _identity(r) == key)
    card_settings = {**(first.settings.get("card") or {}), **(first.settings.get("model") or {})}
    return EncoderRow(index, f"{name}@{card[:6]}" if shared else name, name, card_settings)


def setting_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[SettingDifference]:
    """List the settings in which two protocols differ."""
    left, right = dict(_flat(ours)), dict(_flat(theirs))
    names = [n for n in dict.fromkeys([*left, *right]) if left.get(n) != right.get(n)]
    return [SettingDifference(n, left.get(n, "not set"), right.get(n, "not set")) for n in names]


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)) and len(str(value)) > 80:
        yield name, f"{len(value)} values ({digest(value)[:6]})"
    else:
        yield name, str(value)
