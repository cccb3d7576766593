"""Normal, Student's t and binomial distributions by scipy, which is imported when one of them is first needed.

That takes 0.2 s, as long as the tables of a small run.
"""

from __future__ import annotations

Z = 1.959963984540054
"""The normal quantile of 95 % intervals, `normal_quantile(0.975)`."""


def normal_cdf(x: float) -> float:
    """Probability that a standard normal variable is at most `x`."""
    from scipy.special import ndtr

    return float(ndtr(x))


def normal_quantile(p: float) -> float:
    """The value that a standard normal variable does not exceed with probability `p`."""
    from scipy.special import ndtri

    return float(ndtri(p))


def t_cdf(freedom: float, x: float) -> float:
    """Probability that Student's t with `freedom` degrees of freedom is at most `x`."""
    from scipy.special import stdtr

    return float(stdtr(freedom, x))


def t_quantile(freedom: float, p: float) -> float:
    """The value that Student's t with `freedom` degrees of freedom does not exceed with probability `p`."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, p))


def binomial_cdf(count: int, n: int, p: float) -> float:
    """Probability of at most `count` successes in `n` trials."""
    from scipy.special import bdtr

    return float(bdtr(count, n, p))
