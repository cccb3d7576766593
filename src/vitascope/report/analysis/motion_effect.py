"""Effect of motion: how much encoders are sensitive to it, and how much datasets and their classes depend on it.

Both are paired differences of outcomes on the same test examples, in points, with the 95 % interval of `stats.paired`
(bootstrap over groups of examples: source videos, subjects) and p-values of its sign-flip test.

**Motion sensitivity** of an encoder on a task, per alteration: accuracy on real test clips minus accuracy on altered
ones, with a single head trained on real clips. It measures how much the predictions rely on what the alteration
removes. `reversed` keeps every frame and smooth motion, only the direction of time is lost; it does not affect motions
that are their own reverse. `frozen` removes all motion, and with it all frames but one. `shuffled` destroys the order,
but also adds flicker, which can harm encoders that never use motion. `slowed` also removes the end of the clip. The
headline, **motion use**, is therefore the smaller of the drops when reversed and when frozen: an encoder that uses the
order of frames loses in both ways, one that averages over frames loses nothing when reversed. It is significant if both
drops are (its p-value is the larger). p-values are Holm-adjusted over all encoders and alterations of the task.

**Motion dependence** of a dataset: accuracy with real clips minus accuracy with clips from which motion was removed in
training *and* test, so that the head could learn to do without. `frozen` repeats one frame: the loss is all that motion
and further frames contributed; `shuffled` destroys only the order. It is measured with the encoder of highest accuracy
on real clips among those evaluated both ways, because a weak encoder cannot show a dependence that it cannot exploit:
the value is a lower bound and names its encoder. Selecting the encoder by real clips slightly favors real accuracy if
encoders are close. The p-value is that of the single test.

**Motion dependence of a class** is the same over the test examples of the class, Holm-adjusted over the classes, in
descending order.

With several seeds the outcome of an example is its mean over them; the interval excludes the variance between seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy import ndarray

from vitascope.evaluation.results import Result
from vitascope.metrics import stats
from vitascope.metrics.stats import Difference
from vitascope.report.analysis import paired_bootstrap, ranking
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.paired_bootstrap import ResampledScore
from vitascope.report.analysis.ranking import SEED, Evidence, Predictions, common
from vitascope.report.analysis.variants import BOTH, TEST, AlteredTask, altered_tasks

HEADLINE = ("reversed", "frozen")
"""Alterations of which the smaller drop is the headline: neither harms an encoder that does not use motion."""
REMOVED = ("frozen", "shuffled")
"""Alterations that remove motion for motion dependence: all of it, or only the order."""
ALTERATIONS = ("reversed", "frozen", "shuffled", "slowed")
"""All alterations, in display order."""


class PairedOutcomes(NamedTuple):
    """Outcomes of the same examples with real and with altered clips, with their groups and class names."""

    real: ndarray
    altered: ndarray
    group: ndarray
    truth: ndarray


class PairedResamples(NamedTuple):
    """The mAP of several labels per example, with real and with altered clips, on the same resamples."""

    real: ResampledScore
    altered: ResampledScore


Pair: TypeAlias = PairedOutcomes | PairedResamples


class AccuracyDrop(NamedTuple):
    """Accuracy lost to an alteration, over the common examples."""

    real: float
    """Mean accuracy on real clips, percent."""
    altered: float
    """Mean accuracy on altered clips, percent."""
    gap: Difference
    p: float
    """Holm-adjusted p-value."""
    tests: int = 1
    """Number of tests over which it is adjusted."""


class MotionDependence(NamedTuple):
    """Accuracy drop of a dataset and of its classes (in descending order), measured with the encoder of `row`."""

    row: int
    overall: AccuracyDrop
    classes: tuple[tuple[str, AccuracyDrop], ...]


class MotionEffect(NamedTuple):
    """Effect of motion on the task of column `original`."""

    original: Column
    sensitivity: Mapping[int, Mapping[str, AccuracyDrop]]
    """By encoder row and alteration."""
    dependence: Mapping[str, MotionDependence]
    """By alteration."""


class MissingResult(NamedTuple):
    """A result on altered clips that has no counterpart on real clips, and why."""

    task: str
    reason: str


def motion_effects(board: Leaderboard) -> tuple[list[MotionEffect], list[MissingResult]]:
    """Compute the effect of motion for all altered columns; also list those without a counterpart."""
    tasks, unmatched = altered_tasks(board)
    missing = [MissingResult(c.task, "the same task was not evaluated on real clips") for c in unmatched]
    effects = [_motion_effect(task, missing) for task in tasks]
    return [effect for effect in effects if effect.sensitivity or effect.dependence], missing


def _motion_effect(task: AlteredTask, missing: list[MissingResult]) -> MotionEffect:
    original = task.original

    @cache
    def real(row: int) -> Evidence | None:
        return evidence(original.cells[row]) if row in original.cells else None

    def pairs(side: str, alteration: str) -> dict[int, Pair]:
        column = task.columns.get((side, alteration))
        aligned = {}
        for row, result in column.cells.items() if column else ():
            pair = align(real(row), evidence(result))
            if pair:
                aligned[row] = pair
            else:
                missing.append(MissingResult(result.task, "no saved predictions for the same examples on real clips"))
        return aligned

    on_test: dict[int, dict[str, Pair]] = {}
    for alteration in ALTERATIONS:
        for row, pair in pairs(TEST, alteration).items():
            on_test.setdefault(row, {})[alteration] = pair
    on_both = {alteration: pairs(BOTH, alteration) for alteration in REMOVED}
    dependence = {alteration: _dependence(original, each) for alteration, each in on_both.items() if each}
    return MotionEffect(original, _sensitivity(on_test), dependence)


def evidence(result: Result) -> Evidence | None:
    """What a recognition result can be paired by; None if no predictions were saved."""
    return ranking.load_evidence(result) if result.kind == "recognition" else None


def align(real: Evidence | None, altered: Evidence | None) -> Pair | None:
    """Pair the predictions of common examples, or resampled scores of the same examples; None if there are none."""
    if isinstance(real, ResampledScore) and isinstance(altered, ResampledScore):
        return PairedResamples(real, altered) if paired_bootstrap.difference(real, altered) else None
    if not isinstance(real, Predictions) or not isinstance(altered, Predictions):
        return None
    in_real, in_altered = common(real, altered)
    has_labels = len(real.truth) == len(real.key)
    truth = np.array([str(label) for label in real.truth] if has_labels else [""] * len(real.key), dtype=object)
    if not len(in_real):
        return None
    return PairedOutcomes(real.outcome[in_real], altered.outcome[in_altered], real.group[in_real], truth[in_real])


def _sensitivity(pairs: Mapping[int, Mapping[str, Pair]]) -> dict[int, dict[str, AccuracyDrop]]:
    keys = [(row, alteration) for row, by_alteration in pairs.items() for alteration in by_alteration]
    drops = holm_adjusted([accuracy_drop(pairs[row][alteration]) for row, alteration in keys])
    by_row: dict[int, dict[str, AccuracyDrop]] = {}
    for (row, alteration), drop in zip(keys, drops, strict=True):
        by_row.setdefault(row, {})[alteration] = drop
    return by_row


def motion_use(drops: Mapping[str, AccuracyDrop]) -> AccuracyDrop | None:
    """The smaller of the headline's drops, with the larger of their p-values; None if one was not measured."""
    if not all(alteration in drops for alteration in HEADLINE):
        return None
    both = [drops[alteration] for alteration in HEADLINE]
    return min(both, key=lambda drop: drop.gap.value)._replace(p=max(drop.p for drop in both))


def _dependence(original: Column, pairs: Mapping[int, Pair]) -> MotionDependence:
    best = max(pairs, key=lambda row: original.cells[row].headline.value)
    pair = pairs[best]
    return MotionDependence(best, accuracy_drop(pair), drops_by_class(pair) if isinstance(pair, PairedOutcomes) else ())


def drops_by_class(pair: PairedOutcomes) -> tuple[tuple[str, AccuracyDrop], ...]:
    """Accuracy drop of each class, in descending order; p-values are Holm-adjusted over the classes."""
    names = sorted({name for name in pair.truth.tolist() if name})
    drops = holm_adjusted(
        [accuracy_drop(PairedOutcomes(*(column[pair.truth == name] for column in pair))) for name in names]
    )
    return tuple(sorted(zip(names, drops, strict=True), key=lambda item: -item[1].gap.value))


def accuracy_drop(pair: Pair) -> AccuracyDrop:
    """Accuracy on real clips minus that on altered ones, or of any two paired results; its p-value is not adjusted."""
    if isinstance(pair, PairedResamples):
        lost = paired_bootstrap.difference(*pair)
        assert lost is not None, "only paired if it is known"
        return AccuracyDrop(pair.real.value, pair.altered.value, lost, lost.p)
    gap = stats.paired(pair.real, pair.altered, pair.group, rng=np.random.default_rng(SEED))
    return AccuracyDrop(float(pair.real.mean()), float(pair.altered.mean()), gap, gap.p)


def holm_adjusted(drops: Sequence[AccuracyDrop]) -> list[AccuracyDrop]:
    """The drops with p-values Holm-adjusted over all of them."""
    adjusted = stats.holm([drop.p for drop in drops])
    return [drop._replace(p=p, tests=len(drops)) for drop, p in zip(drops, adjusted, strict=True)]
