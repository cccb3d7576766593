"""Layer by layer: curves over relative depth, and a table of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vitascope.core.text import escaped, margin, with_interval
from vitascope.core.types import Score
from vitascope.report.analysis.layers import LayerTask
from vitascope.report.analysis.leaderboard import Leaderboard
from vitascope.report.analysis.phrases import with_caveats
from vitascope.report.analysis.ranking import ALPHA, chance_level
from vitascope.report.charts import plots
from vitascope.report.charts.low_shot import EDGE, Curve, Level, LowShotPlot, curve
from vitascope.report.charts.plots import Axis
from vitascope.report.sections.summary_table import SummaryTable

OWN = "own vector"
"""The encoder's own clip vector."""
LAST = 80.0
"""Position of the last block, percent of the width; the own vector follows at the end."""
LAYER_NOTE = (
    "Headline score, percent, of the mean patch tokens after each block against its relative depth, all from one "
    "encoding pass; bands: 95 % intervals. The main table has the scores of the encoder's own vector, the last point. "
    "The best of many layers is selected on the test set, and no score of the encoder."
)
NOTE = LAYER_NOTE + (
    " Difference: layer minus own vector, in points, on the same test examples. * significantly different from zero "
    "(Holm-corrected over the layers of an encoder, 5 %)."
)


def layer_plots(board: Leaderboard, tasks: Sequence[LayerTask]) -> list[LowShotPlot]:
    """A plot for each task, one curve per encoder."""
    return [_plot(board, task) for task in tasks]


def _plot(board: Leaderboard, task: LayerTask) -> LowShotPlot:
    own = {row: task.own.cells[row].headline for row in task.scores if task.own and row in task.own.cells}
    chance = chance_level(task.column, ())
    y = plots.axis([s for each in task.scores.values() for s in each.values()] + list(own.values()), chance)
    ticks = [Level(f"{share} %", _at(share / 100)) for share in (25, 50, 75, 100)]
    curves = tuple(_curve(escaped(board.rows[row].label), task, row, y, own.get(row)) for row in task.scores)
    return LowShotPlot(
        title=escaped(task.column.variant["of"]),
        unit="relative depth of the block, and the encoder's own vector",
        limited=task.column.limited,
        on_test=task.column.on_test,
        levels=(*ticks, *([Level("own", 100 - EDGE)] if own else [])),
        y=y,
        curves=curves,
        scores={},
        chance=chance,
    )


def _at(share: float) -> float:
    return round(EDGE + (LAST - EDGE) * share, 2)


def _curve(label: str, task: LayerTask, row: int, y: Axis, own: Score | None) -> Curve:
    depth = task.depths[row]
    levels = {Level(f"block {n} of {depth}", _at(n / depth)): score for n, score in task.scores[row].items()}
    known = len(levels)
    levels |= {Level(OWN, 100 - EDGE): own} if own else {}
    return curve(row, label, list(levels), {level.text: s for level, s in levels.items()}, y, n_known=known)


def layer_table(board: Leaderboard, tasks: Sequence[LayerTask]) -> SummaryTable:
    """One row per task, encoder and layer."""
    heads = ("task", "encoder", "layer", "score", "minus own vector")
    return SummaryTable("Layer by layer", NOTE, heads, tuple(line for task in tasks for line in _lines(board, task)))


def _lines(board: Leaderboard, task: LayerTask) -> Iterator[tuple[str, ...]]:
    title = with_caveats(escaped(task.column.variant["of"]), task.column)
    for row, scores in task.scores.items():
        label, gaps = escaped(board.rows[row].label), task.gaps.get(row, {})
        for block, score in scores.items():
            gap = gaps.get(block)
            difference = f"{margin(Score(*gap.gap[:3]))}{'*' * (gap.p < ALPHA)}" if gap else "–"
            yield title, label, f"{block}/{task.depths[row]}", with_interval(score), difference
        if task.own and row in task.own.cells:
            yield title, label, OWN, with_interval(task.own.cells[row].headline), "–"
