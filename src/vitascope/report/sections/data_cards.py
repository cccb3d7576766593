"""Data cards: what each dataset of a report holds, what is doubtful about it, and how it was evaluated, in words."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev
from typing import NamedTuple

from vitascope.core.schema import conform
from vitascope.core.text import counted, escaped, format_duration, number
from vitascope.core.types import Score
from vitascope.evaluation.result_schema import DataCard, Lengths
from vitascope.evaluation.results import Result
from vitascope.report.analysis.data_warnings import warning_lines
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.protocol_words import protocol_words
from vitascope.report.charts import plots
from vitascope.report.charts.plots import Axis, Mark, Strip

MAX_BARS = 60
"""Bars of the sizes of classes; of more classes, sizes at so many places."""
MAX_FOLDS = 12
"""Folds whose sizes are listed."""
LEAKS = ("leak", "overlap", "copies", "names")
"""Kinds of warnings that say that training may have what the test is about."""
FULL = 40.0
"""Height of the longest bar, pixels."""


class Bar(NamedTuple):
    """A bar of a small chart: place and width in percent of the chart, height in pixels, and what it says."""

    x: float
    width: float
    height: float
    tip: str


class Bars(NamedTuple):
    """A small bar chart with a title, and what it shows in words."""

    title: str
    bars: tuple[Bar, ...]
    text: str


class FoldScores(NamedTuple):
    """Scores of every fold on a task, a strip for each encoder."""

    task: str
    probe: str
    axis: Axis
    strips: tuple[Strip, ...]


class Protocol(NamedTuple):
    """A task in words."""

    probe: str
    text: str


class Card(NamedTuple):
    """The card of one dataset."""

    name: str
    facts: tuple[tuple[str, str], ...]
    """(what, how many) in order."""
    charts: tuple[Bars, ...]
    folds: tuple[FoldScores, ...]
    doubts: tuple[str, ...]
    sound: bool
    """Whether leaks and copies were looked for and none was found."""
    notes: tuple[str, ...]
    protocols: tuple[Protocol, ...]


def cards(board: Leaderboard) -> list[Card]:
    """A card for every dataset with a main column, in the order of the columns."""
    by_name: dict[str, list[Column]] = {}
    for column in board.main():
        by_name.setdefault(column.first.dataset, []).append(column)
    return [_card(name, columns, board.rows) for name, columns in by_name.items()]


def _card(name: str, columns: Sequence[Column], rows: Sequence[EncoderRow]) -> Card:
    recorded = [r for c in columns for r in c.cells.values()]
    told = best_told(recorded)
    data = conform(told.data, DataCard, "data")
    doubts = [line.partition(": ")[2] for line in warning_lines(recorded)]
    charts = [*_lengths(data.lengths), *_class_bars(told, data)]
    return Card(
        escaped(name),
        tuple(_facts(told, data, recorded)),
        tuple(charts),
        tuple(_fold_scores(c, rows) for c in columns if any(len(r.folds) > 1 for r in c.cells.values())),
        tuple(map(escaped, doubts)),
        bool(told.data) and not any(w.kind in LEAKS for r in recorded for w in r.data_warnings),
        tuple(map(escaped, data.notes)),
        tuple(Protocol(escaped(c.first.probe), protocol_words(c.first)) for c in columns),
    )


def best_told(recorded: Sequence[Result]) -> Result:
    """The result whose card tells most of the data: one with lengths before one without, then the first."""
    return max(recorded, key=lambda r: (bool(r.data.get("lengths")), bool(r.data)))


def _facts(told: Result, data: DataCard, recorded: Sequence[Result]) -> list[tuple[str, str]]:
    classes, unreadable = told.settings.get("classes") or (), {i for r in recorded for i in r.missing}
    examples = data.examples or (told.settings.get("dataset") or {}).get("examples", 0)
    facts = [("examples", f"{examples:,}")] if examples else []
    facts.append(("tested", f"{told.expected:,}"))
    facts += [("classes", f"{len(classes):,}")] if classes else []
    facts += [("groups", _groups(data))] if data.examples else []
    facts += [("folds", _folds(data))] if data.folds else []
    gone = len(unreadable)
    facts.append(("missing or unreadable", f"{gone:,}" if gone else "none"))
    facts += [("read as", escaped(data.layout))] if data.layout else []
    if data.divided:
        facts.append(("groups divided by the official split", f"{data.divided:,} examples"))
    return facts


def _groups(data: DataCard) -> str:
    of = data.groups
    if not of.count:
        files = f"; {counted(of.files, 'file')}" if 0 < of.files < data.examples else ""
        return f"none{files}"
    alone = data.examples - of.grouped
    rest = f", {counted(alone, 'example')} in none" if alone else ""
    return f"{of.count:,} (up to {counted(of.largest, 'example')}{rest})"


def _folds(data: DataCard) -> str:
    if data.fold_count == 1:
        one = data.folds[0]
        return f"one split: {one.train:,} to train, {one.test:,} to test"
    sizes = [f"{one.train:,}/{one.test:,}" for one in data.folds[:MAX_FOLDS]]
    more = f" and {data.fold_count - MAX_FOLDS} more" if data.fold_count > MAX_FOLDS else ""
    return f"{data.fold_count} (train/test {', '.join(sizes)}{more})"


def _lengths(lengths: Lengths) -> list[Bars]:
    """The histogram of lengths, if they are known."""
    if not lengths.quartiles:
        return []
    low, _, median, _, high = lengths.quartiles
    step = (high - low) / max(len(lengths.histogram), 1)
    tips = [f"{low + i * step:.3g} to {low + (i + 1) * step:.3g} s: {n:,}" for i, n in enumerate(lengths.histogram)]
    what = "as annotated" if lengths.of == "annotated" else "as far as clips reach"
    text = f"{_seconds(low)} to {_seconds(high)}, median {_seconds(median)} ({lengths.count:,} videos, {what})"
    if low == high:
        return [Bars("Length", (), f"{_seconds(low)}, all of {counted(lengths.count, 'video')} ({what})")]
    return [Bars("Length", _bars(lengths.histogram, tips), text)]


def _seconds(value: float) -> str:
    return format_duration(value) if value >= 60 else f"{value:.3g} s"


def _class_bars(told: Result, data: DataCard) -> list[Bars]:
    """The sizes of the classes among the tested examples, descending; equal sizes are one sentence."""
    sizes = data.tested_classes
    if not sizes:
        return []
    names = told.settings.get("classes") or ()
    known = len(names) == len(sizes)
    order = sorted(range(len(sizes)), key=lambda c: -sizes[c])
    low, high = min(sizes), max(sizes)
    if low == high:
        return [Bars("Classes", (), f"{high:,} tested of each of the {counted(len(sizes), 'class', 'classes')}")]
    last = len(order) - 1
    shown = order if len(order) <= MAX_BARS else [order[round(i * last / (MAX_BARS - 1))] for i in range(MAX_BARS)]
    tips = [f"{escaped(str(names[c])) if known else 'a class'}: {sizes[c]:,}" for c in shown]
    empty = f", {counted(sizes.count(0), 'class', 'classes')} without any" if low == 0 else ""
    text = f"{low:,} to {high:,} tested of a class{empty}"
    return [Bars("Classes", _bars([sizes[c] for c in shown], tips), text)]


def _bars(heights: Sequence[int], tips: Sequence[str]) -> tuple[Bar, ...]:
    top, width = max(heights) or 1, 100 / len(heights)
    return tuple(
        Bar(round(i * width, 2), round(width * 0.84, 2), round(max(FULL * n / top, 1.0 if n else 0.0), 1), tip)
        for i, (n, tip) in enumerate(zip(heights, tips, strict=True))
    )


def _fold_scores(column: Column, rows: Sequence[EncoderRow]) -> FoldScores:
    headline = next(iter(column.first.scores))
    values = {
        row: [fold[headline] for fold in result.folds if headline in fold] for row, result in column.cells.items()
    }
    scale = plots.axis([Score(v) for each in values.values() for v in each] or [Score(0.0)])
    strips = [_fold_strip(rows[row], each, scale) for row, each in values.items() if len(each) > 1]
    return FoldScores(escaped(column.task), escaped(column.first.probe), scale, tuple(strips))


def _fold_strip(row: EncoderRow, values: Sequence[float], scale: Axis) -> Strip:
    marks = tuple(Mark(row.index, scale.at(v), (scale.at(v), scale.at(v))) for v in values)
    text = f"{number(min(values))} to {number(max(values))}"
    each = ", ".join(map(number, values[:MAX_FOLDS]))
    tip = f"{escaped(row.label)}\nby fold: {each}\nstandard deviation {number(stdev(values))}"
    return Strip(escaped(row.label), marks, text, tip)
