"""Board: results as rows (encoders) and columns (one question asked in one way), so that only like meets like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.types import digest
from vitascope.evaluation import results
from vitascope.evaluation.results import Result

AXES = ("appearance", "motion", "")
"""In the order of the tables; the last holds tasks whose axis is not known."""
ON_TEST = "best-on-test"
"""What a probe's `select` says where its head was chosen on the test set."""


@dataclass(frozen=True)
class EncoderRow:
    """One encoder with one card; `label` is its name, with the card's digest where two cards share the name."""

    index: int
    label: str
    encoder: str
    card: Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """Results that may be ranked together: same task, same protocol, all limited or none; `cells` by row index."""

    task: str
    axis: str
    protocol: str
    limited: bool
    cells: Mapping[int, Result]
    main: bool = True
    """Of the columns of one task, the one most encoders are in; the others are shown apart."""

    @property
    def any(self) -> Result:
        """One of the results: for what all of them share."""
        return next(iter(self.cells.values()))

    @property
    def variant(self) -> Mapping[str, str]:
        """How the question differs from a plain one; empty where it is one."""
        return self.any.variant

    @property
    def on_test(self) -> bool:
        """Whether the head was chosen by its score on the test set: no estimate of anything then."""
        return (self.any.settings.get("probe") or {}).get("select") == ON_TEST

    @property
    def settings(self) -> dict[str, Any]:
        """What the question was, without the encoder."""
        return {k: v for k, v in self.any.settings.items() if k not in ("card", "model")}


@dataclass(frozen=True)
class Leaderboard:
    """All rows in the order recorded, and all columns: main ones first, by axis.

    Variants of a question (fewer training examples, altered clips) are among the columns and in none of the rankings.
    """

    rows: tuple[EncoderRow, ...]
    columns: tuple[Column, ...]

    def main(self, axis: str | None = None) -> tuple[Column, ...]:
        """The main columns of plain questions, of one axis or of all."""
        return tuple(c for c in self.plain() if c.main and axis in (None, c.axis))

    def apart(self) -> tuple[Column, ...]:
        """Columns that ask a task's question in another way than its main column."""
        return tuple(c for c in self.plain() if not c.main)

    def plain(self) -> tuple[Column, ...]:
        """The columns of plain questions."""
        return tuple(c for c in self.columns if not c.variant)

    def variants(self) -> tuple[Column, ...]:
        """The columns of the others."""
        return tuple(c for c in self.columns if c.variant)

    def main_of(self, column: Column) -> Column:
        """The main column of the same task."""
        return next(c for c in self.columns if c.main and c.task == column.task)


class SettingDifference(NamedTuple):
    """A setting that differs, by its dotted name, and the two values as text."""

    name: str
    ours: str
    theirs: str


def gather(runs: Iterable[str | Path]) -> list[Result]:
    """The results of run folders, later ones in place of earlier ones of the same key, as `located` gives them."""
    found: dict[tuple[str, str, str], Result] = {}
    for run in runs:
        for result in located(results.read(run), run):
            found[result.key] = result
    return list(found.values())


def located(found: Iterable[Result], run: str | Path) -> list[Result]:
    """The results of a run folder with their predictions as full paths; ValueError for one outside the folder."""
    return [replace(result, predictions=_inside(Path(run), result.predictions)) for result in found]


def _inside(run: Path, path: str) -> str:
    if not path:
        return ""
    full = (run / path).resolve()
    if not full.is_relative_to(run.resolve()):
        raise UserError(f"{run / results.RESULTS}: predictions {path!r} lie outside the run folder")
    return str(full)


def build(found: Sequence[Result]) -> Leaderboard:
    """The board of `found`."""
    places = {key: index for index, key in enumerate(dict.fromkeys(_identity(r) for r in found))}
    rows = tuple(_row(key, index, places, found) for key, index in places.items())
    cells: dict[tuple[str, str, bool], dict[int, Result]] = {}
    for result in found:
        cells.setdefault((result.task, result.protocol, result.limited), {})[places[_identity(result)]] = result
    columns = [
        Column(task, _axis(next(iter(c.values()))), protocol, limited, c)
        for (task, protocol, limited), c in cells.items()
    ]
    best: dict[str, Column] = {}
    for column in columns:
        held = best.setdefault(column.task, column)
        if (not column.limited, len(column.cells)) > (not held.limited, len(held.cells)):
            best[column.task] = column
    marked = (replace(c, main=c is best[c.task]) for c in columns)
    return Leaderboard(rows, tuple(sorted(marked, key=_order)))


def _axis(result: Result) -> str:
    """What the labels ask for, where the score may be averaged with others: of actions in time it is no accuracy."""
    return result.axis if result.kind == "recognition" else ""


def _order(column: Column) -> tuple[bool, int]:
    return not column.main, AXES.index(column.axis) if column.axis in AXES else len(AXES)


def _identity(result: Result) -> tuple[str, str]:
    return result.encoder, digest(result.settings.get("card"))


def _row(key: tuple[str, str], index: int, places: Iterable[tuple[str, str]], found: Sequence[Result]) -> EncoderRow:
    name, card = key
    shared = sum(other == name for other, _ in places) > 1
    first = next(r for r in found if _identity(r) == key)
    known = {**(first.settings.get("card") or {}), **(first.settings.get("model") or {})}
    return EncoderRow(index, f"{name}@{card[:6]}" if shared else name, name, known)


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[SettingDifference]:
    """The settings in which two questions differ."""
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
