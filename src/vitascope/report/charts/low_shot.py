"""Low-shot: accuracy against the share of the training side, one plot for each question and unit of the share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log
from typing import NamedTuple

from vitascope.core.text import shown, valued
from vitascope.core.types import Score
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.ranking import Ranking
from vitascope.report.analysis.variants import LowShotTask, shares, thinned
from vitascope.report.charts import plots as figures
from vitascope.report.charts.plots import Axis, Dot

EDGE = 3.0
"""Percent of the plot's width left free on both sides, so that marks are not cut."""
ALL = "all"


class Level(NamedTuple):
    """A place on the horizontal axis: how much of the training side, as text and as percent from the left."""

    text: str
    at: float


class Curve(NamedTuple):
    """One encoder: its dots, the line through those of known shares and the band of their intervals as SVG points."""

    row: int
    dots: tuple[Dot, ...]
    line: str
    band: str
    rest: str
    """From the last of them to the whole training side, where that is so many a class as nobody counted."""


class LowShotPlot(NamedTuple):
    """A question asked with less and less to learn from."""

    title: str
    unit: str
    limited: bool
    on_test: bool
    levels: tuple[Level, ...]
    y: Axis
    curves: tuple[Curve, ...]
    scores: Mapping[int, Mapping[str, Score]]
    """By row and level: the numbers drawn."""


def plots(board: Leaderboard, standings: Mapping[str, Ranking]) -> list[LowShotPlot]:
    """All plots of a board, in its order."""
    return [_plot(board, group, *part, standings) for group in thinned(board) for part in shares(group.columns)]


def _plot(
    board: Leaderboard,
    group: LowShotTask,
    unit: str,
    columns: Sequence[tuple[float, Column]],
    standings: Mapping[str, Ranking],
) -> LowShotPlot:
    levels = _levels(unit, [size for size, _ in columns], full=group.plain is not None)
    held = [column for _, column in columns] + ([group.plain] if group.plain else [])
    scores = {row.index: _scores(row, levels, held) for row in board.rows}
    scores = {row: of for row, of in scores.items() if of.keys() - {ALL}}
    any_of = columns[0][1]
    standing = standings.get(group.plain.task) if group.plain and group.plain.main else None
    y = figures.axis([s for of in scores.values() for s in of.values()], standing.chance if standing else None)
    labels = {row.index: shown(row.label) for row in board.rows}
    return LowShotPlot(
        title=shown(group.task),
        unit="training examples of each class, log scale" if unit != "%" else "share of the training side, log scale",
        limited=any_of.limited,
        on_test=any_of.on_test,
        levels=levels,
        y=y,
        curves=tuple(_curve(row, labels[row], levels, of, y, counted=unit == "%") for row, of in scores.items()),
        scores=scores,
    )


def _levels(unit: str, sizes: Sequence[float], *, full: bool) -> tuple[Level, ...]:
    """Places on a log scale. All of the training side is 100 %; in examples of a class it stands a step further on."""
    texts = [f"{size:g}{unit.replace('%', ' %')}" for size in sizes] + [ALL] * full
    places = [log(size) for size in sizes]
    if full and unit == "%":
        places.append(max(log(100.0), places[-1] + 0.1))
    elif full:
        steps = [b - a for a, b in pairwise(places)]
        places.append(places[-1] + (sum(steps) / len(steps) if steps else log(2)))
    width = places[-1] - places[0] or 1.0
    at = [EDGE + (100 - 2 * EDGE) * (place - places[0]) / width for place in places]
    return tuple(Level(text, round(x, 2)) for text, x in zip(texts, at, strict=True))


def _scores(row: EncoderRow, levels: Sequence[Level], columns: Sequence[Column]) -> dict[str, Score]:
    pairs = zip(levels, columns, strict=True)
    return {level.text: c.cells[row.index].headline for level, c in pairs if row.index in c.cells}


def _curve(
    row: int, label: str, levels: Sequence[Level], scores: Mapping[str, Score], y: Axis, *, counted: bool
) -> Curve:
    there = [level for level in levels if level.text in scores]
    dots = tuple(
        Dot(x, round(100 - y.at(scores[text].value), 2), f"{label}\n{text}: {valued(scores[text])}")
        for text, x in there
    )
    known = len(there) - (ALL in scores and not counted)
    solid = there[:known]
    spans = [(x, *figures.span(y, scores[text])) for text, x in solid]
    sure = all(scores[level.text].low is not None for level in solid)
    outline = [(x, 100 - high) for x, _, high in spans] + [(x, 100 - low) for x, low, _ in reversed(spans)]
    return Curve(
        row=row,
        dots=dots,
        line=_points([(d.x, d.y) for d in dots[:known]]),
        band=_points(outline) if sure and known > 1 else "",
        rest=_points([(d.x, d.y) for d in dots[known - 1 :]]) if known < len(dots) else "",
    )


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{round(y, 2):g}" for x, y in places)


def cells(plot: LowShotPlot, row: int) -> list[str]:
    """The numbers of one encoder, level by level, as text."""
    scores = plot.scores[row]
    return [valued(scores[level.text]) if level.text in scores else "–" for level in plot.levels]
