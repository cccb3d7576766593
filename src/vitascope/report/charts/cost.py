"""Accuracy against cost: a small chart per task and kind of cost, with the encoders that none beats on both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any, NamedTuple

from vitascope.core.text import compact, escaped, file_size, with_interval
from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.ranking import Ranking
from vitascope.report.charts import plots
from vitascope.report.charts.plots import Axis

ONE_CLIP = ("Uniform", "Around", "RandomClip")
"""Samplers that take one clip of a video, for results that do not tell the number."""


class LogAxis(NamedTuple):
    """A logarithmic axis from `low` to `high`, with a few round ticks and their texts."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def at(self, value: float) -> float:
        """Position of a value along the axis, percent."""
        return round(100 * log10(value / self.low) / log10(self.high / self.low), 2)


class CostPoint(NamedTuple):
    """An encoder in a chart, percent from left and top; `front` if none is better in both."""

    row: int
    x: float
    y: float
    span: tuple[float, float]
    front: bool
    tip: str


class CostChart(NamedTuple):
    """Scores of a task against one kind of cost."""

    task: str
    dataset: str
    probe: str
    x: LogAxis
    y: Axis
    points: tuple[CostPoint, ...]
    front: str
    """Points of the line through the front, for SVG."""

    @property
    def differs(self) -> bool:
        """Whether the encoders differ in cost."""
        return len({point.x for point in self.points}) > 1


class CostLine(NamedTuple):
    """What an encoder costs on a task, as text by measure."""

    row: EncoderRow
    task: str
    texts: tuple[str, ...]


class Measure(NamedTuple):
    """A kind of cost."""

    name: str
    title: str
    of: Callable[[Result], float]
    """Its value of a result; 0 if unknown."""
    text: Callable[[float], str]
    less_is_better: bool = True


class MeasureCharts(NamedTuple):
    """The charts of one measure."""

    name: str
    title: str
    less_is_better: bool
    charts: tuple[CostChart, ...]


def _model(result: Result, name: str) -> float:
    known = result.settings.get("model") or result.settings.get("card")
    found = known.get(name) if isinstance(known, Mapping) else 0
    return float(found) if isinstance(found, (int, float)) else 0.0


def clips_a_video(result: Result) -> float:
    """Clips of a test video; 0 if unknown."""
    return float(result.cost.get("clips", 0.0)) or float(_takes_one(result.settings.get("probe")))


def _takes_one(probe: Any) -> bool:
    sampler = ((probe if isinstance(probe, Mapping) else {}).get("test") or {}).get("sampler") or {}
    while isinstance(sampler, Mapping) and "inner" in sampler:
        sampler = sampler["inner"]
    return isinstance(sampler, Mapping) and sampler.get("type") in ONE_CLIP


def gflops_a_video(result: Result) -> float:
    """GFLOPs (1e9 multiply-adds) of the encoder on a test video; 0 if unknown."""
    return (float(result.cost.get("gflops", 0.0)) or _model(result, "gflops")) * clips_a_video(result)


def clips_per_second(result: Result) -> float:
    """Clips encoded in a second, decoding left out; 0 if the vectors came from the store."""
    seconds = result.seconds.get("encode", 0.0)
    return float(result.cost.get("encoded", 0)) / seconds if seconds > 0 else 0.0


MEASURES = (
    Measure("gflops", "GFLOPs a video", gflops_a_video, compact),
    Measure("speed", "clips encoded per second", clips_per_second, compact, less_is_better=False),
    Measure("bytes", "bytes stored a video", lambda r: float(r.cost.get("bytes", 0.0)), lambda v: file_size(round(v))),
    Measure("params", "parameters", lambda r: _model(r, "params"), compact),
)


def charts(board: Leaderboard, rankings: Mapping[str, Ranking]) -> list[MeasureCharts]:
    """The charts of every measure that encoders of a task have and differ in."""
    found = []
    for measure in MEASURES:
        each = [_chart(c, rankings[c.task], measure, board.rows) for c in board.main() if c.task in rankings]
        drawn = tuple(chart for chart in each if chart)
        if any(chart.differs for chart in drawn):
            found.append(MeasureCharts(measure.name, measure.title, measure.less_is_better, drawn))
    return found


def lines(board: Leaderboard) -> list[CostLine]:
    """What every encoder costs on every task of the main columns; those of which nothing is known are left out."""
    found = []
    for column in board.main():
        for row in (r for r in board.rows if r.index in column.cells):
            values = [(m, m.of(column.cells[row.index])) for m in MEASURES]
            if any(value for _, value in values):
                texts = tuple(m.text(value) if value else "–" for m, value in values)
                found.append(CostLine(row, escaped(column.task), texts))
    return found


def _chart(column: Column, ranking: Ranking, measure: Measure, rows: Sequence[EncoderRow]) -> CostChart | None:
    costs = {row: cost for row, result in column.cells.items() if (cost := measure.of(result)) > 0}
    if len(costs) < 2:
        return None
    scores = {row: ranking.scores[row] for row in costs}
    x, y = log_axis([*costs.values()], measure.text), plots.axis([*scores.values()], ranking.chance)
    best = front({row: (cost if measure.less_is_better else -cost, scores[row].value) for row, cost in costs.items()})
    points = tuple(_point(rows[row], (costs[row], scores[row]), (x, y), measure, front=row in best) for row in costs)
    line = sorted((p.x, p.y) for p in points if p.front)
    task, dataset, probe = (escaped(name) for name in (column.task, column.first.dataset, column.first.probe))
    return CostChart(task, dataset, probe, x, y, points, plots.svg_points(line))


def _point(
    row: EncoderRow, at: tuple[float, Score], axes: tuple[LogAxis, Axis], measure: Measure, *, front: bool
) -> CostPoint:
    (cost, score), (x, y) = at, axes
    high, low = (round(100 - place, 2) for place in plots.span(y, score))
    tip = [escaped(row.label), with_interval(score), f"{measure.text(cost)} {measure.title}"]
    tip += ["none here is better in both"] if front else []
    return CostPoint(row.index, x.at(cost), round(100 - y.at(score.value), 2), (low, high), front, "\n".join(tip))


def front(values: Mapping[int, tuple[float, float]]) -> set[int]:
    """The Pareto front of {row: (cost, score)}: rows that no other beats in one and equals or beats in the other."""
    return {
        row
        for row, (cost, score) in values.items()
        if not any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in values.values())
    }


def log_axis(values: Sequence[float], text: Callable[[float], str]) -> LogAxis:
    """A logarithmic axis around positive values with at most five ticks at 1, 2 and 5 times powers of ten."""
    low, high = min(values), max(values)
    low, high = low / (high / low) ** 0.08 / 1.1, high * (high / low) ** 0.08 * 1.1
    exponents = range(floor(log10(low)) - 1, ceil(log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [t for e in exponents for m in steps if low <= (t := m * 10.0**e) <= high]
        if len(ticks) <= 5:
            break
    ticks = ticks[:: ceil(len(ticks) / 5)] if ticks else [min(values)]
    return LogAxis(low, high, tuple((t, text(t)) for t in ticks))
