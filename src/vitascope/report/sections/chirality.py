"""Opposite classes told apart: the accuracy of each pair, as a plot of dots and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vitascope.core.schema import conform
from vitascope.core.text import escaped, with_interval
from vitascope.evaluation.results import Result
from vitascope.metrics.pair_accuracy import AUC, CHANCE, HEADLINE, PLAIN
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.phrases import with_caveats
from vitascope.report.charts import plots
from vitascope.report.charts.plots import Axis, Strip
from vitascope.report.sections.tables import SummaryTable

NOTE = (
    "Percent, with 95 % intervals over groups of test videos. Of each pair of opposite classes a linear classifier is "
    "trained on one vector a video; its accuracy is the mean over both classes, so that chance is 50. Mean: of the "
    "pairs. Videos: of each class, in test."
)
AXIS = Axis(0.0, 100.0, (0.0, 25.0, 50.0, 75.0, 100.0), CHANCE)
STEP, MARGIN = 10, 8
"""Pixels between the markers of two encoders, and around those of a pair."""


@dataclass(frozen=True)
class PairNote:
    """Videos of the two classes of a pair, in one fold."""

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]


class PairPlot(NamedTuple):
    """One task: a strip per pair, with a marker per encoder."""

    title: str
    dataset: str
    probe: str
    rows: tuple[EncoderRow, ...]
    axis: Axis
    strips: tuple[Strip, ...]
    height: int
    """Of a strip, pixels."""
    offsets: Mapping[int, int]
    """Of the marker of each encoder in a strip, pixels from its top."""


def compares_pairs(column: Column) -> bool:
    """Whether a column holds accuracies of pairs of opposite classes."""
    return next(iter(column.first.scores)) == HEADLINE


def pair_plots(board: Leaderboard) -> list[PairPlot]:
    """Lay out the accuracies of pairs in each task, the pair best told apart first."""
    return [_plot(board, column) for column in board.plain() if compares_pairs(column)]


def _plot(board: Leaderboard, column: Column) -> PairPlot:
    rows = _rows(board, column)
    return PairPlot(
        title=with_caveats(escaped(column.task), column),
        dataset=escaped(column.first.dataset),
        probe=escaped(column.first.probe),
        rows=tuple(rows),
        axis=AXIS,
        strips=tuple(plots.class_strips(column, board.rows)),
        height=2 * MARGIN + STEP * (len(rows) - 1),
        offsets={row.index: MARGIN + STEP * place for place, row in enumerate(rows)},
    )


def pair_tables(board: Leaderboard) -> list[SummaryTable]:
    """The accuracies of pairs with their intervals, a table for each task; the means of all scores below them."""
    return [_table(board, column) for column in board.plain() if compares_pairs(column)]


def _table(board: Leaderboard, column: Column) -> SummaryTable:
    rows = _rows(board, column)
    results = [column.cells[row.index] for row in rows]
    names = dict.fromkeys(name for result in results for name in result.per_class)
    tested = test_videos(column.first)
    lines = [
        (escaped(name), tested.get(name, ""), *(_cell(result, name) for result in results))
        for name in sorted(names, key=lambda name: -_mean(results, name))
    ]
    means = [
        (f"mean {name}" if name != HEADLINE else "mean", "", *(_score(result, name) for result in results))
        for name in (HEADLINE, PLAIN, AUC)
    ]
    title = f"{with_caveats(escaped(column.task), column)}: opposite classes"
    heads = ("pair", "videos", *(escaped(row.label) for row in rows))
    return SummaryTable(title, NOTE, heads, (*lines, *means))


def test_videos(result: Result) -> dict[str, str]:
    """Number of test videos of the two classes of every pair, over all folds."""
    counts: dict[str, Counter[int]] = {}
    for about in result.about:
        for note in conform(about.get("pairs", []), tuple[PairNote, ...], "about.pairs"):
            counts.setdefault(note.name, Counter()).update(dict(enumerate(note.test)))
    return {name: " + ".join(f"{count:,}" for _, count in sorted(own.items())) for name, own in counts.items()}


def _rows(board: Leaderboard, column: Column) -> list[EncoderRow]:
    """The encoders of a column, best first."""
    held = [row for row in board.rows if row.index in column.cells]
    return sorted(held, key=lambda row: -column.cells[row.index].headline.value)


def _mean(results: Sequence[Result], name: str) -> float:
    values = [result.per_class[name].value for result in results if name in result.per_class]
    return sum(values) / len(values)


def _cell(result: Result, name: str) -> str:
    return with_interval(result.per_class[name]) if name in result.per_class else "–"


def _score(result: Result, name: str) -> str:
    return with_interval(result.scores[name]) if name in result.scores else "–"
