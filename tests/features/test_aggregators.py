"""Aggregators of clip vectors against scipy, numpy and loops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.errors import UserError
from vitascope.features import aggregators
from vitascope.features.aggregation import FittedAggregator
from vitascope.features.aggregators import AGGREGATORS, parse

ALL = [kind() for kind in AGGREGATORS.values()]


def clips(videos: int, count: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(videos, count, dim, generator=torch.Generator().manual_seed(seed)).double()


def blocks(text: str, x: torch.Tensor, projected: torch.Tensor | None = None) -> list[np.ndarray]:
    return [b.numpy() for b in parse(text).blocks(x, x if projected is None else projected)]


def vectors(text: str, x: torch.Tensor) -> torch.Tensor:
    return FittedAggregator(parse(text), torch.zeros(x.shape[2]), None)(x.float())


def signed_root(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.sqrt(np.abs(values))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.integers(1, 9), st.integers(1, 5), st.integers(0, 10**6))
def test_dct_is_scipys_over_the_root_of_the_length(count: int, terms: int, dim: int, seed: int) -> None:
    x = clips(3, count, dim, seed)
    expected = np.zeros((3, terms, dim))
    known = scipy.fft.dct(x.numpy(), type=2, norm="ortho", axis=1)[:, :terms] / np.sqrt(count)
    expected[:, : known.shape[1]] = known
    np.testing.assert_allclose(np.stack(blocks(f"dct:{terms}", x), axis=1), expected, atol=1e-12)


def test_the_first_term_of_the_dct_is_the_mean() -> None:
    x = clips(4, 7, 5)
    np.testing.assert_allclose(blocks("dct:2", x)[0], x.mean(1).numpy(), atol=1e-12)


def area(path: np.ndarray, i: int, j: int) -> float:
    """The Lévy area by a sum over segments, of the path from its first point."""
    total = 0.0
    for t in range(len(path) - 1):
        a, b = path[t] - path[0], path[t + 1] - path[t]
        total += (a[i] * b[j] - a[j] * b[i]) / 2
    return total


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_levy_is_the_double_loop(count: int) -> None:
    x = clips(3, count, 4, count)
    expected = [[area(v, i, j) for i in range(4) for j in range(i + 1, 4)] for v in x.numpy()]
    np.testing.assert_allclose(blocks("levy", x)[1], signed_root(np.array(expected)), atol=1e-7)


def test_levy_turns_its_sign_with_time_and_does_not_see_speed() -> None:
    x = clips(3, 6, 4)
    forward, slow = blocks("levy", x)[1], x.repeat_interleave(3, dim=1)
    np.testing.assert_allclose(blocks("levy", x.flip(1))[1], -forward, atol=1e-7)
    np.testing.assert_allclose(blocks("levy", slow)[1], forward, atol=1e-7)
    circle = torch.tensor([[[1.0, 0], [0, 1], [-1, 0], [0, -1], [1, 0]]])
    assert blocks("levy", circle)[1][0, 0] ** 2 == pytest.approx(2)  # the square with these corners


def test_covariance_is_numpys() -> None:
    x = clips(3, 8, 4)
    expected = [np.cov(v.T, bias=True)[np.triu_indices(4)] for v in x.numpy()]
    np.testing.assert_allclose(blocks("cov", x)[1], signed_root(np.array(expected)), atol=1e-12)


def test_products_are_of_the_projected_vectors_and_the_mean_of_all() -> None:
    x, projected = clips(2, 5, 4), clips(2, 5, 2, 1)
    for text in ("cov", "levy"):
        mean, products = blocks(text, x, projected)
        np.testing.assert_allclose(mean, x.mean(1).numpy())
        np.testing.assert_allclose(products, blocks(text, projected)[1])


@pytest.mark.parametrize("count", [4, 8, 16])
def test_pyramid_is_the_means_of_equal_parts(count: int) -> None:
    x = clips(2, count, 3).numpy()
    expected = [part.mean(1) for parts in (1, 2, 4) for part in np.array_split(x, parts, axis=1)]
    np.testing.assert_allclose(blocks("pyramid:3", torch.from_numpy(x)), expected)


def test_pyramid_fills_parts_without_a_clip_with_the_nearest_one() -> None:
    x = clips(1, 2, 3)
    first, second = x[:, 0].numpy(), x[:, 1].numpy()
    expected = [(first + second) / 2, first, second, first, first, second, second]
    np.testing.assert_allclose(blocks("pyramid:3", x), expected)
    odd = clips(1, 3, 2)  # the middle clip is within the second half
    np.testing.assert_allclose(blocks("pyramid:2", odd)[2], odd[:, 1:].mean(1).numpy())


def test_slope_is_that_of_the_least_squares_line() -> None:
    x = clips(1, 6, 3)
    time = (np.arange(6) + 0.5) / 6
    np.testing.assert_allclose(blocks("slope", x)[1][0], np.polyfit(time, x[0].numpy(), 1)[0], atol=1e-12)


@pytest.mark.parametrize(("count", "wanted"), [(1, 4), (5, 5), (7, 3), (3, 8)])
def test_order_interpolates_at_equal_steps(count: int, wanted: int) -> None:
    x = clips(1, count, 2, 3)
    places, at = (np.arange(wanted) + 0.5) / wanted, (np.arange(count) + 0.5) / count
    expected = np.stack([np.interp(places, at, x[0, :, d].numpy()) for d in range(2)], axis=1)
    np.testing.assert_allclose(np.concatenate(blocks(f"order:{wanted}", x)), expected, atol=1e-12)
    if count == wanted:
        np.testing.assert_array_equal(np.concatenate(blocks(f"order:{wanted}", x)), x[0].numpy())


def test_mean_max_and_deviation_are_numpys() -> None:
    x = clips(3, 5, 4)
    np.testing.assert_allclose(blocks("mean", x)[0], x.numpy().mean(1))
    np.testing.assert_array_equal(blocks("max", x)[0], x.numpy().max(1))
    np.testing.assert_allclose(blocks("meanstd", x)[1], x.numpy().std(1))


@pytest.mark.parametrize("aggregator", ALL, ids=aggregators.describe)
def test_what_says_that_it_sees_order_does_and_the_others_do_not(aggregator: aggregators.Aggregator) -> None:
    x = clips(2, 7, 6)
    fitted = FittedAggregator(aggregator, torch.zeros(6), None)
    same = torch.allclose(fitted(x.float()), fitted(x[:, torch.tensor([3, 0, 6, 1, 5, 2, 4])].float()), atol=1e-5)
    assert same != aggregator.sees_order


@pytest.mark.parametrize("aggregator", ALL, ids=aggregators.describe)
def test_one_clip_is_itself_to_a_cosine(aggregator: aggregators.Aggregator) -> None:
    x = clips(5, 1, 6).float()
    made = torch.nn.functional.normalize(FittedAggregator(aggregator, torch.zeros(6), None)(x))
    single = torch.nn.functional.normalize(x[:, 0])
    torch.testing.assert_close(made @ made.T, single @ single.T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("text", ["dct:5", "slope", "meanstd", "levy:4", "cov:4"])
def test_rounding_of_a_video_that_stands_still_is_not_scaled_up(text: str) -> None:
    still = clips(3, 1, 6).float().expand(3, 9, 6) * 100
    made = vectors(text, still)
    torch.testing.assert_close(made[:, :6].norm(dim=1), torch.ones(3))
    assert made[:, 6:].abs().max() < 0.02


def test_blocks_have_unit_length() -> None:
    made = vectors("dct:3", clips(4, 8, 5)).view(4, 3, 5)
    torch.testing.assert_close(made.norm(dim=2), torch.ones(4, 3))


@pytest.mark.parametrize("aggregator", ALL, ids=aggregators.describe)
def test_text_round_trip(aggregator: aggregators.Aggregator) -> None:
    assert parse(aggregators.describe(aggregator)) == aggregator


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dtc:5", "no aggregator 'dtc'; did you mean 'dct'"),
        ("mean:3", "mean takes no number"),
        ("dct:0", "dct: terms = 0 must be at least 1"),
        ("dct:five", "dct: terms = 'five' must be a whole number"),
        ("pyramid:9", "levels = 9 must be at most 8"),
    ],
)
def test_what_is_no_aggregator(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(text)
