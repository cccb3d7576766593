"""Trade-off: the path of every pretraining run over appearance and motion, from its first probe to its last."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from vitascope.core.text import number, valued
from vitascope.core.types import Score
from vitascope.report.analysis import training_runs
from vitascope.report.analysis.ranking import Chance
from vitascope.report.analysis.training_runs import TradeoffPoint, TrainingRun
from vitascope.report.charts import plots
from vitascope.report.charts.plots import Axis, Contour, Dot, Point, Scatter, Trail
from vitascope.report.charts.training_curves import magnitude

HEIGHT = 560.0
"""Pixels of the plot."""


class Tradeoff(NamedTuple):
    """The picture for one way to ask."""

    method: str
    plot: Scatter


def tradeoffs(found: Sequence[TrainingRun]) -> list[Tradeoff]:
    """A picture for every way to ask that has both axes, the headline first."""
    return [Tradeoff(method, _drawn(found, method)) for method in training_runs.methods(found)]


def _drawn(found: Sequence[TrainingRun], method: str) -> Scatter:
    held = [(flight, places) for flight in found if (places := training_runs.places(flight, method))]
    ends = [places[-1] for _, places in held]
    across = [*_bare(held, "appearance"), *(p.appearance for p in ends)]
    up = [*_bare(held, "motion"), *(p.motion for p in ends)]
    x = plots.axis(across, _chance(found, method, "appearance"), steps=6)
    y = plots.axis(up, _chance(found, method, "motion"), steps=6)
    named = _named(held, x)
    points = [_end(flight, places[-1], (x, y), named=flight.label in named) for flight, places in held]
    settled = plots.settled(points, max(HEIGHT, plots.LINE * len(named) + 40.0))
    trails = tuple(_trail(flight, places, x, y) for flight, places in held)
    return Scatter(x, y, settled.height, settled.points, trails, contours(x, y))


def _bare(held: Sequence[tuple[TrainingRun, Sequence[TradeoffPoint]]], axis: str) -> list[Score]:
    return [Score(getattr(place, axis).value) for _, places in held for place in places]


def _chance(found: Sequence[TrainingRun], method: str, axis: str) -> Chance | None:
    told = {n: t for f in found for line in f.recording.probes for n, t in line["scores"].items()}
    wanted = [n for n, t in told.items() if training_runs.asked(n)[1] == method and training_runs.axis(n, t) == axis]
    value = training_runs.chance(found, wanted)
    return None if value is None else Chance(value, False)


def _named(held: Sequence[tuple[TrainingRun, Sequence[TradeoffPoint]]], x: Axis) -> set[str]:
    """Of the runs of one recipe, the one that carries the label: the outermost on the side where labels go."""
    ends: dict[tuple[int, bool], list[tuple[float, str]]] = {}
    for flight, places in held:
        at = x.at(places[-1].appearance.value)
        ends.setdefault((flight.row.index, bool(flight.recording.alarms)), []).append((at, flight.label))
    # a run that was stopped speaks for its recipe only where no other does
    chosen = [of for (row, stopped), of in ends.items() if not stopped or (row, False) not in ends]
    return {(min if fmean(at for at, _ in of) > plots.MIDDLE else max)(of)[1] for of in chosen}


def _end(flight: TrainingRun, place: TradeoffPoint, axes: tuple[Axis, Axis], *, named: bool) -> Point:
    x, y = axes
    low, high = plots.span(y, place.motion)
    return Point(
        row=flight.row.index,
        label=flight.row.label if named else "",
        x=x.at(place.appearance.value),
        y=round(100 - y.at(place.motion.value), 2),
        x_span=plots.span(x, place.appearance),
        y_span=(round(100 - high, 2), round(100 - low, 2)),
        nudge=0.0,
        left=False,
        tip=_tip(flight, place),
    )


def _tip(flight: TrainingRun, place: TradeoffPoint) -> str:
    where = f"appearance {valued(place.appearance)}\nmotion {valued(place.motion)}\nmean {number(place.mean)}"
    return f"{flight.label}\n{magnitude(place.seen)} clips seen\n{where}"


def _trail(flight: TrainingRun, places: Sequence[TradeoffPoint], x: Axis, y: Axis) -> Trail:
    dots = tuple(Dot(x.at(p.appearance.value), round(100 - y.at(p.motion.value), 2), _tip(flight, p)) for p in places)
    return Trail(flight.row.index, dots, bool(flight.recording.alarms))


def contours(x: Axis, y: Axis) -> tuple[Contour, ...]:
    """Lines on which the mean of both axes is the same round number, cut off at the edges of the plot."""
    low, high = (x.low + y.low) / 2, (x.high + y.high) / 2
    step = plots.rounded((high - low) / 5)
    count = int((high - low) / step) + 2
    levels = [step * (int(low / step) + i) for i in range(count)]
    return tuple(line for level in levels if low < level < high for line in [_contour(level, x, y)])


def _contour(level: float, x: Axis, y: Axis) -> Contour:
    left, right = max(x.low, 2 * level - y.high), min(x.high, 2 * level - y.low)
    ends = [(x.at(at), round(100 - y.at(2 * level - at), 2)) for at in (left, right)]
    return Contour(number(level).removesuffix(".0"), *ends[0], *ends[1])
