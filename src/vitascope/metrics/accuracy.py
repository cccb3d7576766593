"""Accuracy of class scores: top-k, per class, mean over classes, confusion; ties always go to the lower class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int, Real
from numpy.typing import ArrayLike, NDArray

from vitascope.core.errors import UserError

Array: TypeAlias = NDArray[Any]


def hits(scores: ArrayLike | Sequence[Array], truth: ArrayLike, k: int = 1) -> Bool[Array, "n"]:
    """Whether the true class is among the k largest scores of each example; of equal scores the lower class wins.

    `scores` is (n, classes), `truth` (n,) class indices.
    ValueError: NaN scores, a truth out of range, k not between 1 and the number of classes.
    """
    table, labels = _checked(scores, truth)
    if not 1 <= k <= table.shape[1]:
        raise UserError(f"top-{k} of {table.shape[1]} classes: k must lie between 1 and the number of classes")
    own = np.take_along_axis(table, labels[:, None], axis=1)
    equal_and_lower = (table == own) & (np.arange(table.shape[1]) < labels[:, None])
    found: Bool[Array, "n"] = ((table > own) | equal_and_lower).sum(axis=1) < k
    return found


def top_k(scores: ArrayLike | Sequence[Array], truth: ArrayLike, k: int = 1) -> float:
    """Percent of examples whose true class is among the k largest scores; see `hits`."""
    return percent(hits(scores, truth, k))


def top_1_and_5(scores: ArrayLike | Sequence[Array], truth: ArrayLike) -> dict[str, float]:
    """What classification probes report: `top-1` and, of more than five classes, `top-5`; percent."""
    table = _scores(scores)
    named = {"top-1": top_k(table, truth)}
    return {**named, "top-5": top_k(table, truth, 5)} if table.shape[1] > 5 else named


def outcomes(scores: ArrayLike | Sequence[Array], truth: ArrayLike) -> list[float]:
    """100 for each example whose class has the largest score, else 0."""
    found: list[float] = (100.0 * hits(scores, truth)).tolist()
    return found


def predicted(scores: ArrayLike | Sequence[Array]) -> Int[Array, "n"]:
    """The class with the largest score of each example, the lowest of equals."""
    best: Int[Array, "n"] = _scores(scores).argmax(axis=1)
    return best


def confusion(scores: ArrayLike | Sequence[Array], truth: ArrayLike) -> Int[Array, "c c"]:
    """How many examples of each true class (row) were taken for each class (column)."""
    table, labels = _checked(scores, truth)
    classes = table.shape[1]
    return np.bincount(labels * classes + table.argmax(axis=1), minlength=classes**2).reshape(classes, classes)


def per_class(scores: ArrayLike | Sequence[Array], truth: ArrayLike) -> Float[Array, "c"]:
    """Top-1 accuracy of each class in percent; NaN for a class without examples."""
    counts = confusion(scores, truth)
    total = counts.sum(axis=1)
    share: Float[Array, "c"] = np.full(len(counts), np.nan)
    np.divide(100.0 * counts.diagonal(), total, out=share, where=total > 0)
    return share


def mean_class(scores: ArrayLike | Sequence[Array], truth: ArrayLike) -> float:
    """Top-1 accuracy averaged over the classes that have examples, percent: every class weighs the same."""
    return float(np.nanmean(per_class(scores, truth)))


def percent(outcomes: ArrayLike) -> float:
    """The share of true outcomes times 100; ValueError when there are none to count."""
    values = np.asarray(outcomes, dtype=np.float64)
    if not values.size:
        raise UserError("no examples to score")
    return float(100.0 * values.mean())


def _scores(scores: ArrayLike | Sequence[Array]) -> Real[Array, "n c"]:
    table = np.asarray(scores)
    if table.ndim != 2 or not table.size:
        raise UserError(f"scores of shape {table.shape}: expected one row an example, one column a class")
    bad = np.flatnonzero(np.isnan(table).any(axis=1))
    if bad.size:
        raise UserError(f"NaN scores for {bad.size} of {len(table)} examples, the first at row {bad[0]}")
    return table


def _checked(scores: ArrayLike | Sequence[Array], truth: ArrayLike) -> tuple[Real[Array, "n c"], Int[Array, "n"]]:
    table, labels = _scores(scores), np.asarray(truth)
    if labels.shape != table.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"truth of shape {labels.shape}, {labels.dtype}: expected {len(table)} class indices")
    bad = np.flatnonzero((labels < 0) | (labels >= table.shape[1]))
    if bad.size:
        raise UserError(f"class {labels[bad[0]]} at row {bad[0]}: the scores know 0 to {table.shape[1] - 1}")
    return table, labels.astype(np.int64)
