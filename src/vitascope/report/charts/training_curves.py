"""Courses: what was measured over a pretraining run, as plain geometry; x is how many clips had been seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, floor, isfinite, log10
from statistics import fmean
from typing import NamedTuple

from vitascope.core.text import shown, tick, valued
from vitascope.core.types import Score
from vitascope.pretrain.monitoring.log import Line
from vitascope.report.analysis.training_runs import TrainingRun, score
from vitascope.report.charts import plots
from vitascope.report.charts.low_shot import Level
from vitascope.report.charts.plots import Dot

BINS = 100
"""Stretches of the horizontal axis, in each of which steps are drawn as their mean and reach."""
DECADES = 1.3
"""Orders of magnitude from which on positive values are drawn on a log scale."""

Value = Callable[[Line], float | None]
"""What to draw of a line; None where it is not there."""


class Scale(NamedTuple):
    """From `low` to `high`, logarithmic or not, with the places (percent from the low end) that are marked."""

    low: float
    high: float
    log: bool
    ticks: tuple[Level, ...]

    def at(self, value: float) -> float:
        """Place of a value along it, percent; values beyond an end stand at the end."""
        low, high = (log10(self.low), log10(self.high)) if self.log else (self.low, self.high)
        there = log10(max(value, self.low)) if self.log else value
        return round(min(max(100 * (there - low) / (high - low), 0.0), 100.0), 2)


class LossCurve(NamedTuple):
    """One run: a line, the band around it, its dots (each probe, else the last step only), and where it was stopped."""

    row: int
    line: str
    band: str
    dots: tuple[Dot, ...]
    stop: Dot | None


class TrainingPlot(NamedTuple):
    """One quantity of all runs."""

    title: str
    note: str
    x: Scale
    y: Scale
    courses: tuple[LossCurve, ...]
    chance: float | None = None
    """Place from the top, percent."""


class Bin(NamedTuple):
    """Steps close together: their mean place and value, and the lowest and the highest."""

    seen: float
    mean: float
    low: float
    high: float


def magnitude(value: float) -> str:
    """A number of any size in a few signs."""
    for least, size, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{_short(value / size)}\N{NO-BREAK SPACE}{unit}"
    return _short(value)


def _short(value: float) -> str:
    return tick(float(f"{value:.3g}"))


def linear(low: float, high: float, steps: int = 4) -> Scale:
    """A scale with round steps around what lies from `low` to `high`."""
    step = plots.rounded((high - low or abs(high) or 1.0) / steps)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    last += first == last
    marks = [step * i for i in range(first, last + 1)]
    bare = Scale(marks[0], marks[-1], False, ())
    return bare._replace(ticks=tuple(Level(magnitude(mark), bare.at(mark)) for mark in marks))


def logarithmic(low: float, high: float) -> Scale:
    """A log scale around what lies from `low` to `high`, both above zero; marked at powers of ten, or 1, 2 and 5."""
    bottom, top = floor(log10(low)), ceil(log10(high))
    digits = (1,) if log10(high / low) > 2.5 else (1, 2, 5)
    marks = [digit * 10.0**power for power in range(bottom, top + 1) for digit in digits]
    bare = Scale(low, high, True, ())
    there = [mark for mark in marks if low <= mark <= high]
    return bare._replace(ticks=tuple(Level(magnitude(mark), bare.at(mark)) for mark in there))


def until(found: Sequence[TrainingRun]) -> Scale:
    """The horizontal axis of all plots: clips seen, up to the last run's end."""
    return _upto(max((flight.recording.seen for flight in found), default=0) or 1)


def _upto(most: float) -> Scale:
    step = plots.rounded(most / 4)
    marks = [step * i for i in range(floor(most / step + 1e-9) + 1)]
    bare = Scale(0.0, most, False, ())
    return bare._replace(ticks=tuple(Level(magnitude(mark), bare.at(mark)) for mark in marks))


def steps(
    found: Sequence[TrainingRun],
    title: str,
    value: Value,
    *,
    note: str = "",
    within: tuple[float | None, float] | None = None,
) -> TrainingPlot | None:
    """A quantity of every step; None where no run has it. `within`: values the scale must hold (None: only what is)."""
    x = until(found)
    held = [(flight, list(_bins(flight, value, x.high))) for flight in found]
    held = [(flight, bins) for flight, bins in held if bins]
    if not held:
        return None
    y = _scale([b.mean for _, bins in held for b in bins], within)
    return TrainingPlot(title, note + ("log scale" if y.log else ""), x, y, tuple(_course(*one, x, y) for one in held))


def _scale(values: Sequence[float], within: tuple[float | None, float] | None) -> Scale:
    low, high = min(values), max(values)
    if within is not None:
        return linear(low if within[0] is None else min(low, within[0]), max(high, within[1]))
    return logarithmic(low, high) if low > 0 and log10(high / low) > DECADES else linear(low, high)


def _bins(flight: TrainingRun, value: Value, most: float) -> Iterator[Bin]:
    held: dict[int, list[tuple[float, float]]] = {}
    for line in flight.recording.steps:
        found = value(line)
        if found is not None and isfinite(found):
            held.setdefault(min(int(BINS * line["seen"] / most), BINS - 1), []).append((line["seen"], found))
    for _, inside in sorted(held.items()):
        values = [v for _, v in inside]
        yield Bin(fmean(s for s, _ in inside), fmean(values), min(values), max(values))


def _course(flight: TrainingRun, bins: Sequence[Bin], x: Scale, y: Scale) -> LossCurve:
    line = [(x.at(b.seen), 100 - y.at(b.mean)) for b in bins]
    upper = [(x.at(b.seen), 100 - y.at(b.high)) for b in bins]
    lower = [(x.at(b.seen), 100 - y.at(b.low)) for b in reversed(bins)]
    spread = len(bins) > 1 and any(b.low < b.high for b in bins)
    last = bins[-1]
    tip = f"{flight.label}\n{magnitude(last.seen)} clips: {magnitude(last.mean)}"
    stop = _stop(flight, x, line[-1][1])
    dots = () if stop else (Dot(*line[-1], tip),)
    return LossCurve(flight.row.index, _points(line), _points(upper + lower) if spread else "", dots, stop)


def _stop(flight: TrainingRun, x: Scale, height: float) -> Dot | None:
    """Where a run was stopped, at the height of its last value."""
    if not flight.recording.alarms:
        return None
    why = shown(str(flight.recording.alarms[-1]["why"]))
    return Dot(x.at(flight.recording.seen), round(height, 2), f"{flight.label}\n{why}")


def probes(
    found: Sequence[TrainingRun],
    title: str,
    value: Callable[[Line], Score | None],
    *,
    scale: Callable[..., Scale],
    chance: float | None = None,
) -> TrainingPlot | None:
    """A quantity of every probe, with its intervals; None where no run has it. `scale` is made of the scores."""
    x = until(found)
    held = [(f, [(line["seen"], s) for line in f.recording.probes if (s := value(line))]) for f in found]
    held = [(flight, scores) for flight, scores in held if scores]
    if not held:
        return None
    y = scale([s for _, scores in held for _, s in scores])
    level = 100 - y.at(chance) if chance is not None and y.low <= chance <= y.high else None
    return TrainingPlot(title, "", x, y, tuple(_probed(*one, x, y) for one in held), level)


def _probed(flight: TrainingRun, scores: Sequence[tuple[int, Score]], x: Scale, y: Scale) -> LossCurve:
    label = flight.label
    dots = tuple(
        Dot(x.at(seen), round(100 - y.at(s.value), 2), f"{label}\n{magnitude(seen)} clips: {_valued(s)}")
        for seen, s in scores
    )
    sure = [(x.at(seen), s) for seen, s in scores if s.low is not None and s.high is not None]
    upper = [(at, 100 - y.at(s.high)) for at, s in sure if s.high is not None]
    lower = [(at, 100 - y.at(s.low)) for at, s in reversed(sure) if s.low is not None]
    line = _points([(d.x, d.y) for d in dots])
    return LossCurve(flight.row.index, line, _points(upper + lower) if len(sure) > 1 else "", dots, None)


def _valued(s: Score) -> str:
    """One decimal for percent, three digits for what has no interval and is small."""
    return valued(s) if s.low is not None or abs(s.value) >= 10 else magnitude(s.value)


def percent(scores: Sequence[Score]) -> Scale:
    """A scale around scores and their intervals, within 0 to 100."""
    ends = [end for s in scores for end in (s.value, s.low, s.high) if end is not None]
    found = linear(max(min(ends), 0.0), min(max(ends), 100.0))
    return found if found.high <= 100 else linear(found.low, 100.0)


def from_zero(most: float) -> Callable[[Sequence[Score]], Scale]:
    """A scale from zero (or below, where values are) to `most` or beyond."""
    return lambda scores: linear(min(0.0, *(s.value for s in scores)), max(most, *(s.value for s in scores)))


def of_score(name: str) -> Callable[[Line], Score | None]:
    """The score called `name` of a probe."""
    return lambda line: _sound(line["scores"].get(name))


def of_measure(name: str, group: str = "") -> Callable[[Line], Score | None]:
    """A measure of a probe, or of its `group`, as a score without interval."""

    def value(line: Line) -> Score | None:
        found = (line.get(group) or {} if group else line).get(name)
        return None if found is None or not isfinite(found) else Score(float(found))

    return value


def _sound(told: Mapping[str, float] | None) -> Score | None:
    return score(told) if told and told.get("value") is not None else None


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{round(y, 2):g}" for x, y in places)
