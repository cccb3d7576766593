"""Pretraining runs, grouped by recipe: rows of the figures, probe scores over training, and throughput."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from statistics import fmean, median
from typing import Any, NamedTuple

from vitascope.core.text import escaped
from vitascope.core.types import Score, digest
from vitascope.pretrain.monitoring.log import Line, TrainingLog
from vitascope.report.analysis.leaderboard import EncoderRow

METHODS = ("attentive", "linear", "knn")
"""Probes in order of preference for the headline; all others come after them."""
AXIS_OF = {"appearance": "appearance", "still": "appearance", "motion": "motion"}
"""Axis of each MotionLab suite, for scores without an axis."""


class TrainingRun(NamedTuple):
    """One run; `row` gives its color and is shared by all runs of the same recipe (with other seeds)."""

    row: EncoderRow
    label: str
    log: TrainingLog

    @property
    def state(self) -> str:
        """`done`, `stopped` (by an alarm), or the last step of a run that is unfinished."""
        if self.log.alarms:
            return "stopped"
        return "done" if self.log.done else f"at step {self.log.step:,}"


class TradeoffPoint(NamedTuple):
    """Mean score of a run on each axis at one evaluation, percent."""

    clips: int
    """Training clips so far."""
    appearance: Score
    motion: Score

    @property
    def mean(self) -> float:
        """Mean of both axes, percent."""
        return (self.appearance.value + self.motion.value) / 2


def group_by_recipe(logs: Sequence[TrainingLog], *, first: int = 0) -> list[TrainingRun]:
    """Group runs by recipe; rows are numbered from `first` on, in the order of the runs."""
    groups: dict[str, list[TrainingLog]] = {}
    for log in logs:
        groups.setdefault(digest(_unseeded(log.recipe)) if log.recipe else f"run {log.name}", []).append(log)
    names = [_recipe_name(members) for members in groups.values()]
    runs = {}
    for index, (members, name) in enumerate(zip(groups.values(), names, strict=True), start=first):
        label = name if names.count(name) == 1 else escaped(members[0].name)
        row = EncoderRow(index, label, label, {})
        for log in members:
            runs[log.name] = TrainingRun(row, escaped(log.name) if len(members) > 1 else label, log)
    return [runs[log.name] for log in logs]


def _unseeded(value: Any) -> Any:
    """Remove all seeds from a recipe, nested ones included."""
    if isinstance(value, Mapping):
        return {k: _unseeded(v) for k, v in value.items() if k != "seed"}
    return [_unseeded(v) for v in value] if isinstance(value, (list, tuple)) else value


def _recipe_name(members: Sequence[TrainingLog]) -> str:
    """Name the runs of one recipe: the recipe's name, or the common prefix of their folders."""
    name = members[0].recipe.get("name")
    if isinstance(name, str) and name:
        return escaped(name)
    equal = takewhile(lambda letters: len(set(letters)) == 1, zip(*(log.name for log in members), strict=False))
    common = "".join(letters[0] for letters in equal) if len(members) > 1 else members[0].name
    return escaped(common.rstrip("-_./ ").removesuffix("seed").rstrip("-_./ ") or members[0].name)


def recipe_rows(runs: Sequence[TrainingRun]) -> list[EncoderRow]:
    """List the rows of runs, each once."""
    return list({run.row.index: run.row for run in runs}.values())


def parse_score(entry: Mapping[str, Any]) -> Score:
    """Read a score from its entry in the log."""
    return Score(entry["value"], entry.get("low"), entry.get("high"))


def split_name(name: str) -> tuple[str, str]:
    """Split a score name, "dataset probe" or "dataset:probe", into dataset and probe."""
    dataset, _, method = name.rpartition(" ") if " " in name else name.rpartition(":")
    return (dataset, method) if dataset else (name, "")


def axis_of(name: str, entry: Mapping[str, Any]) -> str:
    """The axis of a score: from its entry, or from the name of its dataset; empty if unknown."""
    return str(entry.get("axis") or AXIS_OF.get(split_name(name)[0].split("/")[-1].split("-")[0], ""))


def score_names(runs: Sequence[TrainingRun]) -> list[str]:
    """List the names of all scores, in order of appearance."""
    return list(dict.fromkeys(name for run in runs for line in run.log.probes for name in line["scores"]))


def methods(runs: Sequence[TrainingRun]) -> list[str]:
    """List the probes with scores on both axes: those of most runs first, then in order of preference."""
    probes = dict.fromkeys(split_name(name)[1] for name in score_names(runs))
    counts = {probe: sum(bool(tradeoff_points(run, probe)) for run in runs) for probe in probes}
    on_both_axes = [probe for probe, count in counts.items() if count]
    return sorted(on_both_axes, key=lambda p: (-counts[p], METHODS.index(p) if p in METHODS else len(METHODS)))


def tradeoff_points(run: TrainingRun, method: str) -> list[TradeoffPoint]:
    """Points of a run at every evaluation with this probe on both axes."""
    return [point for line in run.log.probes if (point := _tradeoff_point(line, method))]


def _tradeoff_point(line: Line, method: str) -> TradeoffPoint | None:
    scores = {axis: list(_axis_scores(line, method, axis)) for axis in ("appearance", "motion")}
    if not all(scores.values()):
        return None
    return TradeoffPoint(int(line["seen"]), _mean(scores["appearance"]), _mean(scores["motion"]))


def _axis_scores(line: Line, method: str, axis: str) -> Iterator[Score]:
    for name, entry in line["scores"].items():
        if split_name(name)[1] == method and axis_of(name, entry) == axis and entry.get("value") is not None:
            yield parse_score(entry)


def _mean(scores: Sequence[Score]) -> Score:
    """Mean of scores; it has an interval only if there is a single score."""
    return scores[0] if len(scores) == 1 else Score(fmean(s.value for s in scores))


def mean_level(runs: Sequence[TrainingRun], names: Sequence[str], level: str = "chance") -> float | None:
    """Mean `chance` or `order_free` of the scores with these names; None if one of them is unknown."""
    levels: dict[str, float] = {}
    for run in runs:
        for line in run.log.probes:
            levels |= {n: entry[level] for n, entry in line["scores"].items() if entry.get(level) is not None}
    return fmean(levels[n] for n in names) if names and all(n in levels for n in names) else None


def throughput(log: TrainingLog) -> tuple[float, float] | None:
    """Median clips per second, and mean fraction of the time spent waiting for data; None without steps."""
    rates = [line["clips_per_second"] for line in log.steps if line.get("clips_per_second") is not None]
    waits = [line["waiting"] for line in log.steps if line.get("waiting") is not None]
    return (median(rates), fmean(waits)) if rates and waits else None
