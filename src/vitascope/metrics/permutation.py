"""Permutation test and interval of how well versions of the same videos are told apart, whole groups relabeled.

Where no version differs from another, relabeling the versions of a group changes nothing but chance: the score among
those of random relabelings, with everything trained anew, is a test that is exact for any number of groups and folds
(Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vitascope.core.types import Score
from vitascope.metrics.few_units import LEVEL
from vitascope.metrics.stats import FULL

SAME = 1e-9
"""Points by which equal scores may differ, as sums of other order do."""


class Tested(NamedTuple):
    """A score that was compared with those of random relabelings."""

    score: Score
    p: float
    """Share of the relabelings, the actual labels among them, whose score is as far from chance."""
    inflation: float
    """Variance of the score over relabelings, over that of independent groups: above 1 where folds share videos."""


def relabelings(units: Sequence[str], versions: int, draws: int, seed: int) -> Int[ndarray, "n draws"]:
    """For every unit, by its name, the number of the order of its versions in each draw; that of the first draw is 0.

    The draws of a unit do not depend on the other units, so that folds relabel a video alike.
    """
    orders = int(np.prod(range(1, versions + 1)))
    drawn = {unit: _drawn(unit, orders, draws, seed) for unit in dict.fromkeys(units)}
    table: Int[ndarray, "n draws"] = np.stack([drawn[unit] for unit in units])
    return table


def _drawn(unit: str, orders: int, draws: int, seed: int) -> Int[ndarray, "draws"]:
    rng = np.random.default_rng([seed, zlib.crc32(unit.encode(errors="surrogatepass"))])
    return np.concatenate([[0], rng.integers(orders, size=draws)]).astype(np.int8)


def permutation_test(
    score: Score, outcomes: Float[ndarray, "n draws"], units: Int[ndarray, "n"], chance: float
) -> Tested:
    """Test the mean of the first column of `outcomes` (percent), whose bootstrap interval is that of `score`.

    The interval is widened by the square root of the inflation. It contains chance unless the test rejects it at 5 %:
    percentiles of few groups alone would leave it out too often.
    """
    means = outcomes.mean(axis=0)
    far = np.abs(means - chance)
    p = float((far >= far[0] - SAME).mean())
    inflation = _inflation(outcomes - chance, units)
    wide = widened(score, inflation)
    if p > 1 - LEVEL and wide.low is not None and wide.high is not None:
        wide = Score(score.value, min(wide.low, chance), max(wide.high, chance))
    return Tested(wide, p, inflation)


def widened(score: Score, inflation: float) -> Score:
    """The score with an interval for a variance that is `inflation` times as large, within 0 to 100."""
    if score.low is None or score.high is None:
        return score
    low, high = (score.value + sqrt(inflation) * (end - score.value) for end in (score.low, score.high))
    return Score(score.value, max(low, 0.0), min(high, FULL))


def _inflation(gains: Float[ndarray, "n draws"], units: Int[ndarray, "n"]) -> float:
    """Variance of the mean over random relabelings, over that of a sum of independent units; at least 1."""
    drawn = gains[:, 1:]
    if not drawn.shape[1]:
        return 1.0
    sums = np.zeros((int(units.max()) + 1, drawn.shape[1]))
    np.add.at(sums, units, drawn)
    independent = float((sums**2).sum(axis=0).mean())
    actual = float((drawn.sum(axis=0) ** 2).mean())
    return max(actual / independent, 1.0) if independent > SAME**2 else 1.0


def auc_parts(high: Float[ndarray, "n"], low: Float[ndarray, "m"]) -> tuple[ndarray, ndarray]:
    """For each value of `high` the share of `low` that is below it, and for each of `low` that of `high` above it.

    Ties count half. The mean of either is the area under the ROC curve (DeLong et al., Biometrics 44, 1988).
    """
    return _below(high, low), 1 - _below(low, high)


def _below(values: Float[ndarray, "n"], others: Float[ndarray, "m"]) -> Float[ndarray, "n"]:
    ordered = np.sort(others)
    sides = [np.searchsorted(ordered, values, side) for side in ("left", "right")]
    shares: Float[ndarray, "n"] = (sides[0] + sides[1]) / (2 * len(ordered))
    return shares
