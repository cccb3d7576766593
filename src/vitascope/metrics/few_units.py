"""Intervals over fewer than ten units (groups, videos), where bootstrap percentiles cover too rarely.

Wilson's score interval (Journal of the American Statistical Association 22, 1927) with the variance between units in
place of the binomial one, as Korn and Graubard do for surveys of few clusters (Survey Methodology 24, 1998), and with
Student's t in place of the normal quantile. Variance and degrees of freedom allow for units of different size (Bell and
McCaffrey, Survey Methodology 28, 2002: the CR2 estimate and Satterthwaite's approximation).

In simulations of two to nine groups (accuracies from 20 to 96 % with a standard deviation of 3 to 30 points between
groups, groups of equal and of very different size) it covers the true value in 91 to 99 % of cases. Expanded bootstrap
percentiles cover it in 64 to 97 % with two groups, 77 to 95 % with three, 85 to 96 % with four, 86 to 96 % with five.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vitascope.metrics.distributions import t_quantile

LEVEL = 0.95
FEW = 10
"""Number of units from which bootstrap percentiles are used."""


def interval_of_ratio(
    sums: Float[ndarray, "units"], counts: Float[ndarray, "units"], bounds: tuple[float, float]
) -> tuple[float, float]:
    """Interval of the mean over all examples, from the sum and the number of examples of two or more units."""
    weights = counts / counts.sum()
    value = float(sums.sum() / counts.sum())
    # residuals of units of equal variance 1 have this covariance
    residual_covariance = np.eye(len(sums)) - weights[:, None] - weights + float(weights @ weights)
    scale = weights**2 / residual_covariance.diagonal()
    variance = float(scale @ (sums / counts - value) ** 2)
    freedom = 1 / float(scale @ residual_covariance**2 @ scale) * float(scale @ residual_covariance.diagonal()) ** 2
    return score_interval(value, variance, freedom, bounds)


def score_interval(value: float, variance: float, freedom: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Score interval of a value with a variance of estimation and degrees of freedom; never outside `bounds`."""
    low, high = bounds
    share, spread = (value - low) / (high - low), variance / (high - low) ** 2
    t_squared = t_quantile(freedom, 0.5 + LEVEL / 2) ** 2
    # t² over the number of independent examples that would have this variance
    shrink = t_squared * spread / max(share * (1 - share), 1e-12)
    middle, half = share + shrink / 2, sqrt(t_squared * spread + shrink**2 / 4)
    ends = ((middle + sign * half) / (1 + shrink) for sign in (-1, 1))
    below, above = (low + (high - low) * min(max(end, 0.0), 1.0) for end in ends)
    return min(below, value), max(above, value)
