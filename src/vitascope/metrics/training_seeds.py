"""Means over training runs that differ in their seed, with intervals over seeds and test examples together.

The runs of a recipe are rows, the test examples columns, and both are random. The variance of the overall mean is
estimated by the sum of two parts, one between the means of the runs and one between the means of the examples (or of
their groups); what is neither is in both, so intervals are rather too wide than too narrow. Student's t with
Satterthwaite's degrees of freedom (Biometrics Bulletin 2(6), 1946) accounts for few seeds.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike

from vitascope.core.errors import UserError
from vitascope.core.types import Score
from vitascope.metrics import stats
from vitascope.metrics.distributions import t_cdf, t_quantile
from vitascope.metrics.few_units import LEVEL
from vitascope.metrics.stats import FULL, Difference, Groups


class _Part(NamedTuple):
    """A part of the variance of a mean, with its degrees of freedom."""

    variance: float
    freedom: int


def mean_over_seeds(outcomes: ArrayLike, groups: Groups = None) -> Score:
    """Mean of outcomes (runs x examples, percent) with its 95 % interval over runs and examples.

    Of a single run the interval is that of `stats.bootstrap`, over examples alone.
    """
    values = _checked(outcomes)
    if len(values) == 1 or np.ptp(values) == 0:
        return stats.bootstrap(values.mean(0), groups, rng=np.random.default_rng(0))
    value = float(values.mean())
    half = _half_width([_between_runs(values), _between_examples(values.mean(0), groups)])
    return Score(value, max(value - half, 0.0), min(value + half, FULL))


def difference_over_seeds(a: ArrayLike, b: ArrayLike, groups: Groups = None) -> Difference:
    """Difference of the means of two recipes on the same examples; each has its own runs, one row each.

    Examples are paired, runs are not. Of one run each it is `stats.paired`; where only one recipe has several runs, the
    other's variation between seeds is unknown and missing from the interval.
    """
    first, second = _checked(a), _checked(b)
    if first.shape[1] != second.shape[1]:
        raise UserError(f"outcomes of {first.shape[1]} and {second.shape[1]} examples; use the common examples")
    gains = first.mean(0) - second.mean(0)
    parts = [_between_examples(gains, groups), *(_between_runs(rows) for rows in (first, second) if len(rows) > 1)]
    if len(parts) == 1 or not any(part.variance for part in parts):
        return stats.paired(first.mean(0), second.mean(0), groups, rng=np.random.default_rng(0))
    value, units = float(gains.mean()), parts[0].freedom + 1
    half = _half_width(parts)
    p = 2 * t_cdf(_freedom(parts), -abs(value) / sqrt(sum(part.variance for part in parts)))
    return Difference(value, max(value - half, -FULL), min(value + half, FULL), p, len(gains), units)


def _checked(outcomes: ArrayLike) -> Float[ndarray, "s n"]:
    values = np.atleast_2d(np.asarray(outcomes, float))
    if values.ndim != 2 or not values.size:
        raise UserError("no outcomes: a mean over seeds requires one row of outcomes per run")
    if not ((values >= 0) & (values <= FULL)).all():
        raise UserError("outcomes are outside 0 to 100 percent")
    return values


def _between_runs(values: Float[ndarray, "s n"]) -> _Part:
    means = values.mean(1)
    return _Part(float(means.var(ddof=1)) / len(means), len(means) - 1)


def _between_examples(means: Float[ndarray, "n"], groups: Groups) -> _Part:
    """The variance of the mean of `means`, resampled by group: that of a ratio of sums."""
    code = stats.codes(groups, len(means))
    residuals = np.bincount(code, means - means.mean())
    units = len(residuals)
    if units < 2:
        raise UserError("all examples are of one group: an interval requires at least two")
    return _Part(float(residuals @ residuals) * units / (units - 1) / len(means) ** 2, units - 1)


def _freedom(parts: list[_Part]) -> float:
    total = sum(part.variance for part in parts)
    return total**2 / sum(part.variance**2 / part.freedom for part in parts)


def _half_width(parts: list[_Part]) -> float:
    quantile = t_quantile(_freedom(parts), 0.5 + LEVEL / 2)
    return quantile * sqrt(sum(part.variance for part in parts))
