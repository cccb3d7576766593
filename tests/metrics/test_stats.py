"""Intervals, tests and tiers against closed forms, scipy and properties they must have."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.types import Score
from vitascope.metrics.stats import (
    Difference,
    average,
    average_difference,
    bootstrap,
    codes,
    holm,
    over_seeds,
    paired,
    resampled,
    tiers,
)

OUTCOMES = st.lists(st.sampled_from([0.0, 100.0, 33.0, 50.0]), min_size=2, max_size=40)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def right(count: int, of: int) -> np.ndarray:
    return np.repeat([100.0, 0.0], [count, of - count])


def test_a_share_has_the_binomial_interval() -> None:
    score = bootstrap(right(600, 1000), rng=rng(), draws=20_000)
    half = 196 * np.sqrt(0.6 * 0.4 / 1000)
    assert score.value == 60
    assert score.low == pytest.approx(60 - half, abs=0.15)
    assert score.high == pytest.approx(60 + half, abs=0.15)


def test_a_small_gaussian_sample_has_the_t_interval() -> None:
    sample = np.random.default_rng(3).normal(50, 5, 12)
    score = bootstrap(sample, rng=rng(), draws=50_000)
    low, high = scipy.stats.t.interval(0.95, 11, sample.mean(), scipy.stats.sem(sample))
    assert (score.high - score.low) == pytest.approx(high - low, rel=0.05)


def test_many_units_agree_with_scipy_percentiles() -> None:
    sample = np.random.default_rng(4).beta(4, 1, 800) * 100
    score = bootstrap(sample, rng=rng(), draws=20_000)
    theirs = scipy.stats.bootstrap((sample,), np.mean, method="percentile", n_resamples=20_000, rng=rng(1))
    assert score.low == pytest.approx(theirs.confidence_interval.low, abs=0.05)
    assert score.high == pytest.approx(theirs.confidence_interval.high, abs=0.05)


def test_repeating_examples_inside_groups_gains_nothing() -> None:
    outcomes = right(30, 50)
    once = bootstrap(outcomes, rng=rng(), draws=10_000)
    thrice = bootstrap(np.repeat(outcomes, 3), np.repeat(np.arange(50), 3), rng=rng(), draws=10_000)
    naive = bootstrap(np.repeat(outcomes, 3), rng=rng(), draws=10_000)
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.1)
    assert naive.high - naive.low < 0.7 * (thrice.high - thrice.low)


def test_unequal_groups_are_a_ratio_of_sums() -> None:
    source = np.random.default_rng(5)
    sizes = source.integers(1, 30, 80)
    groups = np.repeat(np.arange(80), sizes)
    outcomes = (source.random(len(groups)) < np.repeat(source.beta(3, 2, 80), sizes)) * 100.0
    sums, counts = np.bincount(groups, outcomes), np.bincount(groups)
    drawn = source.integers(80, size=(20_000, 80))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    score = bootstrap(outcomes, groups, rng=rng(), draws=20_000)
    assert score.value == pytest.approx(outcomes.mean())
    assert (score.low, score.high) == (pytest.approx(low, abs=0.5), pytest.approx(high, abs=0.5))


@pytest.mark.parametrize("n", [1, 2, 5, 200])
def test_all_right_is_not_certain(n: int) -> None:
    score = bootstrap(right(n, n), rng=rng())
    assert score.value == 100
    if n == 1:
        assert (score.low, score.high) == (None, None)
    else:
        wilson = scipy.stats.binomtest(n, n).proportion_ci(method="wilson")
        assert score.low == pytest.approx(100 * wilson.low)
        assert score.high == pytest.approx(100)


def test_all_right_in_few_groups_is_less_certain() -> None:
    alone = bootstrap(right(60, 60), rng=rng())
    grouped = bootstrap(right(60, 60), [i % 6 for i in range(60)], rng=rng())
    assert grouped.low == pytest.approx(100 * 6 / (6 + 1.959964**2))
    assert grouped.low < alone.low


@given(st.integers(1, 60), st.integers(0, 60))
@settings(deadline=None, max_examples=60)
def test_never_narrower_than_wilson(n: int, correct: int) -> None:
    correct = min(correct, n)
    score = bootstrap(right(correct, n), rng=rng())
    if n > 1:
        wilson = scipy.stats.binomtest(correct, n).proportion_ci(method="wilson")
        assert score.low <= 100 * wilson.low + 1e-9
        assert score.high >= 100 * wilson.high - 1e-9


@pytest.mark.parametrize("groups", [None, [0, 0, 0, 1, 1, *range(2, 17), 17, 18, 19, 19]])
def test_equal_outcomes_leave_room_for_the_unseen(groups: list[int] | None) -> None:
    score = bootstrap([40.0 + 1e-13 * i for i in range(20 if groups is None else len(groups))], groups, rng=rng())
    unseen = 1.959964**2 / (20 + 1.959964**2)
    assert score.low == pytest.approx(40 * (1 - unseen))
    assert score.high == pytest.approx(40 + 60 * unseen)


@given(OUTCOMES, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_order_of_examples_does_not_matter(outcomes: list[float], random: object) -> None:
    groups = [i // 3 for i in range(len(outcomes))]
    rows = list(zip(outcomes, groups, strict=True))
    random.shuffle(rows)  # type: ignore[attr-defined]
    shuffled = bootstrap([o for o, _ in rows], [g for _, g in rows], rng=rng(), draws=200)
    plain = bootstrap(outcomes, groups, rng=rng(), draws=200)
    assert plain[1:] == shuffled[1:]
    assert plain.value == pytest.approx(shuffled.value)


@given(OUTCOMES)
@settings(deadline=None, max_examples=60)
def test_groups_of_one_are_no_groups(outcomes: list[float]) -> None:
    alone = bootstrap(outcomes, rng=rng(), draws=200)
    assert bootstrap(outcomes, [f"g{i}" for i in range(len(outcomes))], rng=rng(), draws=200) == alone
    assert bootstrap(outcomes, [None] * len(outcomes), rng=rng(), draws=200) == alone


@given(OUTCOMES, st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_interval_holds_the_mean_within_bounds(outcomes: list[float], share: float) -> None:
    score = bootstrap(np.asarray(outcomes) * share, rng=rng())
    assert 0 <= score.low <= score.value + 1e-9
    assert score.value - 1e-9 <= score.high <= 100 + 1e-9


@given(st.lists(st.floats(10, 50), min_size=10, max_size=30, unique=True), st.floats(0, 40))
@settings(deadline=None, max_examples=40)
def test_shifting_outcomes_shifts_the_interval(outcomes: list[float], shift: float) -> None:
    before = bootstrap(outcomes, rng=rng(), draws=300)
    after = bootstrap(np.asarray(outcomes) + shift, rng=rng(), draws=300)
    np.testing.assert_allclose(after, np.asarray(before) + shift, atol=1e-6)


@pytest.mark.parametrize("bad", [[], [float("nan")], [101.0], [-1.0]])
def test_bad_outcomes_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="outcome"):
        bootstrap(bad, rng=rng())


def test_groups_must_match() -> None:
    with pytest.raises(ValueError, match="3 outcomes but 2 groups"):
        bootstrap([0, 0, 100], ["a", "b"], rng=rng())
    with pytest.raises(ValueError, match="2 and 1"):
        paired([0, 0], [0], rng=rng())


def test_pairing_is_sharper_than_overlap() -> None:
    a, b = right(700, 1000), right(660, 1000)
    difference = paired(a, b, rng=rng())
    first, second = bootstrap(a, rng=rng()), bootstrap(b, rng=rng())
    assert first.low < second.high, "the intervals overlap"
    assert difference.low > 0
    assert difference.value == pytest.approx(4)
    assert difference.p < 1e-9


@given(st.integers(0, 15), st.integers(0, 15))
@settings(deadline=None, max_examples=60)
def test_mcnemar_equals_scipy(only_a: int, only_b: int) -> None:
    a = np.r_[right(only_a, only_a), right(0, only_b), right(5, 5)]
    b = np.r_[right(0, only_a), right(only_b, only_b), right(5, 5)]
    expected = scipy.stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert paired(a, b, rng=rng(), draws=50).p == pytest.approx(expected)


@pytest.mark.parametrize("n", [1, 8, 15])
def test_sign_flips_equal_the_enumeration(n: int) -> None:
    gains = np.array([8.0, -3.0, 5.0, 1.0, 9.0, 4.0, -2.0, 6.0, -7.0, 0.0, 2.5, 3.0, -6.0, 5.5, 1.5])[:n]
    flipped = np.abs(np.array(list(product([1, -1], repeat=n))) @ gains)
    exact = np.mean(flipped >= abs(gains.sum()) - 1e-9)
    sampled = n > 13
    assert paired(50 + gains, np.full(n, 50.0), rng=rng()).p == pytest.approx(exact, abs=0.01 if sampled else 1e-12)


def test_groups_make_the_test_careful() -> None:
    a, b = np.r_[right(10, 10), right(5, 10)], np.r_[right(0, 10), right(5, 10)]
    groups = np.r_[np.zeros(10, int), np.arange(1, 11)]
    assert paired(a, b, groups.tolist(), rng=rng()) == paired(a, b, groups, rng=rng())
    assert paired(a, b, rng=rng()).p < 0.01
    assert paired(a, b, groups, rng=rng()).p > 0.9
    assert paired(a, b, groups, rng=rng()).units == 11


@given(st.lists(st.tuples(st.sampled_from([0.0, 100.0]), st.sampled_from([0.0, 100.0])), min_size=2, max_size=30))
@settings(deadline=None, max_examples=60)
def test_a_difference_reverses(rows: list[tuple[float, float]]) -> None:
    a, b = ([row[i] for row in rows] for i in (0, 1))
    groups = [i // 2 for i in range(len(rows))]
    one, other = paired(a, b, groups, rng=rng()), paired(b, a, groups, rng=rng())
    assert one.value == pytest.approx(-other.value)
    assert one.p == pytest.approx(other.p)


def test_two_that_agree_everywhere_may_still_differ_elsewhere() -> None:
    difference = paired(right(30, 50), right(30, 50), rng=rng())
    assert (difference.value, difference.p) == (0, 1)
    assert difference.low == pytest.approx(-difference.high)
    assert 5 < difference.high < 10
    assert difference.needed() is None


def test_needed_examples_find_the_difference_as_often_as_promised() -> None:
    source = np.random.default_rng(6)
    both = source.random(4000)
    a, b = (both < 0.66) * 100.0, (source.permutation(both) < 0.60) * 100.0
    needed = paired(a, b, rng=rng()).needed(power=0.8)
    assert needed is not None
    gains = a - b
    detected = 0
    for _ in range(400):
        drawn = source.choice(gains, needed)
        detected += abs(drawn.mean()) > 1.96 * drawn.std() / np.sqrt(needed)
    assert detected / 400 == pytest.approx(0.8, abs=0.06)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_tiers_follow_their_leader() -> None:
    values = [50.0, 70.0, 68.0, 66.0, 49.0]
    assert tiers(values, lambda i, j: abs(values[i] - values[j]) > 3) == [3, 1, 1, 2, 3]
    assert tiers([], lambda i, j: True) == []


def test_averages_add_in_squares_across_sets_and_plainly_within() -> None:
    scores = [Score(50, 47, 53), Score(60, 56, 64)]
    assert average(scores, ["x", "y"]) == pytest.approx((55, 52.5, 57.5))
    assert average(scores, ["x", "x"]) == pytest.approx((55, 51.5, 58.5))
    assert average([Score(50), Score(60, 56, 64)], ["x", "y"]) == Score(55)


def test_average_difference() -> None:
    one = Difference(3.0, 1.0, 5.0, 0.004, 100, 100)
    assert average_difference([one], ["x"]) == one
    both = average_difference([one, Difference(1.0, -1.0, 3.0, 0.3, 50, 50)], ["x", "y"])
    assert both[:3] == pytest.approx((2.0, 2 - 2**0.5, 2 + 2**0.5))
    assert both.p == pytest.approx(2 * scipy.stats.norm.sf(2 / (2**0.5 / 1.959964)))
    assert (both.n, both.units) == (150, 150)


def test_seed_decides_everything() -> None:
    sample = np.random.default_rng(7).random(50) * 100
    assert bootstrap(sample, rng=rng(1)) == bootstrap(sample, rng=rng(1))
    assert bootstrap(sample, rng=rng(1)) != bootstrap(sample, rng=rng(2))


def test_seeds_widen_an_interval_by_students_half_width() -> None:
    """With no spread over examples the interval is the textbook one of a mean over seeds."""
    seeds = (60.0, 62.0, 67.0)
    low, high = scipy.stats.t.interval(0.95, 2, loc=63.0, scale=scipy.stats.sem(seeds))
    assert over_seeds(Score(63.0, 63.0, 63.0), seeds) == pytest.approx((63.0, low, high))
    wide = over_seeds(Score(63.0, 60.0, 65.0), seeds)
    assert wide.low == pytest.approx(63 - np.hypot(3, 63 - low))
    assert wide.high == pytest.approx(63 + np.hypot(2, high - 63))
    assert over_seeds(Score(63.0, 60.0, 65.0), (63.0,)) == Score(63.0, 60.0, 65.0)
    assert over_seeds(Score(63.0, 60.0, 65.0), (63.0, 63.0)) == pytest.approx(Score(63.0, 60.0, 65.0))
    assert over_seeds(Score(63.0), seeds) == Score(63.0)
    assert over_seeds(Score(50.0, 40.0, 60.0), (0.0, 100.0)) == Score(50.0, 0.0, 100.0)


def ratio(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Mean of the values, the same squared, and a number that needs the first unit."""

    def of(weights: np.ndarray) -> np.ndarray:
        mean = weights @ values / weights.sum(axis=1)
        lacking = np.where(weights[:, 0] > 0, mean, np.nan)
        return np.column_stack([mean, mean**2 / 100, lacking, np.full(len(mean), 100.0), np.full(len(mean), np.nan)])

    return of


def test_resampling_a_mean_is_the_bootstrap_of_its_outcomes() -> None:
    sample = np.random.default_rng(4).uniform(20, 80, 30)
    plain = bootstrap(sample, rng=rng(), draws=20_000)
    mean, square, lacking, whole, undefined = resampled(ratio(sample), 30, rng=rng(1), draws=20_000)
    assert mean == pytest.approx(plain, abs=0.3)
    assert square.low == pytest.approx(mean.low**2 / 100, abs=1.0)
    assert (lacking.low, lacking.high) == pytest.approx((mean.low, mean.high), abs=1.0)
    assert whole == pytest.approx(bootstrap(np.full(30, 100.0), rng=rng()))
    assert np.isnan(undefined.value)
    assert undefined[1:] == (None, None)


def test_what_repeated_units_flatter_is_centered() -> None:
    """The largest value is lower in almost every resample; a plain percentile interval would lie below it."""
    (score,) = resampled(
        lambda weights: np.where(weights > 0, np.arange(10.0), 0.0).max(axis=1)[:, None], 10, rng=rng()
    )
    assert score.low < score.value == 9.0 < score.high


def test_resampling_one_unit_says_nothing_and_bounds_hold() -> None:
    assert resampled(ratio(np.array([50.0])), 1, rng=rng())[0] == (50.0, None, None)
    near = resampled(ratio(np.array([99.0, 20.0, *[100.0] * 10])), 12, rng=rng())[0]
    assert near.high == 100.0


def test_units_by_group() -> None:
    assert codes(None, 3).tolist() == [0, 1, 2]
    assert codes(["b", "a", None, "b", None], 5).tolist() == [0, 1, 2, 0, 3]
    assert codes(np.array([7, 3, 7]), 3).tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="3 outcomes but 2 groups"):
        codes(["a", "b"], 3)
