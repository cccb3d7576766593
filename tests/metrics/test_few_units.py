"""Intervals over few groups: how often they cover by simulation, and closed forms."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import scipy.stats

from vitascope.core.types import Score
from vitascope.metrics.few_units import FEW, interval_of_ratio, score_interval
from vitascope.metrics.stats import Difference, bootstrap, paired, resampled

PERCENT = (0.0, 100.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def accuracies(groups: int, mean: float, spread: float, unequal: float, *, draws: int, seed: int):
    """Numbers of examples and of right ones in `groups` of each of `draws` experiments."""
    source = rng(seed)
    sizes = np.maximum(np.round(20 * np.exp(source.normal(0, unequal, (draws, groups)))), 1).astype(int)
    strength = mean * (1 - mean) / spread**2 - 1
    return sizes, source.binomial(sizes, source.beta(mean * strength, (1 - mean) * strength, sizes.shape))


def outcomes(sizes: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    each = [np.arange(size) < count for size, count in zip(sizes, right, strict=True)]
    return 100.0 * np.concatenate(each), np.repeat(np.arange(len(sizes)), sizes)


@pytest.mark.parametrize("groups", [2, 3, 4, 6, FEW - 1])
@pytest.mark.parametrize("unequal", [0.0, 1.0])
def test_covers_the_mean_as_often_as_it_says(groups: int, unequal: float) -> None:
    covered = 0
    for mean, spread in ((0.5, 0.05), (0.7, 0.15), (0.7, 0.25), (0.9, 0.05), (0.9, 0.12)):
        sizes, right = accuracies(groups, mean, spread, unequal, draws=40, seed=groups)
        for one, correct in zip(sizes, right, strict=True):
            score = bootstrap(*outcomes(one, correct), rng=rng())
            covered += score.low <= 100 * mean <= score.high
    # 96 to 98 % over many more experiments; 200 vary by 1.5 points
    assert covered / 200 > 0.93


@pytest.mark.parametrize("groups", [2, 3, 4, 7])
def test_a_difference_covers_too(groups: int) -> None:
    sizes, first = accuracies(groups, 0.8, 0.1, 0.5, draws=100, seed=groups)
    source, covered = rng(groups), 0
    for one, correct in zip(sizes, first, strict=True):
        a, group = outcomes(one, correct)
        b = np.where(source.random(len(a)) < 0.75, a, 0.0)  # loses a quarter of what the other gets right
        gap = paired(a, b, group, rng=rng())
        covered += gap.low <= 20 <= gap.high
    assert covered / 100 > 0.9


def test_equal_groups_have_students_interval_far_from_the_bounds() -> None:
    means = np.array([49.0, 50.5, 51.0, 49.5])
    low, high = interval_of_ratio(1000 * means, np.full(4, 1000.0), PERCENT)
    expected = scipy.stats.t.interval(0.95, 3, means.mean(), scipy.stats.sem(means))
    assert (low, high) == pytest.approx(expected, abs=0.02)


def test_is_wilsons_interval_of_independent_examples() -> None:
    wilson = scipy.stats.binomtest(30, 40).proportion_ci(method="wilson")
    low, high = score_interval(75.0, 75 * 25 / 40, 1e9, PERCENT)
    assert (low, high) == pytest.approx((100 * wilson.low, 100 * wilson.high), abs=1e-3)


def test_degrees_of_freedom_by_the_quadratic_form() -> None:
    """CR2 with Satterthwaite's approximation, as in the definition: eigenvalues of the form that estimates variance."""
    counts, means = np.array([5.0, 10.0, 40.0, 9.0, 3.0]), np.array([20.0, 50.0, 70.0, 60.0, 30.0])
    weights = counts / counts.sum()
    residual = np.eye(5) - weights[None].repeat(5, 0)
    hat = residual @ residual.T
    form = residual.T @ np.diag(weights**2 / hat.diagonal()) @ residual
    eigenvalues = np.linalg.eigvalsh((form + form.T) / 2)
    freedom = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    got = interval_of_ratio(counts * means, counts, PERCENT)
    assert got == pytest.approx(score_interval(weights @ means, means @ form @ means, freedom, PERCENT))


def test_two_groups_say_little_and_one_nothing() -> None:
    a = np.repeat([100.0, 0.0, 100.0, 0.0], [12, 8, 14, 6])
    assert bootstrap(a, [0] * 40, rng=rng()) == Score(65.0)
    two = bootstrap(a, np.repeat([0, 1], 20), rng=rng())
    assert two.high - two.low > 40
    ten = bootstrap(a, np.arange(40) % 10, rng=rng())
    assert ten.high - ten.low < 40


def test_few_resampled_units_have_the_score_interval() -> None:
    values = np.array([40.0, 55.0, 70.0])
    (score,) = resampled(lambda weights: (weights @ values / 3)[:, None], 3, rng=rng(), draws=20_000)
    variance = values.var(ddof=1) / 3
    assert score == pytest.approx((55.0, *score_interval(55.0, variance, 2, PERCENT)), abs=0.5)


def test_advice_on_the_sample_size_is_silent_where_nothing_could_be_significant() -> None:
    few = Difference(20.0, 5.0, 35.0, 0.25, 120, 3)
    assert few.needed() is None
    assert few._replace(units=5).needed() is None
    assert few._replace(units=6).needed() is not None


def test_advice_is_never_fewer_groups_than_a_test_needs() -> None:
    clear = Difference(50.0, 49.0, 51.0, 0.04, 300, 30)
    assert clear.needed() == 6 * 10


def test_advice_uses_the_error_of_few_groups() -> None:
    source = rng(3)
    gains = source.normal(5, 8, 8)
    gap = paired(np.clip(50 + gains, 0, 100), np.full(8, 50.0), rng=rng())
    error = gains.std(ddof=1) / sqrt(8)
    expected = 8 * ((1.959964 + 0.841621) * error / gains.mean()) ** 2
    assert gap.needed() == pytest.approx(max(expected, 6), rel=0.1)


@pytest.mark.parametrize(("n", "groups"), [(35, 2), (35, 6), (40, 40), (7, 7)])
def test_where_no_example_differs_all_of_them_count(n: int, groups: int) -> None:
    """Korn and Graubard's number of independent examples of a proportion of 0 %."""
    values = 100.0 * (np.arange(n) % 3 > 0)
    gap = paired(values, values, np.arange(n) % groups, rng=rng())
    quantile = scipy.stats.t(n - 1).ppf(0.975) / scipy.stats.t(groups - 1).ppf(0.975)
    unseen = 100 * 1.959964**2 / (n * quantile**2 + 1.959964**2)
    assert gap[:4] == pytest.approx((0.0, -unseen, unseen, 1.0))
    assert paired(values, values, np.zeros(n, int), rng=rng())[:3] == (0.0, None, None)


@pytest.mark.parametrize("groups", [3, 6, 9])
def test_a_rare_difference_is_covered_where_no_example_shows_it(groups: int) -> None:
    """Encoders that differ in 3 % of examples, by groups in 0 to 15 %."""
    source, covered, unseen = rng(groups), 0, 0
    for _ in range(150):
        rates = np.repeat(source.beta(0.6, 19.4, groups), 12)
        a = 100.0 * (source.random(len(rates)) < 0.8)
        gap = paired(a, np.where(source.random(len(rates)) < rates, 0.0, a), np.arange(len(rates)) // 12, rng=rng())
        covered += gap.low <= 2.4 <= gap.high
        unseen += gap.value == 0
    assert unseen > 10
    assert covered / 150 > 0.93
