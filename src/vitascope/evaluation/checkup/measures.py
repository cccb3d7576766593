"""Measures of unlabeled vectors: how far an alteration moves them, and how alike two encoders arrange the videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from vitascope.core.types import Score
from vitascope.metrics.distributions import t_quantile
from vitascope.metrics.few_units import LEVEL
from vitascope.metrics.stats import Groups, bootstrap, codes, resampled

Vectors: TypeAlias = Float[ndarray, "n d"]
Others: TypeAlias = Float[ndarray, "n e"]
"""Vectors of another encoder, which may be of another size."""
LARGEST_SHIFT = 1000.0
"""Upper bound of a shift, percent."""
NOTHING = 1e-2
"""Shift, percent, that rounding in half precision can make."""
PARTS = 40
"""Most parts of the jackknife: each is left out once."""
NEIGHBORS = 10
"""Neighbors of a video that two encoders may share."""


def units(vectors: Vectors, center: Float[ndarray, "d"]) -> Vectors:
    """Vectors less `center`, of unit length, as kNN compares them; zero stays zero."""
    moved = vectors.astype(np.float64) - center
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    unit: Vectors = np.divide(moved, lengths, out=np.zeros_like(moved), where=lengths > 0)
    return unit


def typical_distance(vectors: Vectors) -> float:
    """Mean distance of two different rows of unit vectors; 0 for fewer than two."""
    n = len(vectors)
    return float(np.sqrt(_squared_distances(vectors)).sum() / (n * (n - 1))) if n > 1 else 0.0


def _squared_distances(vectors: Vectors) -> Float[ndarray, "n n"]:
    """Squared distances of all pairs of rows, at least 0, exactly 0 on the diagonal."""
    squares = (vectors**2).sum(1)
    found: Float[ndarray, "n n"] = np.maximum(squares[:, None] + squares - 2 * vectors @ vectors.T, 0.0)
    np.fill_diagonal(found, 0.0)
    return found


def shift(original: Vectors, altered: Vectors, groups: Groups, *, rng: np.random.Generator) -> Score:
    """How far an alteration moves the vectors, percent of the mean distance of two different videos, with interval.

    Row i of both is video i. 0: nothing moves; 100: as far as to any other video. Both are centered by the mean of the
    originals and have unit length. NaN if all originals are equal; no interval if no vector moves.
    """
    center = original.astype(np.float64).mean(0)
    ours, theirs = units(original, center), units(altered, center)
    scale = typical_distance(ours)
    if scale == 0:
        return Score(float("nan"))
    moved = np.minimum(100 * np.linalg.norm(ours - theirs, axis=1) / scale, LARGEST_SHIFT)
    if moved.max() < NOTHING:
        return Score(0.0)
    of = codes(groups, len(moved))
    sums, counts = np.bincount(of, moved), np.bincount(of)

    def mean(drawn: Int[ndarray, "b u"]) -> Float[ndarray, "b 1"]:
        means: Float[ndarray, "b 1"] = ((drawn @ sums) / (drawn @ counts))[:, None]
        return means

    return resampled(mean, len(counts), bounds=(0.0, LARGEST_SHIFT), rng=rng)[0]


def close_pairs(vectors: Vectors, share: float) -> list[tuple[int, int]]:
    """Pairs of rows nearer than `share` of the typical distance, after centering and to unit length, nearest first."""
    ours = units(vectors, vectors.astype(np.float64).mean(0))
    limit = share * typical_distance(ours)
    distances = np.sqrt(_squared_distances(ours))
    rows, columns = np.nonzero(np.triu(distances < limit, 1))
    order = np.argsort(distances[rows, columns], kind="stable")
    return [(int(rows[i]), int(columns[i])) for i in order]


def cka(one: Vectors, other: Others) -> float:
    """Linear centered kernel alignment of two encoders on the same videos, at most 1; NaN below four videos.

    Kornblith et al., "Similarity of neural network representations revisited" (ICML 2019), with the unbiased estimate
    of HSIC of Song et al. (JMLR 13, 2012, equation 5): with few videos and many dimensions the plain one is near 1 for
    noise. Around 0 for encoders that have nothing in common, where it may be negative.
    """
    if len(one) < 4:
        return float("nan")
    first, second = _gram(one), _gram(other)
    scale = _hsic(first, first) * _hsic(second, second)
    return float(_hsic(first, second) / sqrt(scale)) if scale > 0 else float("nan")


def _gram(vectors: Vectors) -> Float[ndarray, "n n"]:
    """Products of all pairs of centered rows, without those of a row with itself."""
    moved = vectors.astype(np.float64) - vectors.astype(np.float64).mean(0)
    gram: Float[ndarray, "n n"] = moved @ moved.T
    np.fill_diagonal(gram, 0.0)
    return gram


def _hsic(one: Float[ndarray, "n n"], other: Float[ndarray, "n n"]) -> float:
    """The unbiased estimate of HSIC from two matrices of products with a zero diagonal."""
    n = len(one)
    mean = one.sum() * other.sum() / ((n - 1) * (n - 2))
    cross = 2 * (one.sum(0) @ other.sum(0)) / (n - 2)
    return float((np.einsum("ij,ij->", one, other) + mean - cross) / (n * (n - 3)))


def jackknife(statistic: Callable[[Bool[ndarray, "n"]], float], groups: Groups, n: int) -> Score:
    """A statistic of n videos with its 95 % interval; `statistic` maps which videos are kept to a value up to 1.

    Delete-a-group jackknife: groups, in up to `PARTS` parts, are left out in turn. In percent; no interval if there are
    fewer than two groups or a value is not defined.
    """
    of = codes(groups, n)
    value = statistic(np.ones(n, bool))
    count = min(int(of.max()) + 1, PARTS)
    left = np.array([statistic(of % count != part) for part in range(count)]) if count > 1 else np.array([np.nan])
    if not np.isfinite([value, *left]).all():
        return Score(100 * value)
    error = sqrt((count - 1) / count * float(((left - left.mean()) ** 2).sum()))
    half = t_quantile(count - 1, 0.5 + LEVEL / 2) * error
    return Score(100 * value, 100 * max(value - half, -1.0), 100 * min(value + half, 1.0))


def shared_neighbors(
    one: Vectors, other: Others, groups: Groups, *, k: int = NEIGHBORS, rng: np.random.Generator
) -> Score:
    """Mean share of the k nearest videos of a video that two encoders have in common, percent, with interval.

    Of vectors centered and of unit length; k is at most half the other videos. Chance is k of n - 1.
    """
    k = neighbors_asked(len(one), k)
    first, second = (_nearest(units(v, v.astype(np.float64).mean(0)), k) for v in (one, other))
    common = [100 * len(set(a) & set(b)) / k for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    return bootstrap(common, groups, rng=rng)


def neighbors_asked(n: int, k: int = NEIGHBORS) -> int:
    """The number of neighbors that can be asked for among n videos: k, but at most half of the others."""
    return max(min(k, (n - 1) // 2), 1)


def _nearest(vectors: Vectors, k: int) -> Int[ndarray, "n k"]:
    distances = _squared_distances(vectors)
    np.fill_diagonal(distances, np.inf)
    order: Int[ndarray, "n k"] = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order


def unit_count(groups: Sequence[object], n: int) -> int:
    """Number of groups, each video without one counted as one."""
    return int(codes(list(groups), n).max()) + 1 if n else 0
