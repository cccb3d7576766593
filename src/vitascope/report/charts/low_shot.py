"""Low-shot plots: accuracy against the amount of training data, one plot per task and unit (percent, examples)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log
from typing import NamedTuple

from vitascope.core.text import escaped, with_interval
from vitascope.core.types import Score
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.ranking import Chance, Ranking, chance_level
from vitascope.report.analysis.variants import LowShotTask, by_fraction, low_shot_tasks
from vitascope.report.charts import plots
from vitascope.report.charts.plots import Axis, Dot

EDGE = 3.0
"""Margin on both sides of the plot so that markers are not cut off, percent of its width."""
ALL = "all"
"""Label of the full training set."""


class Level(NamedTuple):
    """A tick on an axis."""

    text: str
    at: float
    """Position along the axis, percent."""


class Curve(NamedTuple):
    """Low-shot curve of one encoder; line, band and segment are SVG point lists."""

    row: int
    dots: tuple[Dot, ...]
    line: str
    """Through the dots whose amount of training data is known."""
    band: str
    """95 % intervals."""
    to_full: str
    """Segment to the full training set, if its number of examples per class is unknown."""


class LowShotPlot(NamedTuple):
    """A task evaluated with several amounts of training data."""

    title: str
    unit: str
    limited: bool
    on_test: bool
    levels: tuple[Level, ...]
    y: Axis
    curves: tuple[Curve, ...]
    scores: Mapping[int, Mapping[str, Score]]
    """By row and level text."""
    chance: Chance | None = None
    """The same for all levels, as the test set is."""


def low_shot_plots(board: Leaderboard, rankings: Mapping[str, Ranking]) -> list[LowShotPlot]:
    """Lay out the low-shot plots of a leaderboard."""
    return [
        _plot(board, task, *columns, rankings)
        for task in low_shot_tasks(board)
        for columns in by_fraction(task.columns)
    ]


def _plot(
    board: Leaderboard,
    task: LowShotTask,
    unit: str,
    columns: Sequence[tuple[float, Column]],
    rankings: Mapping[str, Ranking],
) -> LowShotPlot:
    levels = _levels(unit, [size for size, _ in columns], full=task.full is not None)
    all_columns = [column for _, column in columns] + ([task.full] if task.full else [])
    scores = {row.index: _scores(row, levels, all_columns) for row in board.rows}
    scores = {row: by_level for row, by_level in scores.items() if by_level.keys() - {ALL}}
    column = columns[0][1]
    ranking = rankings.get(task.full.task) if task.full and task.full.main else None
    guess = ranking.chance if ranking else chance_level(column, ())
    y = plots.axis([s for each in scores.values() for s in each.values()], guess)
    labels = {row.index: escaped(row.label) for row in board.rows}
    return LowShotPlot(
        title=escaped(task.task),
        unit="training examples per class, log scale" if unit != "%" else "fraction of the training set, log scale",
        limited=column.limited,
        on_test=column.on_test,
        levels=levels,
        y=y,
        curves=tuple(_curve(row, labels[row], levels, s, y, full_known=unit == "%") for row, s in scores.items()),
        scores=scores,
        chance=guess,
    )


def _levels(unit: str, sizes: Sequence[float], *, full: bool) -> tuple[Level, ...]:
    """Levels on a log scale; the full training set is at 100 %, or one mean step further if in examples per class."""
    texts = [f"{size:g}{unit.replace('%', ' %')}" for size in sizes] + [ALL] * full
    positions = [log(size) for size in sizes]
    if full and unit == "%":
        positions.append(max(log(100.0), positions[-1] + 0.1))
    elif full:
        steps = [b - a for a, b in pairwise(positions)]
        positions.append(positions[-1] + (sum(steps) / len(steps) if steps else log(2)))
    width = positions[-1] - positions[0] or 1.0
    at = [EDGE + (100 - 2 * EDGE) * (position - positions[0]) / width for position in positions]
    return tuple(Level(text, round(x, 2)) for text, x in zip(texts, at, strict=True))


def _scores(row: EncoderRow, levels: Sequence[Level], columns: Sequence[Column]) -> dict[str, Score]:
    pairs = zip(levels, columns, strict=True)
    return {level.text: c.cells[row.index].headline for level, c in pairs if row.index in c.cells}


def _curve(
    row: int, label: str, levels: Sequence[Level], scores: Mapping[str, Score], y: Axis, *, full_known: bool
) -> Curve:
    drawn = [level for level in levels if level.text in scores]
    return curve(row, label, drawn, scores, y, n_known=len(drawn) - (ALL in scores and not full_known))


def curve(row: int, label: str, drawn: Sequence[Level], scores: Mapping[str, Score], y: Axis, *, n_known: int) -> Curve:
    """A curve through the scores at the first `n_known` of the levels `drawn`; a dashed segment leads to the rest."""
    dots = tuple(
        Dot(x, round(100 - y.at(scores[text].value), 2), f"{label}\n{text}: {with_interval(scores[text])}")
        for text, x in drawn
    )
    solid = drawn[:n_known]
    spans = [(x, *plots.span(y, scores[text])) for text, x in solid]
    with_intervals = all(scores[level.text].low is not None for level in solid)
    outline = [(x, 100 - high) for x, _, high in spans] + [(x, 100 - low) for x, low, _ in reversed(spans)]
    return Curve(
        row=row,
        dots=dots,
        line=plots.svg_points([(d.x, d.y) for d in dots[:n_known]]),
        band=plots.svg_points(outline) if with_intervals and n_known > 1 else "",
        to_full=plots.svg_points([(d.x, d.y) for d in dots[n_known - 1 :]]) if n_known < len(dots) else "",
    )


def score_cells(plot: LowShotPlot, row: int) -> list[str]:
    """Scores of one encoder at every level, as text."""
    scores = plot.scores[row]
    return [with_interval(scores[level.text]) if level.text in scores else "–" for level in plot.levels]
