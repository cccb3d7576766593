"""Training curves: logged quantities of pretraining runs against training clips, as plain geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, floor, isfinite, log10
from statistics import fmean
from typing import NamedTuple

from vitascope.core.text import compact, escaped, with_interval
from vitascope.core.types import Score
from vitascope.pretrain.monitoring.log import Line
from vitascope.report.analysis.training_runs import TrainingRun, parse_score
from vitascope.report.charts import plots
from vitascope.report.charts.low_shot import Level
from vitascope.report.charts.plots import Dot

BINS = 100
"""Bins of the horizontal axis; the steps within a bin are drawn as their mean and range."""
DECADES = 1.3
"""Range of positive values, in orders of magnitude, above which the scale is logarithmic."""

Value = Callable[[Line], float | None]
"""Reads a quantity from a line of the log; None if it is missing."""


class Scale(NamedTuple):
    """A linear or logarithmic scale from `low` to `high`."""

    low: float
    high: float
    log: bool
    ticks: tuple[Level, ...]

    def at(self, value: float) -> float:
        """Position of a value along the scale, percent, clamped to its ends."""
        low, high = (log10(self.low), log10(self.high)) if self.log else (self.low, self.high)
        position = log10(max(value, self.low)) if self.log else value
        return round(min(max(100 * (position - low) / (high - low), 0.0), 100.0), 2)


class TrainingCurve(NamedTuple):
    """Curve of one run: line, band, dots (each evaluation, or the last step only), and where it was stopped."""

    row: int
    line: str
    band: str
    dots: tuple[Dot, ...]
    stop: Dot | None


class TrainingPlot(NamedTuple):
    """Plot of one quantity of all runs."""

    title: str
    note: str
    x: Scale
    y: Scale
    curves: tuple[TrainingCurve, ...]
    chance: float | None = None
    """Chance level, percent from the top."""
    order_free: float | None = None
    """What frames without their order tell, percent from the top."""


class Bin(NamedTuple):
    """Steps within a bin: their mean position, and mean, lowest and highest value."""

    clips: float
    mean: float
    low: float
    high: float


def linear(low: float, high: float, steps: int = 4) -> Scale:
    """Linear scale with round steps around `low` to `high`."""
    step = plots.round_step((high - low or abs(high) or 1.0) / steps)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    last += first == last
    marks = [step * i for i in range(first, last + 1)]
    bare = Scale(marks[0], marks[-1], False, ())
    return bare._replace(ticks=tuple(Level(compact(mark), bare.at(mark)) for mark in marks))


def logarithmic(low: float, high: float) -> Scale:
    """Log scale from `low` to `high`, both positive, with ticks at powers of ten or at 1, 2 and 5 times these."""
    bottom, top = floor(log10(low)), ceil(log10(high))
    digits = (1,) if log10(high / low) > 2.5 else (1, 2, 5)
    marks = [digit * 10.0**power for power in range(bottom, top + 1) for digit in digits]
    bare = Scale(low, high, True, ())
    return bare._replace(ticks=tuple(Level(compact(mark), bare.at(mark)) for mark in marks if low <= mark <= high))


def clips_scale(runs: Sequence[TrainingRun]) -> Scale:
    """Horizontal axis of all plots: training clips, up to the longest run."""
    return _scale_up_to(max((run.log.clips_consumed for run in runs), default=0) or 1)


def _scale_up_to(end: float) -> Scale:
    step = plots.round_step(end / 4)
    marks = [step * i for i in range(floor(end / step + 1e-9) + 1)]
    bare = Scale(0.0, end, False, ())
    return bare._replace(ticks=tuple(Level(compact(mark), bare.at(mark)) for mark in marks))


def step_plot(
    runs: Sequence[TrainingRun],
    title: str,
    value: Value,
    *,
    note: str = "",
    within: tuple[float | None, float] | None = None,
) -> TrainingPlot | None:
    """Plot a quantity of every step; None if no run has it. `within`: values that the scale must include."""
    x = clips_scale(runs)
    binned = [(run, list(_bins(run, value, x.high))) for run in runs]
    binned = [(run, bins) for run, bins in binned if bins]
    if not binned:
        return None
    y = _scale([b.mean for _, bins in binned for b in bins], within)
    curves = tuple(_step_curve(run, bins, x, y) for run, bins in binned)
    return TrainingPlot(title, note + ("log scale" if y.log else ""), x, y, curves)


def _scale(values: Sequence[float], within: tuple[float | None, float] | None) -> Scale:
    low, high = min(values), max(values)
    if within is not None:
        return linear(low if within[0] is None else min(low, within[0]), max(high, within[1]))
    return logarithmic(low, high) if low > 0 and log10(high / low) > DECADES else linear(low, high)


def _bins(run: TrainingRun, value: Value, end: float) -> Iterator[Bin]:
    by_bin: dict[int, list[tuple[float, float]]] = {}
    for line in run.log.steps:
        number = value(line)
        if number is not None and isfinite(number):
            by_bin.setdefault(min(int(BINS * line["seen"] / end), BINS - 1), []).append((line["seen"], number))
    for _, inside in sorted(by_bin.items()):
        values = [v for _, v in inside]
        yield Bin(fmean(clips for clips, _ in inside), fmean(values), min(values), max(values))


def _step_curve(run: TrainingRun, bins: Sequence[Bin], x: Scale, y: Scale) -> TrainingCurve:
    line = [(x.at(b.clips), 100 - y.at(b.mean)) for b in bins]
    upper = [(x.at(b.clips), 100 - y.at(b.high)) for b in bins]
    lower = [(x.at(b.clips), 100 - y.at(b.low)) for b in reversed(bins)]
    has_range = len(bins) > 1 and any(b.low < b.high for b in bins)
    last = bins[-1]
    tip = f"{run.label}\n{compact(last.clips)} clips: {compact(last.mean)}"
    stop = _stop(run, x, line[-1][1])
    dots = () if stop else (Dot(*line[-1], tip),)
    band = plots.svg_points(upper + lower) if has_range else ""
    return TrainingCurve(run.row.index, plots.svg_points(line), band, dots, stop)


def _stop(run: TrainingRun, x: Scale, height: float) -> Dot | None:
    """Marker where a run was stopped, at the height of its last value."""
    if not run.log.alarms:
        return None
    reason = escaped(str(run.log.alarms[-1]["why"]))
    return Dot(x.at(run.log.clips_consumed), round(height, 2), f"{run.label}\n{reason}")


def probe_plot(
    runs: Sequence[TrainingRun],
    title: str,
    value: Callable[[Line], Score | None],
    *,
    scale: Callable[..., Scale],
    chance: float | None = None,
    order_free: float | None = None,
) -> TrainingPlot | None:
    """Plot a quantity of every evaluation with its intervals; None if no run has it."""
    x = clips_scale(runs)
    measured = [(run, [(line["seen"], s) for line in run.log.probes if (s := value(line))]) for run in runs]
    measured = [(run, scores) for run, scores in measured if scores]
    if not measured:
        return None
    y = scale([s for _, scores in measured for _, s in scores])
    bound = order_free if order_free is not None and order_free < 100 else None
    levels = (100 - y.at(at) if at is not None and y.low <= at <= y.high else None for at in (chance, bound))
    return TrainingPlot(title, "", x, y, tuple(_probe_curve(*one, x, y) for one in measured), *levels)


def _probe_curve(run: TrainingRun, scores: Sequence[tuple[int, Score]], x: Scale, y: Scale) -> TrainingCurve:
    label = run.label
    dots = tuple(
        Dot(x.at(clips), round(100 - y.at(s.value), 2), f"{label}\n{compact(clips)} clips: {_score_text(s)}")
        for clips, s in scores
    )
    bounded = [(x.at(clips), s) for clips, s in scores if s.low is not None and s.high is not None]
    upper = [(at, 100 - y.at(s.high)) for at, s in bounded if s.high is not None]
    lower = [(at, 100 - y.at(s.low)) for at, s in reversed(bounded) if s.low is not None]
    band = plots.svg_points(upper + lower) if len(bounded) > 1 else ""
    return TrainingCurve(run.row.index, plots.svg_points([(d.x, d.y) for d in dots]), band, dots, None)


def _score_text(s: Score) -> str:
    """One decimal for scores, three digits for small values without an interval."""
    return with_interval(s) if s.low is not None or abs(s.value) >= 10 else compact(s.value)


def percent(scores: Sequence[Score]) -> Scale:
    """Scale around scores and their intervals, within 0 to 100."""
    ends = [end for s in scores for end in (s.value, s.low, s.high) if end is not None]
    scale = linear(max(min(ends), 0.0), min(max(ends), 100.0))
    return scale if scale.high <= 100 else linear(scale.low, 100.0)


def zero_to(top: float) -> Callable[[Sequence[Score]], Scale]:
    """Build scales from zero or below to `top` or beyond, as the scores need."""
    return lambda scores: linear(min(0.0, *(s.value for s in scores)), max(top, *(s.value for s in scores)))


def score_reader(name: str) -> Callable[[Line], Score | None]:
    """Read the score called `name` of an evaluation."""
    return lambda line: _finite_score(line["scores"].get(name))


def measure_reader(name: str, group: str = "") -> Callable[[Line], Score | None]:
    """Read a measure of an evaluation, or of its `group`, as a score without interval."""

    def value(line: Line) -> Score | None:
        measure = (line.get(group) or {} if group else line).get(name)
        return None if measure is None or not isfinite(measure) else Score(float(measure))

    return value


def _finite_score(entry: Mapping[str, float] | None) -> Score | None:
    return parse_score(entry) if entry and entry.get("value") is not None else None
