"""Accuracy in parts: the right pair of opposite classes, its right direction, and both by family of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from vitascope.core.text import escaped, number, with_interval
from vitascope.core.types import Score
from vitascope.metrics.class_parts import CLASS, DIRECTION, EVERY, PAIR, ClassPart
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.phrases import with_caveats
from vitascope.report.charts import plots
from vitascope.report.charts.plots import Axis, Mark
from vitascope.report.sections.summary_table import SummaryTable

NOTE = (
    "Percent, with 95 % intervals. Class: top-1. Pair: the class or its opposite, such as up or down. Direction given "
    "the pair: the right one of the two, over the videos whose pair is right. Class is pair times direction where "
    "every class has an opposite. Chance: classes guessed as often as they occur in the test set. Order-free: by one "
    "who recognizes every frame but not their order."
)
TITLES = {PAIR: "Right pair", DIRECTION: "Right direction, given the right pair"}
STEP, MARGIN = 10, 8
"""Pixels between the markers of two encoders, and around those of a family."""
NONE = "–"


class FamilyRow(NamedTuple):
    """The encoders on one family of classes."""

    label: str
    marks: tuple[Mark, ...]
    chance: float
    """Percent, as is `order_free`."""
    order_free: float | None
    tip: str


class PartPlot(NamedTuple):
    """One part of the accuracy, a row for each family."""

    title: str
    axis: Axis
    rows: tuple[FamilyRow, ...]


class TaskParts(NamedTuple):
    """One task in parts."""

    title: str
    dataset: str
    probe: str
    rows: tuple[EncoderRow, ...]
    plots: tuple[PartPlot, ...]
    table: SummaryTable
    height: int
    """Of a row, pixels."""
    offsets: Mapping[int, int]
    """Of the marker of each encoder in a row, pixels from its top."""


def tasks(board: Leaderboard) -> list[TaskParts]:
    """Lay out every task whose results have parts."""
    return [_task(board, column) for column in board.plain() if _rows(board, column)]


def tables(board: Leaderboard, *, brief: bool = False) -> list[SummaryTable]:
    """The same as tables; `brief` leaves out the intervals of single families."""
    return [_table(board, column, brief=brief) for column in board.plain() if _rows(board, column)]


def _rows(board: Leaderboard, column: Column) -> list[EncoderRow]:
    """The encoders of a column whose results have parts, best first."""
    held = [row for row in board.rows if row.index in column.cells and column.cells[row.index].parts]
    return sorted(held, key=lambda row: -column.cells[row.index].headline.value)


def _task(board: Leaderboard, column: Column) -> TaskParts:
    rows = _rows(board, column)
    return TaskParts(
        title=with_caveats(escaped(column.task), column),
        dataset=escaped(column.first.dataset),
        probe=escaped(column.first.probe),
        rows=tuple(rows),
        plots=tuple(PartPlot(title, plots.PERCENT, tuple(_families(column, rows, p))) for p, title in TITLES.items()),
        table=_table(board, column),
        height=2 * MARGIN + STEP * (len(rows) - 1),
        offsets={row.index: MARGIN + STEP * place for place, row in enumerate(rows)},
    )


def _families(column: Column, rows: Sequence[EncoderRow], part: str) -> Iterator[FamilyRow]:
    """A row for each family that has the part."""
    found = [(row, _by_family(column, row, part)) for row in rows]
    for family in dict.fromkeys(name for _, parts in found for name in parts):
        held = [(row, parts[family]) for row, parts in found if family in parts]
        scores = [(row.index, score) for row, one in held if (score := one.score)]
        levels = held[0][1]
        yield FamilyRow(
            escaped(family),
            tuple(Mark(row, plots.PERCENT.at(s.value), plots.span(plots.PERCENT, s)) for row, s in scores),
            levels.chance or 0.0,
            levels.order_free,
            "\n".join(
                [escaped(family), *(f"{escaped(r.label)} {_text(p)} of {p.n}" for r, p in held), *_levels(levels)]
            ),
        )


def _levels(part: ClassPart) -> Iterator[str]:
    yield f"chance {number(part.chance or 0.0)}"
    if part.order_free is not None:
        yield f"order-free {number(part.order_free)}"


def _by_family(column: Column, row: EncoderRow, part: str) -> dict[str, ClassPart]:
    return {one.family: one for one in column.cells[row.index].parts if one.part == part}


def _table(board: Leaderboard, column: Column, *, brief: bool = False) -> SummaryTable:
    """Three lines for each encoder, for chance and for one who does not know the order; a column for each family."""
    rows = _rows(board, column)
    families = list(dict.fromkeys(one.family for row in rows for one in column.cells[row.index].parts))
    lines = [
        (escaped(row.label), part, *(_cell(found.get(name), brief=brief and name != EVERY) for name in families))
        for row in rows
        for part in (CLASS, PAIR, DIRECTION)
        if (found := _by_family(column, row, part))
    ]
    for name in ("chance", "order-free"):
        for part in (CLASS, PAIR, DIRECTION):
            by_family = _by_family(column, rows[0], part)
            values = {f: getattr(one, name.replace("-", "_")) for f, one in by_family.items()}
            if any(value is not None for value in values.values()):
                lines.append((name, part, *(_number(values.get(family)) for family in families)))
    title = f"{with_caveats(escaped(column.task), column)}: pair and direction"
    return SummaryTable(title, NOTE, ("encoder", "part", *map(escaped, families)), tuple(lines))


def _number(value: float | None) -> str:
    return NONE if value is None else number(value)


def _text(part: ClassPart) -> str:
    score: Score | None = part.score
    return NONE if score is None else with_interval(score)


def _cell(part: ClassPart | None, *, brief: bool) -> str:
    if part is None:
        return NONE
    return _number(part.value) if brief else _text(part)
