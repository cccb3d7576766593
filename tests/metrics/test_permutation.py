"""Relabeling tests against every relabeling there is; AUC and intervals against their definitions."""

from itertools import product

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vitascope.core.types import Score
from vitascope.metrics.permutation import auc_parts, permutation_test, relabelings, widened


def test_relabelings_are_those_of_the_unit_whatever_its_company():
    every = relabelings(["a", "b", "a", "c"], 3, 500, 0)
    assert every.shape == (4, 501)
    assert (every[:, 0] == 0).all()
    assert (every[0] == every[2]).all()
    assert (relabelings(["c"], 3, 500, 0)[0] == every[3]).all()
    assert (relabelings(["c"], 3, 500, 1)[0] != every[3]).any()
    counts = np.bincount(every[3, 1:], minlength=6)
    assert len(counts) == 6
    assert counts.min() > 50


def test_p_is_the_share_of_all_relabelings_as_far_from_chance():
    right = np.array([1, 1, 1, 1, 0, 1])
    flips = np.array(list(product([0, 1], repeat=6))).T
    flips = flips[:, np.argsort(flips.sum(axis=0), kind="stable")]  # the actual labels first
    outcomes = 100.0 * np.abs(right[:, None] - flips)
    expected = np.mean([abs(o.mean() - 50) >= abs(right.mean() * 100 - 50) - 1e-9 for o in outcomes.T])
    found = permutation_test(Score(right.mean() * 100, 40.0, 95.0), outcomes, np.arange(6), 50.0)
    assert found.p == expected == 14 / 64
    assert found.inflation == pytest.approx(1.0, abs=0.02)


def test_the_interval_has_chance_in_it_unless_the_test_rejects_it():
    outcomes = np.full((4, 8), 50.0)
    outcomes[:, 0] = 75.0
    outcomes[:, 1:5] = 25.0
    found = permutation_test(Score(75.0, 70.0, 80.0), outcomes, np.arange(4), 50.0)
    assert found.p == 5 / 8
    assert found.score.low == 50.0  # widening twice as far gives 65
    apart = np.concatenate([outcomes[:, :1], np.full((4, 199), 50.0)], axis=1)
    assert permutation_test(Score(75.0, 60.0, 90.0), apart, np.arange(4), 50.0).score == Score(75.0, 60.0, 90.0)


def test_scores_that_go_together_widen_the_interval():
    rng = np.random.default_rng(0)
    common = np.where(rng.random((1, 2001)) < 0.5, 100.0, 0.0).repeat(16, axis=0)
    alone = np.where(rng.random((16, 2001)) < 0.5, 100.0, 0.0)
    units = np.arange(16)
    assert permutation_test(Score(50.0, 40.0, 60.0), common, units, 50.0).inflation == pytest.approx(16, rel=0.01)
    assert permutation_test(Score(50.0, 40.0, 60.0), common, units * 0, 50.0).inflation == 1.0
    assert permutation_test(Score(50.0, 40.0, 60.0), alone, units, 50.0).inflation == pytest.approx(1, abs=0.1)
    assert permutation_test(Score(50.0, 49.0, 51.0), np.full((16, 9), 100 / 3), units, 100 / 3).inflation == 1.0
    assert widened(Score(80.0, 70.0, 95.0), 4.0) == Score(80.0, 60.0, 100.0)
    assert widened(Score(80.0), 4.0) == Score(80.0)


def test_auc_is_scikit_learn_s_ties_included():
    rng = np.random.default_rng(1)
    high, low = rng.integers(0, 6, 40) / 2 + 0.5, rng.integers(0, 6, 25) / 2
    above, below = auc_parts(high, low)
    expected = roc_auc_score([1] * 40 + [0] * 25, np.concatenate([high, low]))
    assert above.mean() == pytest.approx(expected, abs=1e-12)
    assert below.mean() == pytest.approx(expected, abs=1e-12)
