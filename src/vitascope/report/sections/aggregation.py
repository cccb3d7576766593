"""Better than the mean: what every aggregator of clip vectors gains over the mean, as panels, tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from vitascope.core.schema import conform
from vitascope.core.text import escaped, margin, number, p_value
from vitascope.core.types import Score
from vitascope.evaluation.result_schema import AggregationData, AggregatorData, DifferenceData
from vitascope.metrics.gains import ALPHA
from vitascope.metrics.stats import Difference
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.phrases import gap_too_few, with_caveats
from vitascope.report.charts import plots
from vitascope.report.charts.plots import Strip
from vitascope.report.sections.motion import Panel
from vitascope.report.sections.tables import SummaryTable

NOTE = (
    "Gain over the mean of the clip vectors, in points, on the same test videos; 95 % intervals over groups, each of "
    "one aggregator alone. * significantly different from the mean (Holm-corrected over the aggregators of an encoder, "
    "5 %). The best of many on the test set is too good: the score of the task is that of the one selected on the "
    "training set. Order: whether it sees the order of clips. Reversed: accuracy with the clips of test videos in "
    "reverse order, each still running forwards."
)
HEADS = ("encoder", "aggregator", "order", "top-1", "minus mean", "p (Holm)", "reversed")


class AggregationPanels(NamedTuple):
    """Gains of one task, a panel for each encoder."""

    title: str
    limited: bool
    on_test: bool
    sentences: tuple[str, ...]
    panels: tuple[Panel, ...]


def aggregation_panels(board: Leaderboard) -> list[AggregationPanels]:
    """Lay out every task that compares aggregators."""
    return [_panels(board, column) for column in board.plain() if any(_compared(board, column))]


def tables(board: Leaderboard) -> list[SummaryTable]:
    """One table for each task that compares aggregators."""
    columns = [column for column in board.plain() if any(_compared(board, column))]
    return [_table(board, column) for column in columns]


def _compared(board: Leaderboard, column: Column) -> Iterator[tuple[EncoderRow, AggregationData]]:
    """The encoders of a task with their comparison of aggregators."""
    for row in board.rows:
        data = column.cells[row.index].diagnosis.get("aggregation") if row.index in column.cells else None
        if data:
            yield row, conform(data, AggregationData)


def _panels(board: Leaderboard, column: Column) -> AggregationPanels:
    compared = list(_compared(board, column))
    gaps = [_difference(one.gain) for _, data in compared for one in data.aggregators if one.gain]
    scale = plots.difference_axis(gaps)
    panels = tuple(
        Panel(escaped(row.label), _mean_text(data), scale, tuple(_strips(row, data, scale))) for row, data in compared
    )
    sentences = tuple(sentence(row.label, data) for row, data in compared)
    return AggregationPanels(escaped(column.task), column.limited, column.on_test, sentences, panels)


def _strips(row: EncoderRow, data: AggregationData, scale: plots.Axis) -> Iterator[Strip]:
    for one in data.aggregators:
        if one.gain:
            label = f"{escaped(one.name)}{' · order' if one.sees_order else ''}"
            tip = f"top-1 {number(one.score.value)}, {p_value(one.adjusted)} (Holm-adjusted)"
            tip += "" if one.backwards is None else f"\nclips reversed: {number(one.backwards)}"
            tip += "\nselected on the training set" if one.selected else ""
            gap = _difference(one.gain)
            yield plots.difference_strip(row.index, label, gap, scale, tip=tip, significant=bool(one.verdict))


def _table(board: Leaderboard, column: Column) -> SummaryTable:
    compared = list(_compared(board, column))
    rows = tuple(_line(row, one) for row, data in compared for one in data.aggregators)
    sentences = " ".join(sentence(row.label, data) for row, data in compared)
    title = f"Better than the mean: {with_caveats(escaped(column.task), column)}"
    return SummaryTable(title, f"{sentences} {NOTE}", HEADS, rows)


def _line(row: EncoderRow, one: AggregatorData) -> tuple[str, ...]:
    gain = f"{margin(_score(one.gain))}{' *' if one.verdict else ''}" if one.gain else ""
    backwards = "" if one.backwards is None else number(one.backwards)
    name = f"{escaped(one.name)}{' (selected)' if one.selected else ''}"
    p = p_value(one.adjusted).removeprefix("p = ").removeprefix("p ") if one.gain else ""
    return escaped(row.label), name, "yes" if one.sees_order else "no", number(one.score.value), gain, p, backwards


def sentence(encoder: str, data: AggregationData) -> str:
    """Say what is gained over the mean, or that nothing is."""
    others = [one for one in data.aggregators if one.gain]
    parts = [f"{escaped(encoder)}: {_selected(data)}."]
    for verdict, words in (("gain", "better"), ("loss", "worse")):
        if names := [escaped(one.name) for one in others if one.verdict == verdict]:
            parts.append(f"Tested together, significantly {words} than the mean: {', '.join(names)}.")
    if not any(one.verdict for one in others):
        few = gap_too_few(_difference(data.selection), len(others))
        parts.append(f"Tested together, none of {len(others)} differs significantly from the mean{few and f': {few}'}.")
    if data.selection.p >= ALPHA and all(one.verdict != "gain" for one in others):
        parts.append("Nothing is gained that these videos could show.")
    return " ".join(parts)


def _selected(data: AggregationData) -> str:
    """The selection on the training set and its gain, one test."""
    chosen = [one for one in data.aggregators if one.selected]
    if [one.name for one in chosen] == [data.reference]:
        return f"the mean itself is selected on the training set ({_mean_text(data)})"
    folds = [f" (in {one.selected} of {data.folds} folds)" if data.folds > 1 else "" for one in chosen]
    names = ", ".join(f"{escaped(one.name)}{of}" for one, of in zip(chosen, folds, strict=True))
    gap, p = margin(_score(data.selection)), p_value(data.selection.p)
    return f"{names}, selected on the training set, is {gap} points from the {_mean_text(data)} ({p})"


def _mean_text(data: AggregationData) -> str:
    mean = next(one for one in data.aggregators if one.name == data.reference)
    return f"mean's {number(mean.score.value)}"


def _score(gap: DifferenceData) -> Score:
    return Score(gap.value, gap.low, gap.high)


def _difference(gap: DifferenceData) -> Difference:
    return Difference(gap.value, gap.low, gap.high, gap.p, gap.n, gap.units, gap.least)
