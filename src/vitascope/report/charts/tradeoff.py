"""Trade-off plot: the path of every pretraining run in the plane of appearance and motion scores."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from vitascope.core.text import compact, number, with_interval
from vitascope.core.types import Score
from vitascope.report.analysis import training_runs
from vitascope.report.analysis.ranking import Chance
from vitascope.report.analysis.training_runs import TradeoffPoint, TrainingRun
from vitascope.report.charts import plots
from vitascope.report.charts.plots import Axis, Contour, Dot, Point, Scatter, Trail

HEIGHT = 560.0
"""Minimum height of the plot, pixels."""


class Tradeoff(NamedTuple):
    """The plot for one probe."""

    method: str
    plot: Scatter


def tradeoffs(runs: Sequence[TrainingRun]) -> list[Tradeoff]:
    """Lay out a plot per probe with scores on both axes, headline probe first."""
    return [Tradeoff(method, _plot(runs, method)) for method in training_runs.methods(runs)]


def _plot(runs: Sequence[TrainingRun], method: str) -> Scatter:
    paths = [(run, points) for run in runs if (points := training_runs.tradeoff_points(run, method))]
    ends = [points[-1] for _, points in paths]
    across = [*_values(paths, "appearance"), *(p.appearance for p in ends)]
    up = [*_values(paths, "motion"), *(p.motion for p in ends)]
    x = plots.axis(across, _chance(runs, method, "appearance"), steps=6)
    y = plots.axis(up, _chance(runs, method, "motion"), steps=6)
    labeled = _labeled_runs(paths, x)
    markers = [_end(run, points[-1], (x, y), labeled=run.label in labeled) for run, points in paths]
    placed = plots.place_labels(markers, max(HEIGHT, plots.LINE * len(labeled) + 40.0))
    trails = tuple(_trail(run, points, x, y) for run, points in paths)
    return Scatter(x, y, placed.height, placed.points, trails, contours(x, y))


def _values(paths: Sequence[tuple[TrainingRun, Sequence[TradeoffPoint]]], axis: str) -> list[Score]:
    return [Score(getattr(point, axis).value) for _, points in paths for point in points]


def _chance(runs: Sequence[TrainingRun], method: str, axis: str) -> Chance | None:
    entries = {name: entry for run in runs for line in run.log.probes for name, entry in line["scores"].items()}
    of_method = {name: entry for name, entry in entries.items() if training_runs.split_name(name)[1] == method}
    names = [name for name, entry in of_method.items() if training_runs.axis_of(name, entry) == axis]
    level = training_runs.mean_level(runs, names)
    bound = training_runs.mean_level(runs, names, "order_free")
    return None if level is None else Chance(level, False, order_free=bound)


def _labeled_runs(paths: Sequence[tuple[TrainingRun, Sequence[TradeoffPoint]]], x: Axis) -> set[str]:
    """Choose the run of each recipe that carries the label: the outermost one on the side where labels go."""
    ends: dict[tuple[int, bool], list[tuple[float, str]]] = {}
    for run, points in paths:
        x_end = x.at(points[-1].appearance.value)
        ends.setdefault((run.row.index, bool(run.log.alarms)), []).append((x_end, run.label))
    # a stopped run carries the label only if the recipe has no other run
    chosen = [group for (row, stopped), group in ends.items() if not stopped or (row, False) not in ends]
    return {(min if fmean(x_end for x_end, _ in group) > plots.MIDDLE else max)(group)[1] for group in chosen}


def _end(run: TrainingRun, point: TradeoffPoint, axes: tuple[Axis, Axis], *, labeled: bool) -> Point:
    x, y = axes
    low, high = plots.span(y, point.motion)
    return Point(
        row=run.row.index,
        label=run.row.label if labeled else "",
        x=x.at(point.appearance.value),
        y=round(100 - y.at(point.motion.value), 2),
        x_span=plots.span(x, point.appearance),
        y_span=(round(100 - high, 2), round(100 - low, 2)),
        nudge=0.0,
        left=False,
        tip=_tip(run, point),
    )


def _tip(run: TrainingRun, point: TradeoffPoint) -> str:
    axes = f"appearance {with_interval(point.appearance)}\nmotion {with_interval(point.motion)}"
    return f"{run.label}\n{compact(point.clips)} training clips\n{axes}\nmean {number(point.mean)}"


def _trail(run: TrainingRun, points: Sequence[TradeoffPoint], x: Axis, y: Axis) -> Trail:
    dots = tuple(Dot(x.at(p.appearance.value), round(100 - y.at(p.motion.value), 2), _tip(run, p)) for p in points)
    return Trail(run.row.index, dots, bool(run.log.alarms))


def contours(x: Axis, y: Axis) -> tuple[Contour, ...]:
    """Lines on which the mean of both axes is a round number, clipped to the plot."""
    low, high = (x.low + y.low) / 2, (x.high + y.high) / 2
    step = plots.round_step((high - low) / 5)
    count = int((high - low) / step) + 2
    levels = [step * (int(low / step) + i) for i in range(count)]
    return tuple(line for level in levels if low < level < high for line in [_contour(level, x, y)])


def _contour(level: float, x: Axis, y: Axis) -> Contour:
    left, right = max(x.low, 2 * level - y.high), min(x.high, 2 * level - y.low)
    ends = [(x.at(a), round(100 - y.at(2 * level - a), 2)) for a in (left, right)]
    return Contour(number(level).removesuffix(".0"), *ends[0], *ends[1])
