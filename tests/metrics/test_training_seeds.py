"""Means over training seeds: intervals over runs and examples together."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from vitascope.core.errors import UserError
from vitascope.metrics import stats
from vitascope.metrics.training_seeds import difference_over_seeds, mean_over_seeds


def simulated(
    rng: np.random.Generator, seeds: int, examples: int, *, between_seeds: float = 4.0, mean: float = 50.0
) -> np.ndarray:
    """Outcomes from 0 to 100 with effects of runs and of examples, and noise."""
    runs, clips = rng.normal(0, between_seeds, (seeds, 1)), rng.normal(0, 12, (1, examples))
    return np.clip(mean + runs + clips + rng.normal(0, 12, (seeds, examples)), 0, 100)


def resampled(a: np.ndarray, b: np.ndarray, draws: int = 1500) -> np.ndarray:
    """The differences of a bootstrap that draws runs of each, then examples of both together."""
    rng, gaps = np.random.default_rng(1), np.empty(draws)
    for draw in range(draws):
        columns = rng.integers(a.shape[1], size=a.shape[1])
        runs_a, runs_b = (rng.integers(len(values), size=len(values)) for values in (a, b))
        gaps[draw] = a[np.ix_(runs_a, columns)].mean() - b[np.ix_(runs_b, columns)].mean()
    return gaps


def test_with_many_seeds_it_is_the_hierarchical_bootstrap() -> None:
    rng = np.random.default_rng(0)
    a, b = simulated(rng, 60, 150), simulated(rng, 80, 150, between_seeds=8.0, mean=45.0)
    found = difference_over_seeds(a, b)
    low, high = np.quantile(resampled(a, b), [0.025, 0.975])
    assert found.value == pytest.approx(a.mean() - b.mean())
    assert found.low == pytest.approx(low, abs=0.25)
    assert found.high == pytest.approx(high, abs=0.25)


def test_where_examples_do_not_differ_it_is_welchs_test_of_the_runs() -> None:
    rng = np.random.default_rng(2)
    a, b = (np.repeat(rng.normal(50, 5, (count, 1)), 30, axis=1) for count in (3, 5))
    found = difference_over_seeds(a, b)
    welch = scipy_stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(welch.pvalue)


def test_where_runs_do_not_differ_it_is_the_paired_t_test_of_the_examples() -> None:
    rng = np.random.default_rng(3)
    a, b = (np.repeat(rng.uniform(20, 80, (1, 50)), 4, axis=0) for _ in range(2))
    found = difference_over_seeds(a, b)
    paired = scipy_stats.ttest_rel(a[0], b[0])
    interval = paired.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.p, found.units) == (pytest.approx(paired.pvalue), 50)


def test_a_mean_where_examples_do_not_differ_is_students_interval_of_the_runs() -> None:
    means = np.array([40.0, 46.0, 43.0])
    found = mean_over_seeds(np.repeat(means[:, None], 20, axis=1))
    interval = scipy_stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert found == pytest.approx((43.0, interval.low, interval.high))


def test_groups_are_the_units() -> None:
    rng = np.random.default_rng(4)
    a, b = simulated(rng, 3, 12), simulated(rng, 3, 12)
    doubled = [np.repeat(values, 5, axis=1) for values in (a, b)]
    groups = np.repeat(np.arange(12), 5)
    assert difference_over_seeds(*doubled, groups)[:4] == pytest.approx(difference_over_seeds(a, b)[:4])
    assert difference_over_seeds(*doubled, groups).units == 12


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_it_covers_the_true_difference(seeds: int) -> None:
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(400):
        a, b = simulated(rng, seeds, 40), simulated(rng, seeds, 40, mean=55.0)
        found = difference_over_seeds(a, b)
        missed += not found.low <= -5.0 <= found.high
    assert missed <= 400 * 0.05 + 10


def test_one_run_each_is_the_paired_comparison_of_examples() -> None:
    rng = np.random.default_rng(6)
    a, b = (100.0 * (rng.random((1, 80)) < share) for share in (0.7, 0.4))
    assert difference_over_seeds(a, b) == stats.paired(a[0], b[0], rng=np.random.default_rng(0))
    assert mean_over_seeds(a) == stats.bootstrap(a[0], rng=np.random.default_rng(0))


def test_runs_without_any_variation_have_an_interval_all_the_same() -> None:
    found = mean_over_seeds(np.full((3, 40), 100.0))
    assert found.value == found.high == 100.0
    assert found.low is not None
    assert 80 < found.low < 95
    none = difference_over_seeds(np.full((3, 40), 100.0), np.full((3, 40), 100.0))
    assert none.low is not None
    assert none.low < 0 < (none.high or 0)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.empty((0, 5)), np.zeros((1, 5)), "no outcomes"),
        (np.zeros((2, 5)), np.zeros((2, 4)), "5 and 4 examples"),
        (np.full((2, 5), 101.0), np.zeros((2, 5)), "outside 0 to 100"),
    ],
)
def test_unusable_outcomes_are_refused(a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        difference_over_seeds(a, b)
