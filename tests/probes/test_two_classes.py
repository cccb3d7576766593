"""Classifiers of two classes, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import StandardScaler

from vitascope.probes.classification import two_classes
from vitascope.probes.classification.two_classes import fit, shrinkage_lda

SIZES = [(30, 5), (30, 80), (300, 40), (12, 400)]


def clouds(count: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes, one of them three times the other, with columns of different scale."""
    rng = np.random.default_rng(seed)
    side = (np.arange(count) % 4 == 0).astype(int)
    vectors = (rng.normal(size=(count, dim)) + 0.4 * side[:, None]) * rng.uniform(0.1, 30, dim) + 5
    return vectors, side


@pytest.mark.parametrize(("count", "dim"), SIZES)
def test_shrinkage_is_scikit_learns(count: int, dim: int) -> None:
    vectors, _ = clouds(count, dim)
    centered = vectors - vectors.mean(axis=0)
    shrinkage, variance = two_classes.ledoit_wolf(centered)
    assert shrinkage == pytest.approx(ledoit_wolf_shrinkage(centered, assume_centered=True))
    assert variance == pytest.approx(np.square(centered).mean())


@pytest.mark.parametrize(("count", "dim"), SIZES)
def test_weights_are_the_closed_form(count: int, dim: int) -> None:
    vectors, side = clouds(count, dim)
    means, scale = np.stack([vectors[side == k].mean(axis=0) for k in (0, 1)]), vectors.std(axis=0)
    covariance, _ = ledoit_wolf((vectors - means[side]) / scale, assume_centered=True)
    expected = np.linalg.inv(covariance) @ ((means[1] - means[0]) / scale) / scale
    found = shrinkage_lda(vectors, side)
    np.testing.assert_allclose(found.weight, expected, rtol=1e-8, atol=1e-10 * np.abs(expected).max())
    assert found.bias == pytest.approx(-means.mean(axis=0) @ expected, rel=1e-8)


def test_decisions_are_those_of_scikit_learns_lda() -> None:
    vectors, side = clouds(200, 30)
    scaled = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    within = scaled - np.stack([scaled[side == k].mean(axis=0) for k in (0, 1)])[side]
    shrinkage, _ = two_classes.ledoit_wolf(within)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=[0.5, 0.5])
    expected = theirs.fit(scaled, side).predict(scaled)
    found = shrinkage_lda(vectors, side).margins(vectors) > 0
    assert np.mean(found == expected) > 0.97  # theirs weighs the two covariances by the priors


def test_logistic_and_ridge_regression_are_scikit_learns() -> None:
    vectors, side = clouds(60, 20)
    scaled = StandardScaler().fit_transform(vectors)
    logistic = LogisticRegression(class_weight="balanced", max_iter=10_000).fit(scaled, side)
    np.testing.assert_allclose(
        fit(vectors, side, "logistic").margins(vectors), logistic.decision_function(scaled), atol=1e-6
    )
    ridge = RidgeClassifier().fit(vectors, side)
    np.testing.assert_allclose(fit(vectors, side, "ridge").margins(vectors), ridge.decision_function(vectors))


@pytest.mark.parametrize(("count", "dim"), [(8, 3), (4, 30)])
def test_constant_columns_and_equal_vectors_are_no_obstacle(count: int, dim: int) -> None:
    side = np.arange(count) % 2
    equal = np.ones((count, dim))
    assert not fit(equal, side, "lda").margins(equal).any()
    apart = equal.copy()
    apart[:, 0] = side  # nothing varies within the classes
    assert np.array_equal(fit(apart, side, "lda").margins(apart) > 0, side == 1)
    varied = np.random.default_rng(0).normal(size=(count, dim))
    varied[:, 1] = 7.0
    assert np.isfinite(fit(varied, side, "lda").weight).all()
