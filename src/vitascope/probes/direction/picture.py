"""The LDA picture of the TWLV-I report: points on the axis of an analysis that was fitted to the same points.

It separates noise. The accuracy on the drawn points stands beside that on Gaussian noise of the same shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from vitascope.probes.direction.vectors import VersionVectors

POINTS = 300
"""Most videos that are drawn."""
SEED = 0


def picture(train: VersionVectors, test: VersionVectors) -> dict[str, Any]:
    """Points in two dimensions, and accuracies on them and on noise, as plain data.

    The first dimension is the axis of linear discriminant analysis without shrinkage, which is all that there is for
    two versions; the second, that the points do not lie on each other, is the first principal component of the rest.
    """
    values = np.concatenate([train.values, test.values]).astype(np.float64)
    noise = np.random.default_rng(SEED).standard_normal(values.shape)
    drawn, accuracy = _drawn(values)
    shown = np.linspace(0, len(values) - 1, min(POINTS, len(values))).astype(int)
    return {
        "points": np.round(drawn[shown], 3).tolist(),
        "accuracy": accuracy,
        "noise": _drawn(noise)[1],
        "videos": len(values),
        "size": values.shape[2],
    }


def _drawn(values: Float64[ndarray, "n v p"]) -> tuple[Float64[ndarray, "n v 2"], float]:
    """The points of every version of every video, in standard deviations, and the accuracy on them in percent."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    count, versions, size = values.shape
    rows, labels = values.reshape(-1, size), np.tile(np.arange(versions), count)
    if not np.ptp(rows, axis=0).any() or np.array_equal(values[:, 0], values[:, -1]):
        return np.zeros((count, versions, 2)), 100 / versions
    analysis = LinearDiscriminantAnalysis().fit(rows, labels)
    across = np.asarray(analysis.transform(rows)[:, 0])
    drawn = np.stack([across, _rest(rows, across)], axis=1)
    drawn /= np.maximum(drawn.std(axis=0), 1e-12)
    return drawn.reshape(count, versions, 2), 100 * float(analysis.score(rows, labels))


def _rest(rows: Float64[ndarray, "m p"], across: Float64[ndarray, "m"]) -> Float64[ndarray, "m"]:
    """The first principal component of what a regression on `across` leaves of the vectors."""
    centered = rows - rows.mean(axis=0)
    axis = across - across.mean()
    left = centered - np.outer(axis, axis @ centered / max(float(axis @ axis), 1e-300))
    component: Float64[ndarray, "m"] = left @ np.linalg.eigh(left.T @ left)[1][:, -1]
    return component


def separable(count: int, size: int, seed: int = SEED) -> float:
    """Accuracy in percent that the picture has on Gaussian noise of `count` videos of `size` numbers."""
    return _drawn(np.random.default_rng(seed).standard_normal((count, 2, size)))[1]
