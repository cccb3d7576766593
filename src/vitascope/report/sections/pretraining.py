"""Pretraining: what a report says of the runs of a folder, as verdicts, pictures and one table of their ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from vitascope.core.text import number, percent, shown, valued
from vitascope.core.types import Score
from vitascope.pretrain.monitoring.log import Line, TrainingLog
from vitascope.report.analysis import training_runs as flights
from vitascope.report.analysis.leaderboard import EncoderRow
from vitascope.report.analysis.phrases import Run
from vitascope.report.analysis.training_runs import TradeoffPoint, TrainingRun
from vitascope.report.charts import tradeoff, training_curves
from vitascope.report.charts.tradeoff import Tradeoff
from vitascope.report.charts.training_curves import TrainingPlot
from vitascope.report.sections.tables import SummaryTable

NOTE = (
    "The last probe of every run; brackets: 95 % intervals where they were drawn. Probes in the loop tell how training "
    "goes. They are not paired and rank nothing: that takes `vitascope evaluate` on the exported encoders."
)


SUBJECTS: Mapping[str, Callable[[TradeoffPoint], float]] = {
    "appearance": lambda place: place.appearance.value,
    "motion": lambda place: place.motion.value,
    "the mean of both": lambda place: place.mean,
}
"""What runs are compared on, in words."""


class Gallery(NamedTuple):
    """Plots under a heading."""

    title: str
    note: str
    plots: tuple[TrainingPlot, ...]


class Pretraining(NamedTuple):
    """All that is said of the runs."""

    verdicts: Sequence[Sequence[Run]]
    flights: Sequence[TrainingRun]
    rows: Sequence[EncoderRow]
    tradeoffs: Sequence[Tradeoff]
    galleries: Sequence[Gallery]
    table: SummaryTable
    seen: str


def pretraining(recordings: Sequence[TrainingLog], *, first: int = 0) -> Pretraining | None:
    """What the runs say, with their colors numbered from `first` on; None where there is no run."""
    if not recordings:
        return None
    found = flights.flights(recordings, first=first)
    return Pretraining(
        verdicts=list(_verdicts(found)),
        flights=found,
        rows=flights.rows(found),
        tradeoffs=tradeoff.tradeoffs(found),
        galleries=[gallery for gallery in _galleries(found) if gallery.plots],
        table=table(found),
        seen=training_curves.magnitude(sum(flight.recording.seen for flight in found)),
    )


def _verdicts(found: Sequence[TrainingRun]) -> Iterator[list[Run]]:
    """Which run ended highest on each axis and on their mean; and what was stopped."""
    methods = flights.methods(found)
    if methods:
        yield list(_leaders(found, methods[0]))
    for flight in found:
        for alarm in flight.recording.alarms:
            yield [Run(flight.label, True), Run(f" was stopped at step {alarm['step']:,}; {shown(str(alarm['why']))}.")]


def _leaders(found: Sequence[TrainingRun], method: str) -> Iterator[Run]:
    ends: dict[str, list[TradeoffPoint]] = {}
    for flight in found:
        if places := flights.places(flight, method):
            ends.setdefault(flight.row.label, []).append(places[-1])
    asked = f"By the {method} probe" if method else "By its probes"
    if sum(map(len, ends.values())) == 1:
        ((name, (place,)),) = ends.items()
        yield from (Run(f"{asked} "), Run(name, True))
        yield Run(f" sees appearance at {percent(place.appearance)} and motion at {percent(place.motion)}.")
        return
    leads: dict[str, list[str]] = {}
    for subject, value in SUBJECTS.items():
        means = {name: fmean(map(value, places)) for name, places in ends.items()}
        best = max(means, key=lambda name: means[name])
        leads.setdefault(best, []).append(f"{subject} with {percent(Score(means[best]))}")
    for turn, (best, subjects) in enumerate(leads.items()):
        yield from (Run(f"{asked}, " if not turn else "; "), Run(best, True))
        yield Run(f" is highest on {' and on '.join(subjects)}")
    seeds = sorted({len(of) for of in ends.values()})
    yield Run(
        f"; means over {'–'.join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))} seeds." if seeds[-1] > 1 else "."
    )


def _galleries(found: Sequence[TrainingRun]) -> Iterator[Gallery]:
    yield Gallery(
        "Probes over training",
        "Percent, by clips seen. Bands: 95 % intervals. Probes in the loop, on what training never met.",
        _there(
            training_curves.probes(
                found,
                shown(name),
                training_curves.of_score(name),
                scale=training_curves.percent,
                chance=flights.chance(found, [name]),
            )
            for name in flights.named(found)
        ),
    )
    yield Gallery(
        "Features over training",
        "Effective rank: how many directions clip features fill (exp of the entropy of their spectrum). Token "
        "deviation: 1 where tokens of different clips point everywhere alike, 0 where all are one. Both fall to the "
        "bottom when features collapse. Similarity: the mean cosine that the recorder took of each target.",
        _there(_features(found)),
    )
    yield Gallery(
        "Losses",
        "Unweighted, by clips seen: the mean of the steps close together, in a band from the lowest to the highest. "
        "Different targets have different units: only runs in one plot compare.",
        _there(_losses(found)),
    )
    yield Gallery(
        "Losses of each source",
        "The same, of the steps that read one source: how much harder a target is on images than on videos, say.",
        _there(_by_source(found)),
    )
    yield Gallery(
        "Optimization and speed",
        "A share of waiting far above zero says that data, not arithmetic, set the pace.",
        _there(_pace(found)),
    )


def _there(plots: Iterator[TrainingPlot | None]) -> tuple[TrainingPlot, ...]:
    return tuple(plot for plot in plots if plot is not None)


def _features(found: Sequence[TrainingRun]) -> Iterator[TrainingPlot | None]:
    rank, spread = training_curves.of_measure("effective_rank"), training_curves.of_measure("token_std")
    yield training_curves.probes(found, "effective rank", rank, scale=training_curves.from_zero(4.0))
    yield training_curves.probes(found, "token deviation", spread, scale=training_curves.from_zero(1.0))
    for name in dict.fromkeys(n for f in found for line in f.recording.probes for n in line.get("similarity") or {}):
        value = training_curves.of_measure(name, "similarity")
        yield training_curves.probes(found, f"similarity of {shown(name)}", value, scale=training_curves.from_zero(1.0))


def _losses(found: Sequence[TrainingRun]) -> Iterator[TrainingPlot | None]:
    names = list(dict.fromkeys(name for f in found for line in f.recording.steps for name in line["losses"]))
    for name in names:
        yield training_curves.steps(found, shown(name), _loss(name))
    if any(len(line["losses"]) > 1 for f in found for line in f.recording.steps[-1:]):
        yield training_curves.steps(found, "weighted sum", _of("loss"))


def _by_source(found: Sequence[TrainingRun]) -> Iterator[TrainingPlot | None]:
    lines = [line for f in found for line in f.recording.steps]
    pairs = dict.fromkeys(
        (n, of) for line in lines for of, means in (line.get("by_source") or {}).items() for n in means
    )
    for name, source in sorted(pairs):
        yield training_curves.steps(found, f"{shown(name)}, of {shown(source)}", _loss_of(name, source))


def _pace(found: Sequence[TrainingRun]) -> Iterator[TrainingPlot | None]:
    yield training_curves.steps(found, "learning rate", _of("lr"), within=(0.0, 0.0))
    yield training_curves.steps(found, "gradient norm", _of("grad_norm"))
    yield training_curves.steps(found, "clips per second", _of("clips_per_second"), within=(0.0, 0.0))
    yield training_curves.steps(found, "waiting for data, % of the time", _share, within=(0.0, 10.0))


def _loss(name: str) -> Callable[[Line], float | None]:
    return lambda line: line["losses"].get(name)


def _loss_of(name: str, source: str) -> Callable[[Line], float | None]:
    return lambda line: ((line.get("by_source") or {}).get(source) or {}).get(name)


def _of(name: str) -> Callable[[Line], float | None]:
    return lambda line: line.get(name)


def _share(line: Line) -> float | None:
    share = line.get("waiting")
    return None if share is None else 100 * share


def table(found: Sequence[TrainingRun]) -> SummaryTable:
    """A line for each run: how far it came, how fast, and what its last probe found."""
    names = flights.named(found)
    heads = (
        "run",
        "state",
        "clips seen",
        "clips/s",
        "waiting",
        *map(shown, names),
        "effective rank",
        "token deviation",
    )
    return SummaryTable("Pretraining runs", NOTE, heads, tuple(_line(flight, names) for flight in found))


def _line(flight: TrainingRun, names: Sequence[str]) -> tuple[str, ...]:
    recording = flight.recording
    last: Line = recording.probes[-1] if recording.probes else {"scores": {}}
    speed = flights.speed(recording)
    rate, waiting = (training_curves.magnitude(speed[0]), f"{100 * speed[1]:.0f} %") if speed else ("–", "–")
    scores = [_score(last["scores"].get(name)) for name in names]
    measures = [_measure(last.get(name)) for name in ("effective_rank", "token_std")]
    return (flight.label, flight.state, training_curves.magnitude(recording.seen), rate, waiting, *scores, *measures)


def _score(told: Any) -> str:
    return "–" if not told or told.get("value") is None else valued(flights.score(told))


def _measure(value: float | None) -> str:
    return "–" if value is None else number(value) if value >= 10 else f"{value:.2f}"


def brief(recordings: Sequence[TrainingLog]) -> list[dict[str, Any]]:
    """Each run and its last probe as plain data."""
    return [
        {
            "run": flight.recording.name,
            "state": flight.state,
            "step": flight.recording.step,
            "seen": flight.recording.seen,
            "recipe": dict(flight.recording.recipe),
            "probe": dict(flight.recording.probes[-1]) if flight.recording.probes else None,
            "alarms": [dict(alarm) for alarm in flight.recording.alarms],
        }
        for flight in flights.flights(recordings)
    ]
