"""Linear classifiers of two classes without a random choice: shrinkage LDA, logistic regression, ridge regression."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Classifier: TypeAlias = Literal["lda", "logistic", "ridge"]
LEAST = 1e-9
"""Shrinkage that keeps a covariance invertible where none is estimated."""


class Direction(NamedTuple):
    """A linear decision: `x @ weight + bias` is positive for the second class."""

    weight: Float64[Array, "d"]
    bias: float

    def margins(self, vectors: Float64[Array, "n d"]) -> Float64[Array, "n"]:
        """The signed decision of each vector."""
        margins: Float64[Array, "n"] = vectors @ self.weight + self.bias
        return margins


def fit(vectors: Float64[Array, "n d"], side: Int[Array, "n"], classifier: Classifier) -> Direction:
    """Train a classifier on vectors of two classes, 0 and 1, each of which must occur.

    `lda` is `shrinkage_lda`; `logistic` is logistic regression of scikit-learn on standardized columns (C = 1), both
    classes weighing the same; `ridge` is scikit-learn's RidgeClassifier as it comes, on the vectors as they are.
    """
    if classifier == "lda":
        return shrinkage_lda(vectors, side)
    from sklearn.linear_model import LogisticRegression, RidgeClassifier

    if classifier == "ridge":
        fitted = RidgeClassifier().fit(vectors, side)
        return Direction(fitted.coef_.ravel(), float(np.ravel(fitted.intercept_)[0]))
    center, scale = vectors.mean(axis=0), _scale(vectors)
    fitted = LogisticRegression(class_weight="balanced", max_iter=10_000).fit((vectors - center) / scale, side)
    weight = fitted.coef_[0] / scale
    return Direction(weight, float(fitted.intercept_[0] - center @ weight))


def shrinkage_lda(vectors: Float64[Array, "n d"], side: Int[Array, "n"]) -> Direction:
    """Linear discriminant analysis with the covariance of Ledoit and Wolf, and equal prior probabilities.

    Columns are standardized, the covariance is that within the classes, pooled. With S the covariance, s the shrinkage
    and m the mean variance, the weights solve ((1 - s) S + s m I) w = the difference of the class means; with more
    columns than vectors by Woodbury's identity, so that no matrix of d x d is made.
    """
    scale = _scale(vectors)
    means = np.stack([vectors[side == k].mean(axis=0) for k in (0, 1)])
    within = (vectors - means[side]) / scale
    count, dim = within.shape
    shrinkage, variance = ledoit_wolf(within)
    ridge, gap = max(shrinkage, LEAST) * variance, (means[1] - means[0]) / scale
    if not variance:  # all vectors of a class are equal: their difference alone tells them apart
        weight = gap
    elif dim <= count:
        covariance = (1 - shrinkage) * (within.T @ within) / count
        weight = np.linalg.solve(covariance + ridge * np.eye(dim), gap)
    else:
        part = (1 - shrinkage) / count
        inner = ridge * np.eye(count) + part * (within @ within.T)
        weight = (gap - part * (within.T @ np.linalg.solve(inner, within @ gap))) / ridge
    weight = weight / scale
    return Direction(weight, float(-means.mean(axis=0) @ weight))


def ledoit_wolf(centered: Float64[Array, "n d"]) -> tuple[float, float]:
    """The shrinkage of a covariance towards the mean variance times the identity, 0 to 1, and the mean variance.

    Ledoit and Wolf (Journal of Multivariate Analysis 88, 2004), from the smaller one of the two Gram matrices.
    """
    count, dim = centered.shape
    variance = float(np.square(centered).sum()) / (count * dim)
    gram = centered @ centered.T if count < dim else centered.T @ centered
    squares = float(np.square(gram).sum()) / count**2
    fourth = float(np.square(np.square(centered).sum(axis=1)).sum())
    spread = (squares - dim * variance**2) / dim
    error = (fourth / count - squares) / (dim * count)
    return (min(error, spread) / spread if spread > 0 else 1.0), variance


def _scale(vectors: Float64[Array, "n d"]) -> Float64[Array, "d"]:
    """Standard deviation of every column, 1 for constant ones."""
    deviation = vectors.std(axis=0)
    scale: Float64[Array, "d"] = np.where(deviation > 1e-12 * np.abs(vectors).max(initial=1.0), deviation, 1.0)
    return scale
