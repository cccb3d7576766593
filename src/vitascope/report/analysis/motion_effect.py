"""What motion is worth: how much an encoder uses it, and how much a data set and each of its classes needs it.

Both are paired differences of outcomes over the same test examples, in points, with the 95 % interval of
`stats.paired` drawn over groups of examples (source videos, subjects), and p-values from its sign-flip test.

**Motion use** of an encoder on a task, by alteration: accuracy on the real test clips minus accuracy on the altered
ones, with one head, trained on real clips. It says how much the encoder's answers lean on what the alteration takes
away. The headline is `shuffled`: a shuffled clip shows the very same frames in another order, so nothing but order is
lost; `reversed` keeps smooth motion (its direction alone is lost) and is blind to motions that are their own reverse,
`frozen` also takes away all frames but one, `slowed` also the ends of the clip. p-values: Holm's, over all encoders and
alterations of the task.

**Motion need** of a data set: accuracy with real clips minus accuracy with clips from which motion was removed in
training *and* test, so that a head has had the chance to do without. `frozen` holds one frame: what is lost is all that
motion and further frames gave; `shuffled` destroys order only. It is measured with the best encoder, the one of highest
accuracy on real clips among those asked both ways, because a weak encoder cannot show a need that it cannot serve: a
need is a lower bound, "at least so much", and names its encoder. Choosing by the real clips favors real accuracy
a little where encoders are close. Its p-value is that of its one test.

**Motion need of a class** is the same over the test examples of the class, Holm's correction over the classes; ordered
from the greatest need to the least.

Of several seeds an example's outcome is its mean over them, and the interval does not hold the choice of seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from vitascope.metrics import stats
from vitascope.metrics.stats import Difference
from vitascope.report.analysis import ranking
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.ranking import SEED, Predictions, common
from vitascope.report.analysis.variants import BOTH, TEST, Altered, altered

HEADLINE = "shuffled"
"""The alteration by which motion use is headed: the same frames, their order alone destroyed."""
REMOVED = ("frozen", "shuffled")
"""What takes motion away for a motion need: all of it, and order only."""
ALTERATIONS = ("shuffled", "reversed", "frozen", "slowed")
"""In the order shown."""


class Pair(NamedTuple):
    """Outcomes of the same examples, in one order, with real and with altered clips; their groups and class names."""

    real: ndarray
    altered: ndarray
    group: ndarray
    truth: ndarray


class Loss(NamedTuple):
    """Accuracy that an alteration costs: means over the common examples, their difference, its p after Holm."""

    real: float
    altered: float
    gap: Difference
    p: float


class Need(NamedTuple):
    """What a data set and its classes (the neediest first) lose, by the encoder of row `row`."""

    row: int
    whole: Loss
    classes: tuple[tuple[str, Loss], ...]


class MotionEffect(NamedTuple):
    """Of the question `plain`: the use that encoders (by row) make of motion by alteration, and the need for it."""

    plain: Column
    uses: Mapping[int, Mapping[str, Loss]]
    needs: Mapping[str, Need]


class MissingResult(NamedTuple):
    """An altered result that could not be held against a real one, and why."""

    task: str
    why: str


def worth(board: Leaderboard) -> tuple[list[MotionEffect], list[MissingResult]]:
    """All that the altered columns of a board say, and what they cannot say."""
    groups, alone = altered(board)
    lacking = [MissingResult(c.task, "the same question with real clips was not asked") for c in alone]
    found = []
    for group in groups:
        one = _worth(group, lacking)
        found += [one] if one.uses or one.needs else []
    return found, lacking


def _worth(group: Altered, lacking: list[MissingResult]) -> MotionEffect:
    @cache
    def real(row: int) -> Predictions | None:
        return ranking.load(group.plain.cells[row]) if row in group.plain.cells else None

    def pairs(side: str, how: str) -> dict[int, Pair]:
        column = group.columns.get((side, how))
        held = {}
        for row, result in column.cells.items() if column else ():
            pair = aligned(real(row), ranking.load(result))
            if pair:
                held[row] = pair
            else:
                lacking.append(
                    MissingResult(result.task, "no predictions of the same examples with real clips were kept")
                )
        return held

    uses: dict[int, dict[str, Pair]] = {}
    for how in ALTERATIONS:
        for row, pair in pairs(TEST, how).items():
            uses.setdefault(row, {})[how] = pair
    needs = {how: _need(group.plain, found) for how in REMOVED if (found := pairs(BOTH, how))}
    return MotionEffect(group.plain, _uses(uses), needs)


def aligned(real: Predictions | None, other: Predictions | None) -> Pair | None:
    """The examples that both predictions have, in one order; None where there are none."""
    if real is None or other is None:
        return None
    in_real, in_other = common(real, other)
    named = len(real.truth) == len(real.key)
    truth = np.array([str(label) for label in real.truth] if named else [""] * len(real.key), dtype=object)
    if not len(in_real):
        return None
    return Pair(real.outcome[in_real], other.outcome[in_other], real.group[in_real], truth[in_real])


def _uses(pairs: Mapping[int, Mapping[str, Pair]]) -> dict[int, dict[str, Loss]]:
    every = [(row, how) for row, of in pairs.items() for how in of]
    losses = _corrected([_loss(pairs[row][how]) for row, how in every])
    found: dict[int, dict[str, Loss]] = {}
    for (row, how), loss in zip(every, losses, strict=True):
        found.setdefault(row, {})[how] = loss
    return found


def _need(plain: Column, pairs: Mapping[int, Pair]) -> Need:
    best = max(pairs, key=lambda row: plain.cells[row].headline.value)
    return Need(best, _loss(pairs[best]), by_class(pairs[best]))


def by_class(pair: Pair) -> tuple[tuple[str, Loss], ...]:
    """The loss of each class that is known, the greatest first; p after Holm over the classes."""
    names = sorted({name for name in pair.truth.tolist() if name})
    losses = _corrected([_loss(Pair(*(column[pair.truth == name] for column in pair))) for name in names])
    return tuple(sorted(zip(names, losses, strict=True), key=lambda of: -of[1].gap.value))


def _loss(pair: Pair) -> Loss:
    gap = stats.paired(pair.real, pair.altered, pair.group, rng=np.random.default_rng(SEED))
    return Loss(float(pair.real.mean()), float(pair.altered.mean()), gap, gap.p)


def _corrected(losses: Sequence[Loss]) -> list[Loss]:
    adjusted = stats.holm([loss.p for loss in losses])
    return [loss._replace(p=p) for loss, p in zip(losses, adjusted, strict=True)]
