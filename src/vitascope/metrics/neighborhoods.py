"""Neighborhoods of labeled points: nearest neighbors, their purity, silhouettes, and how much of them a picture keeps.

All distances are Euclidean and computed in double precision, a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

BLOCK = 4_000_000
"""Distances in memory at a time."""
SHUFFLES, SILHOUETTE_SHUFFLES = 200, 5
"""Random assignments of the labels that chance is measured with."""


class Nearest(NamedTuple):
    """The k nearest other points of each point, nearest first; -1 at infinite distance where there are fewer."""

    indices: Int[ndarray, "n k"]
    distances: Float[ndarray, "n k"]


class Survey(NamedTuple):
    """The neighborhoods of a set of points."""

    nearest: Nearest
    apart: Nearest
    """The nearest points of other groups."""
    silhouettes: Float[ndarray, "labelings n"]
    """For each labeling the silhouette of every point, -1 to 1; NaN if it has a single class."""
    trust: tuple[float, ...]
    """Trustworthiness of each picture, 0 to 1; NaN for fewer than 2 k + 1 points."""


def survey(
    points: Float[ndarray, "n d"],
    k: int,
    *,
    groups: Int[ndarray, "n"] | None = None,
    labelings: Sequence[Int[ndarray, "n"]] = (),
    pictures: Sequence[Int[ndarray, "n k"]] = (),
) -> Survey:
    """Measure everything that needs the distances of all pairs, in one pass over them.

    `pictures` holds for each picture of the points the k nearest neighbors in it.
    """
    near, apart = _Collected(len(points), k), _Collected(len(points), k)
    silhouettes = [_Silhouettes(labels) for labels in labelings]
    trust = [_Trust(picture, len(points)) for picture in pictures]
    for rows, squared in distance_rows(points):
        for labeling in silhouettes:
            labeling.add(rows, squared)
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = np.inf
        for picture in trust:
            picture.add(rows, squared)
        near.add(rows, squared)
        if groups is not None:
            squared[groups[rows][:, None] == groups] = np.inf
            apart.add(rows, squared)
    return Survey(
        near.nearest(),
        near.nearest() if groups is None else apart.nearest(),
        np.array([labeling.values for labeling in silhouettes]).reshape(len(labelings), len(points)),
        tuple(picture.value(k) for picture in trust),
    )


def distance_rows(points: Float[ndarray, "n d"]) -> Iterator[tuple[slice, Float[ndarray, "m n"]]]:
    """Yield slices of rows and the squared Euclidean distances of their points to all points."""
    centered = np.asarray(points, np.float64) - np.mean(points, 0, dtype=np.float64)
    norms = np.einsum("nd,nd->n", centered, centered)
    step = max(1, BLOCK // max(len(points), 1))
    for start in range(0, len(points), step):
        rows = slice(start, min(start + step, len(points)))
        squared = norms[rows, None] + norms - 2 * centered[rows] @ centered.T
        yield rows, np.maximum(squared, 0.0, out=squared)


class _Collected:
    """The k smallest distances of every row."""

    def __init__(self, n: int, k: int) -> None:
        self.k = min(k, max(n - 1, 0))
        self.indices = np.full((n, self.k), -1, np.int64)
        self.distances = np.full((n, self.k), np.inf)

    def add(self, rows: slice, squared: Float[ndarray, "m n"]) -> None:
        """Take the smallest of some rows; equal distances in the order of the points."""
        if not self.k:
            return
        found = np.sort(np.argpartition(squared, self.k - 1, axis=1)[:, : self.k], axis=1)
        order = np.argsort(np.take_along_axis(squared, found, 1), axis=1, kind="stable")
        self.indices[rows] = np.take_along_axis(found, order, 1)
        self.distances[rows] = np.sqrt(np.take_along_axis(squared, self.indices[rows], 1))

    def nearest(self) -> Nearest:
        """What was collected."""
        return Nearest(np.where(np.isinf(self.distances), -1, self.indices), self.distances)


class _Silhouettes:
    """Silhouettes under one labeling (Rousseeuw 1987): (b - a) / max(a, b); 0 for the only point of a class."""

    def __init__(self, labels: Int[ndarray, "n"]) -> None:
        self.classes, self.own, self.counts = np.unique(labels, return_inverse=True, return_counts=True)
        self.order = np.argsort(self.own, kind="stable")
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        self.values = np.full(len(labels), np.nan)

    def add(self, rows: slice, squared: Float[ndarray, "m n"]) -> None:
        """Compute those of some rows."""
        if len(self.classes) < 2:
            return
        sums = np.add.reduceat(np.sqrt(squared)[:, self.order], self.starts, axis=1)
        own, each = self.own[rows], np.arange(len(squared))
        within = sums[each, own] / np.maximum(self.counts[own] - 1, 1)
        means = sums / self.counts
        means[each, own] = np.inf
        other = means.min(1)
        largest = np.maximum(within, other)
        spread = np.divide(other - within, largest, out=np.zeros_like(other), where=largest > 0)
        self.values[rows] = np.where(self.counts[own] > 1, spread, 0.0)


class _Trust:
    """Trustworthiness of a picture (Venna and Kaski 2001): are neighbors in it neighbors in the space?"""

    def __init__(self, neighbors: Int[ndarray, "n k"], n: int) -> None:
        self.neighbors, self.n, self.penalty = neighbors, n, 0

    def add(self, rows: slice, squared: Float[ndarray, "m n"]) -> None:
        """Add how far beyond the k nearest of the space the neighbors of some rows are."""
        k, each = self.neighbors.shape[1], np.arange(len(squared))
        for column in self.neighbors[rows].T:
            rank = (squared < squared[each, column][:, None]).sum(1) + 1
            self.penalty += int(np.maximum(rank - k, 0).sum())

    def value(self, k: int) -> float:
        """The score; 1: every neighbor in the picture is one of the k nearest in the space."""
        if 2 * k >= self.n or not k:
            return float("nan")
        return 1.0 - 2.0 * self.penalty / (self.n * k * (2 * self.n - 3 * k - 1))


def purity(nearest: Int[ndarray, "n k"], labels: Int[ndarray, "n"], of: Int[ndarray, "m"] | None = None) -> ndarray:
    """The percentage of each point's neighbors that have its label; NaN for a point without neighbors.

    `of` are the labels of the points that neighbors are chosen among, if those are others.
    """
    known = nearest >= 0
    same = (labels if of is None else of)[np.where(known, nearest, 0)] == labels[:, None]
    counts = known.sum(1)
    share = 100.0 * (same & known).sum(1) / np.maximum(counts, 1)
    return np.where(counts > 0, share, np.nan)


def purity_of_chance(
    nearest: Int[ndarray, "n k"], shuffled: Callable[[], Int[ndarray, "n"]], shuffles: int = SHUFFLES
) -> tuple[float, float]:
    """Mean and 97.5th percentile of the mean purity under random labelings drawn by `shuffled`."""
    known = nearest >= 0
    if not known.any():
        return float("nan"), float("nan")
    means = [np.nanmean(purity(nearest, shuffled())) for _ in range(shuffles)]
    return float(np.mean(means)), float(np.quantile(means, 0.975))
