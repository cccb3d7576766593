"""Measures of features against closed forms and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitascope.pretrain.monitoring.feature_rank import effective_rank, similarity, token_std


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def axes(dim: int) -> Tensor:
    """Every axis in both directions: 2 dim unit vectors of mean 0."""
    return torch.cat([torch.eye(dim), -torch.eye(dim)])


@pytest.mark.parametrize("dim", [1, 2, 7, 32])
def test_equal_spread_in_every_direction_is_full_rank(dim: int) -> None:
    assert effective_rank(3 * axes(dim) + 5) == pytest.approx(dim, rel=1e-6)


def test_the_rank_is_the_exponential_of_the_entropy_of_the_spectrum() -> None:
    # orthogonal columns of mean 0 and of lengths 3, 2 and 1: these are the singular values
    left = np.linalg.qr(np.column_stack([np.ones(9), np.random.default_rng(0).normal(size=(9, 3))]))[0][:, 1:]
    right = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 3)))[0]
    features = torch.tensor(left @ np.diag([3.0, 2.0, 1.0]) @ right.T)
    by_hand = math.exp(-sum(p * math.log(p) for p in (3 / 6, 2 / 6, 1 / 6)))
    assert effective_rank(features) == pytest.approx(by_hand, rel=1e-9)
    assert effective_rank(features + 100) == pytest.approx(by_hand, rel=1e-9), "a mean is no spread"


def test_features_on_a_line_have_rank_one() -> None:
    line = drawn(20, 1) * drawn(1, 8, seed=1) + drawn(1, 8, seed=2)
    assert effective_rank(line) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_equal_features_have_rank_zero_whatever_rounding_leaves(kind: torch.dtype) -> None:
    one = drawn(1, 48) * 1000
    assert effective_rank(one.expand(64, 48).to(kind)) == 0
    if kind is torch.float32:  # noise in the last digit, as another order of summation makes it
        noisy = one * (1 + torch.finfo(kind).eps / 4 * drawn(64, 48, seed=1).sign())
        assert effective_rank(noisy) == 0


def test_a_feature_that_is_no_number_shows() -> None:
    features = drawn(8, 4)
    features[3, 1] = float("nan")
    assert math.isnan(effective_rank(features))
    assert math.isnan(token_std(features))


@pytest.mark.parametrize("dim", [2, 16])
def test_tokens_in_every_direction_deviate_by_one(dim: int) -> None:
    assert token_std(axes(dim)) == pytest.approx(1)
    assert token_std(7 * axes(dim)) == pytest.approx(1), "lengths do not count"
    assert token_std(drawn(4000, dim)) == pytest.approx(1, abs=0.02)


def test_tokens_that_differ_by_place_alone_have_collapsed() -> None:
    places = drawn(1, 10, 16).expand(6, 10, 16)
    assert token_std(places) == pytest.approx(0, abs=1e-12)
    assert token_std(drawn(6, 10, 16)) > 0.5


@given(st.integers(2, 6), st.integers(1, 3), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_similarity_is_the_mean_over_all_pairs(n: int, places: int, dim: int, seed: int) -> None:
    targets = drawn(n, places, dim, seed=seed)
    pairs = [
        torch.cosine_similarity(targets[i, k].double(), targets[j, k].double(), dim=0)
        for i in range(n)
        for j in range(n)
        for k in range(places)
        if i != j
    ]
    assert similarity(targets) == pytest.approx(float(torch.stack(pairs).mean()), abs=1e-9)


def test_similarity_at_its_ends() -> None:
    assert similarity(drawn(1, 8).expand(5, 8)) == pytest.approx(1)
    assert similarity(torch.eye(4)) == pytest.approx(0)
    assert similarity(torch.tensor([[1.0, 0], [-2, 0]])) == pytest.approx(-1)
    with pytest.raises(ValueError) as error:
        similarity(drawn(1, 8))
    assert str(error.value) == "similarity compares different clips; it needs at least two, not 1"


def test_measures_leave_no_graph_behind() -> None:
    features = drawn(5, 4).requires_grad_()
    for value in (effective_rank(features), token_std(features), similarity(features)):
        assert isinstance(value, float)
