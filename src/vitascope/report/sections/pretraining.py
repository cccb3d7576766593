"""Section on pretraining runs: key findings, plots over training, and a table of final scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from vitascope.core.text import compact, escaped, number, percent, with_interval
from vitascope.core.types import Score
from vitascope.pretrain.monitoring.log import Line, TrainingLog
from vitascope.report.analysis import training_runs
from vitascope.report.analysis.leaderboard import EncoderRow
from vitascope.report.analysis.phrases import TextRun
from vitascope.report.analysis.training_runs import TradeoffPoint, TrainingRun
from vitascope.report.charts import tradeoff, training_curves
from vitascope.report.charts.tradeoff import Tradeoff
from vitascope.report.charts.training_curves import TrainingPlot
from vitascope.report.sections.tables import SummaryTable

NOTE = (
    "Scores of the last evaluation of every run; brackets: 95 % intervals where available. These probes monitor the "
    "training: they are not paired and do not rank encoders. To rank them, export the encoders and run `vitascope "
    "evaluate`."
)
SUBJECTS: Mapping[str, Callable[[TradeoffPoint], float]] = {
    "appearance": lambda point: point.appearance.value,
    "motion": lambda point: point.motion.value,
    "the mean of both": lambda point: point.mean,
}
"""Quantities that runs are compared on."""


class Gallery(NamedTuple):
    """Plots under a heading."""

    title: str
    note: str
    plots: tuple[TrainingPlot, ...]


class Pretraining(NamedTuple):
    """Everything the report shows of pretraining runs."""

    findings: Sequence[Sequence[TextRun]]
    """Key findings."""
    runs: Sequence[TrainingRun]
    rows: Sequence[EncoderRow]
    tradeoffs: Sequence[Tradeoff]
    galleries: Sequence[Gallery]
    table: SummaryTable
    clips: str
    """Training clips of all runs."""


def pretraining(logs: Sequence[TrainingLog], *, first: int = 0) -> Pretraining | None:
    """Analyze pretraining runs, with rows numbered from `first` on; None without runs."""
    if not logs:
        return None
    runs = training_runs.group_by_recipe(logs, first=first)
    return Pretraining(
        findings=list(_key_findings(runs)),
        runs=runs,
        rows=training_runs.recipe_rows(runs),
        tradeoffs=tradeoff.tradeoffs(runs),
        galleries=[gallery for gallery in _galleries(runs) if gallery.plots],
        table=table(runs),
        clips=compact(sum(run.log.clips_consumed for run in runs)),
    )


def _key_findings(runs: Sequence[TrainingRun]) -> Iterator[list[TextRun]]:
    """State which recipe ends highest on each axis and on their mean, and which runs were stopped."""
    methods = training_runs.methods(runs)
    if methods:
        yield list(_leaders(runs, methods[0]))
    for run in runs:
        for alarm in run.log.alarms:
            stopped = f" was stopped at step {alarm['step']:,}: {escaped(str(alarm['why']))}."
            yield [TextRun(run.label, True), TextRun(stopped)]


def _leaders(runs: Sequence[TrainingRun], method: str) -> Iterator[TextRun]:
    ends: dict[str, list[TradeoffPoint]] = {}
    for run in runs:
        if points := training_runs.tradeoff_points(run, method):
            ends.setdefault(run.row.label, []).append(points[-1])
    probe = f"With the {method} probe" if method else "With its probes"
    if sum(map(len, ends.values())) == 1:
        ((name, (point,)),) = ends.items()
        yield from (TextRun(f"{probe}, "), TextRun(name, True))
        yield TextRun(f" reaches {percent(point.appearance)} on appearance and {percent(point.motion)} on motion.")
        return
    leads: dict[str, list[str]] = {}
    for subject, value in SUBJECTS.items():
        means = {name: fmean(map(value, points)) for name, points in ends.items()}
        best = max(means, key=lambda name: means[name])
        leads.setdefault(best, []).append(f"{subject} with {percent(Score(means[best]))}")
    for index, (best, subjects) in enumerate(leads.items()):
        yield from (TextRun("; " if index else f"{probe}, "), TextRun(best, True))
        yield TextRun(f" is highest on {' and on '.join(subjects)}")
    seeds = sorted({len(points) for points in ends.values()})
    counts = "–".join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))
    yield TextRun(f"; means over {counts} seeds." if seeds[-1] > 1 else ".")


def _galleries(runs: Sequence[TrainingRun]) -> Iterator[Gallery]:
    yield Gallery(
        "Probes over training",
        "Percent, against training clips. Bands: 95 % intervals. Probes are evaluated during training, on videos that "
        "are not used for training.",
        _nonempty(
            training_curves.probe_plot(
                runs,
                escaped(name),
                training_curves.score_reader(name),
                scale=training_curves.percent,
                chance=training_runs.mean_level(runs, [name]),
                order_free=training_runs.mean_level(runs, [name], "order_free"),
            )
            for name in training_runs.score_names(runs)
        ),
    )
    yield Gallery(
        "Features over training",
        "Effective rank: number of directions that clip features span (exponential of the entropy of their spectrum). "
        "Token deviation: 1 if tokens of different clips point in all directions alike, 0 if they are all equal. Both "
        "drop to their minimum when features collapse. Similarity: mean cosine similarity logged for each target.",
        _nonempty(_features(runs)),
    )
    yield Gallery(
        "Losses",
        "Unweighted, against training clips: mean over neighboring steps, with a band from the lowest to the highest. "
        "Targets have different units: only runs within one plot are comparable.",
        _nonempty(_losses(runs)),
    )
    yield Gallery(
        "Losses by source",
        "Losses of the steps on one data source, for example to see how much harder a target is on images than on "
        "videos.",
        _nonempty(_by_source(runs)),
    )
    yield Gallery(
        "Optimization and speed",
        "If the time spent waiting for data is far above zero, data loading limits the speed, not computation.",
        _nonempty(_optimization_and_speed(runs)),
    )


def _nonempty(plots: Iterator[TrainingPlot | None]) -> tuple[TrainingPlot, ...]:
    return tuple(plot for plot in plots if plot is not None)


def _features(runs: Sequence[TrainingRun]) -> Iterator[TrainingPlot | None]:
    rank, deviation = training_curves.measure_reader("effective_rank"), training_curves.measure_reader("token_std")
    from_zero = training_curves.zero_to(1.0)
    yield training_curves.probe_plot(runs, "effective rank", rank, scale=training_curves.zero_to(4.0))
    yield training_curves.probe_plot(runs, "token deviation", deviation, scale=from_zero)
    lines = [line for run in runs for line in run.log.probes]
    for name in dict.fromkeys(name for line in lines for name in line.get("similarity") or {}):
        value = training_curves.measure_reader(name, "similarity")
        yield training_curves.probe_plot(runs, f"similarity of {escaped(name)}", value, scale=from_zero)


def _losses(runs: Sequence[TrainingRun]) -> Iterator[TrainingPlot | None]:
    names = list(dict.fromkeys(name for run in runs for line in run.log.steps for name in line["losses"]))
    for name in names:
        yield training_curves.step_plot(runs, escaped(name), _loss(name))
    if any(len(line["losses"]) > 1 for run in runs for line in run.log.steps[-1:]):
        yield training_curves.step_plot(runs, "weighted sum", _entry("loss"))


def _by_source(runs: Sequence[TrainingRun]) -> Iterator[TrainingPlot | None]:
    lines = [line for run in runs for line in run.log.steps]
    pairs = dict.fromkeys(
        (name, source) for line in lines for source, means in (line.get("by_source") or {}).items() for name in means
    )
    for name, source in sorted(pairs):
        value = _loss_of_source(name, source)
        yield training_curves.step_plot(runs, f"{escaped(name)} on {escaped(source)}", value)


def _optimization_and_speed(runs: Sequence[TrainingRun]) -> Iterator[TrainingPlot | None]:
    yield training_curves.step_plot(runs, "learning rate", _entry("lr"), within=(0.0, 0.0))
    yield training_curves.step_plot(runs, "gradient norm", _entry("grad_norm"))
    yield training_curves.step_plot(runs, "clips per second", _entry("clips_per_second"), within=(0.0, 0.0))
    yield training_curves.step_plot(runs, "waiting for data, % of the time", _waiting_percent, within=(0.0, 10.0))


def _loss(name: str) -> Callable[[Line], float | None]:
    return lambda line: line["losses"].get(name)


def _loss_of_source(name: str, source: str) -> Callable[[Line], float | None]:
    return lambda line: ((line.get("by_source") or {}).get(source) or {}).get(name)


def _entry(name: str) -> Callable[[Line], float | None]:
    return lambda line: line.get(name)


def _waiting_percent(line: Line) -> float | None:
    fraction = line.get("waiting")
    return None if fraction is None else 100 * fraction


def table(runs: Sequence[TrainingRun]) -> SummaryTable:
    """One row per run: progress, speed, and scores of the last evaluation."""
    names = training_runs.score_names(runs)
    heads = ("run", "state", "clips", "clips/s", "waiting", *map(escaped, names), "effective rank", "token deviation")
    return SummaryTable("Pretraining runs", NOTE, heads, tuple(_row(run, names) for run in runs))


def _row(run: TrainingRun, names: Sequence[str]) -> tuple[str, ...]:
    last: Line = run.log.probes[-1] if run.log.probes else {"scores": {}}
    speed = training_runs.throughput(run.log)
    rate, waiting = (compact(speed[0]), f"{100 * speed[1]:.0f} %") if speed else ("–", "–")
    scores = [_score(last["scores"].get(name)) for name in names]
    measures = [_measure(last.get(name)) for name in ("effective_rank", "token_std")]
    return (run.label, run.state, compact(run.log.clips_consumed), rate, waiting, *scores, *measures)


def _score(entry: Any) -> str:
    return "–" if not entry or entry.get("value") is None else with_interval(training_runs.parse_score(entry))


def _measure(value: float | None) -> str:
    return "–" if value is None else number(value) if value >= 10 else f"{value:.2f}"


def run_records(logs: Sequence[TrainingLog]) -> list[dict[str, Any]]:
    """Each run with its last evaluation, ready to be written as JSON."""
    return [
        {
            "run": run.log.name,
            "state": run.state,
            "step": run.log.step,
            "seen": run.log.clips_consumed,
            "recipe": dict(run.log.recipe),
            "probe": dict(run.log.probes[-1]) if run.log.probes else None,
            "alarms": [dict(alarm) for alarm in run.log.alarms],
        }
        for run in training_runs.group_by_recipe(logs)
    ]
