"""Neighborhoods against brute force and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_samples

from vitascope.metrics import neighborhoods
from vitascope.metrics.neighborhoods import purity, purity_of_chance, survey


@pytest.fixture(params=[10, 100_000])
def points(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Points in six dimensions, far from the origin; distances in one block, and row by row."""
    monkeypatch.setattr(neighborhoods, "BLOCK", request.param)
    return np.random.default_rng(5).normal(1000.0, 1.0, (80, 6))


LABELS = np.random.default_rng(6).integers(0, 5, 80)
LABELS[7] = 9  # the only one of its class


def test_neighbors_are_those_of_brute_force(points: np.ndarray) -> None:
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    found = survey(points, 7).nearest
    assert (found.indices == np.argsort(distances, axis=1)[:, :7]).all()
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :7], rtol=1e-9)


def test_neighbors_of_other_groups(points: np.ndarray) -> None:
    groups = np.arange(80) // 20
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    distances[groups[:, None] == groups] = np.inf
    measured = survey(points, 7, groups=groups)
    assert (measured.apart.indices == np.argsort(distances, axis=1)[:, :7]).all()
    assert (measured.nearest.indices != measured.apart.indices).any()


def test_points_of_a_single_group_have_no_neighbors_elsewhere(points: np.ndarray) -> None:
    apart = survey(points, 7, groups=np.zeros(80, int)).apart.indices
    assert (apart == -1).all()
    assert np.isnan(purity(apart, LABELS)).all()
    assert all(np.isnan(purity_of_chance(apart, lambda: LABELS)))


def test_silhouettes_are_those_of_scikit_learn(points: np.ndarray) -> None:
    both = survey(points, 3, labelings=[LABELS, LABELS[::-1].copy()]).silhouettes
    np.testing.assert_allclose(both[0], silhouette_samples(points, LABELS), atol=1e-9)
    np.testing.assert_allclose(both[1], silhouette_samples(points, LABELS[::-1]), atol=1e-9)


def test_trustworthiness_is_that_of_scikit_learn(points: np.ndarray) -> None:
    for picture in (points[:, :2], np.random.default_rng(1).normal(size=(80, 2))):
        near = survey(picture, 5).nearest.indices
        (trust,) = survey(points, 5, pictures=[near]).trust
        assert trust == pytest.approx(trustworthiness(points, picture, n_neighbors=5), abs=1e-12)


def test_trustworthiness_needs_more_points_than_twice_the_neighbors() -> None:
    four = np.arange(8.0).reshape(4, 2)
    near = survey(four, 2).nearest.indices
    assert np.isnan(survey(four, 2, pictures=[near]).trust[0])


def test_purity_by_hand() -> None:
    nearest = np.array([[1, 2], [0, 2], [1, -1], [-1, -1]])
    values = purity(nearest, np.array([0, 0, 1, 1]))
    np.testing.assert_array_equal(values, [50.0, 50.0, 0.0, np.nan])


def test_purity_of_chance_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    near = survey(rng.normal(size=(100, 3)), 5).nearest.indices
    mean, high = purity_of_chance(near, lambda: rng.permutation(labels), 400)
    expected = 100 * sum(n * (n - 1) for n in (60, 30, 10)) / (100 * 99)
    assert mean == pytest.approx(expected, abs=0.5)
    assert mean < high < mean + 10


def test_one_point_and_equal_points() -> None:
    alone = survey(np.ones((1, 3)), 5, labelings=[np.zeros(1, int)])
    assert alone.nearest.indices.shape == (1, 0)
    assert np.isnan(alone.silhouettes).all(), "a single class"
    equal = survey(np.ones((4, 3)), 2, labelings=[np.array([0, 0, 1, 1])])
    assert (equal.nearest.distances == 0).all()
    assert (equal.silhouettes == 0).all()
