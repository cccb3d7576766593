"""Flights: pretraining runs as rows, those that differ by their seed alone together, and what their probes say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from statistics import fmean, median
from typing import Any, NamedTuple

from vitascope.core.text import shown
from vitascope.core.types import Score, digest
from vitascope.pretrain.monitoring.log import Line, TrainingLog
from vitascope.report.analysis.leaderboard import EncoderRow

METHODS = ("attentive", "linear", "knn")
"""The order in which ways to ask are preferred for a headline; any other comes after them."""
AXIS_OF = {"appearance": "appearance", "still": "appearance", "motion": "motion"}
"""The axis of a suite of MotionLab, for scores that do not say it."""


class TrainingRun(NamedTuple):
    """One run: `row` has its color and stands for all runs of the same recipe, whatever their seed."""

    row: EncoderRow
    label: str
    recording: TrainingLog

    @property
    def state(self) -> str:
        """Whether it is complete, was stopped, or neither: running or interrupted."""
        if self.recording.alarms:
            return "stopped"
        return "done" if self.recording.done else f"at step {self.recording.step:,}"


class TradeoffPoint(NamedTuple):
    """Where a run stood at one probe: means over the scores of each axis, percent."""

    seen: int
    appearance: Score
    motion: Score

    @property
    def mean(self) -> float:
        """Of both axes."""
        return (self.appearance.value + self.motion.value) / 2


def flights(recordings: Sequence[TrainingLog], *, first: int = 0) -> list[TrainingRun]:
    """The runs with their rows, numbered from `first` on in the order of the runs."""
    groups: dict[str, list[TrainingLog]] = {}
    for one in recordings:
        groups.setdefault(digest(_unseeded(one.recipe)) if one.recipe else f"run {one.name}", []).append(one)
    names = [_named(members) for members in groups.values()]
    found = {}
    for place, (members, name) in enumerate(zip(groups.values(), names, strict=True)):
        label = name if names.count(name) == 1 else shown(members[0].name)
        row = EncoderRow(first + place, label, label, {})
        found.update(
            {one.name: TrainingRun(row, shown(one.name) if len(members) > 1 else label, one) for one in members}
        )
    return [found[one.name] for one in recordings]


def _unseeded(value: Any) -> Any:
    """A recipe without its seeds, wherever they stand."""
    if isinstance(value, Mapping):
        return {k: _unseeded(v) for k, v in value.items() if k != "seed"}
    return [_unseeded(v) for v in value] if isinstance(value, (list, tuple)) else value


def _named(members: Sequence[TrainingLog]) -> str:
    """What runs of one recipe are called: as the recipe says, else what their folders have in common."""
    said = members[0].recipe.get("name")
    if isinstance(said, str) and said:
        return shown(said)
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*(one.name for one in members), strict=False))
    common = "".join(letters[0] for letters in alike) if len(members) > 1 else members[0].name
    return shown(common.rstrip("-_./ ").removesuffix("seed").rstrip("-_./ ") or members[0].name)


def rows(found: Sequence[TrainingRun]) -> list[EncoderRow]:
    """Each row once."""
    return list({flight.row.index: flight.row for flight in found}.values())


def score(told: Mapping[str, Any]) -> Score:
    """A score as a probe's line holds it."""
    return Score(told["value"], told.get("low"), told.get("high"))


def asked(name: str) -> tuple[str, str]:
    """Data set and way to ask, of "dataset probe" or "dataset:probe"."""
    dataset, _, method = name.rpartition(" ") if " " in name else name.rpartition(":")
    return (dataset, method) if dataset else (name, "")


def axis(name: str, told: Mapping[str, Any]) -> str:
    """The axis of a score: as it says, else as its data set is called; empty where neither tells."""
    return str(told.get("axis") or AXIS_OF.get(asked(name)[0].split("/")[-1].split("-")[0], ""))


def named(found: Sequence[TrainingRun]) -> list[str]:
    """The names of all scores, in the order first met."""
    return list(dict.fromkeys(name for f in found for line in f.recording.probes for name in line["scores"]))


def methods(found: Sequence[TrainingRun]) -> list[str]:
    """The ways to ask that place runs on both axes: those of most runs first, of these the preferred."""
    counts = {m: sum(bool(places(f, m)) for f in found) for m in dict.fromkeys(asked(n)[1] for n in named(found))}
    there = [m for m, count in counts.items() if count]
    return sorted(there, key=lambda m: (-counts[m], METHODS.index(m) if m in METHODS else len(METHODS)))


def places(flight: TrainingRun, method: str) -> list[TradeoffPoint]:
    """Where a run stood at every probe that asked in this way on both axes."""
    return [place for line in flight.recording.probes if (place := _place(line, method))]


def _place(line: Line, method: str) -> TradeoffPoint | None:
    of = {one: list(_on(line, method, one)) for one in ("appearance", "motion")}
    if not all(of.values()):
        return None
    return TradeoffPoint(int(line["seen"]), _mean(of["appearance"]), _mean(of["motion"]))


def _on(line: Line, method: str, wanted: str) -> Iterator[Score]:
    for name, told in line["scores"].items():
        if asked(name)[1] == method and axis(name, told) == wanted and told.get("value") is not None:
            yield score(told)


def _mean(scores: Sequence[Score]) -> Score:
    """The mean; with an interval only where it is that of a single score."""
    return scores[0] if len(scores) == 1 else Score(fmean(s.value for s in scores))


def chance(found: Sequence[TrainingRun], wanted: Sequence[str]) -> float | None:
    """The mean level of chance of the scores with these names; None where one of them does not say it."""
    known: dict[str, float] = {}
    for flight in found:
        for line in flight.recording.probes:
            known |= {n: told["chance"] for n, told in line["scores"].items() if told.get("chance") is not None}
    return fmean(known[n] for n in wanted) if wanted and all(n in known for n in wanted) else None


def speed(recording: TrainingLog) -> tuple[float, float] | None:
    """Clips per second (the median) and the mean share of the time spent waiting for data; None without steps."""
    rates = [line["clips_per_second"] for line in recording.steps if line.get("clips_per_second") is not None]
    waits = [line["waiting"] for line in recording.steps if line.get("waiting") is not None]
    return (median(rates), fmean(waits)) if rates and waits else None
