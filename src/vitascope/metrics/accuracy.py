"""Top-k accuracy of class scores. Ties go to the class with the lower index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Int, Real
from numpy.typing import ArrayLike, NDArray

from vitascope.core.errors import UserError

Array: TypeAlias = NDArray[Any]


def hits(scores: ArrayLike | Sequence[Array], truth: ArrayLike, k: int = 1) -> Bool[Array, "n"]:
    """True for each example whose class is among its k largest scores; ties go to the lower class.

    `scores` is (n, classes), `truth` (n,) class indices. Raises UserError for NaN scores, a class index out of range
    or `k` outside 1 to the number of classes.
    """
    table, labels = _checked(scores, truth)
    if not 1 <= k <= table.shape[1]:
        raise UserError(f"top-{k} accuracy of {table.shape[1]} classes: k must be between 1 and the number of classes")
    own = np.take_along_axis(table, labels[:, None], axis=1)
    equal_and_lower = (table == own) & (np.arange(table.shape[1]) < labels[:, None])
    correct: Bool[Array, "n"] = ((table > own) | equal_and_lower).sum(axis=1) < k
    return correct


def top_k(scores: ArrayLike | Sequence[Array], truth: ArrayLike, k: int = 1) -> float:
    """Top-k accuracy in percent; see `hits`."""
    return percent(hits(scores, truth, k))


def summary(scores: ArrayLike | Sequence[Array], truth: ArrayLike) -> dict[str, float]:
    """`top-1` accuracy, with more than five classes `top-5`, and `mean class accuracy`, in percent."""
    table = _scores(scores)
    top_5 = {"top-5": top_k(table, truth, 5)} if table.shape[1] > 5 else {}
    return {"top-1": top_k(table, truth), **top_5, "mean class accuracy": mean_class(table, truth)}


def mean_class(scores: ArrayLike | Sequence[Array], truth: ArrayLike) -> float:
    """Mean over the classes in `truth` of the top-1 accuracy of their examples, in percent; all classes count alike."""
    correct, labels = hits(scores, truth), np.asarray(truth)
    counts = np.bincount(labels)
    return percent(np.bincount(labels, correct)[counts > 0] / counts[counts > 0])


def outcomes(scores: ArrayLike | Sequence[Array], truth: ArrayLike) -> list[float]:
    """Top-1 accuracy of each example: 100 if correct, else 0."""
    values: list[float] = (100.0 * hits(scores, truth)).tolist()
    return values


def percent(outcomes: ArrayLike) -> float:
    """Mean of 0/1 outcomes in percent; raises UserError if there are none."""
    values = np.asarray(outcomes, dtype=np.float64)
    if not values.size:
        raise UserError("no examples to score")
    return float(100.0 * values.mean())


def _scores(scores: ArrayLike | Sequence[Array]) -> Real[Array, "n c"]:
    table = np.asarray(scores)
    if table.ndim != 2 or not table.size:
        raise UserError(f"scores of shape {table.shape}: expected one row per example and one column per class")
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
        raise UserError(f"class {labels[bad[0]]} at row {bad[0]}: the scores have classes 0 to {table.shape[1] - 1}")
    return table, labels.astype(np.int64)
