"""Linear classifiers of versions, fitted to the actual labels and to random relabelings of whole groups at once.

A relabeling moves vectors between versions within examples, so all vectors together stay the same, and with them mean,
covariance and shrinkage: one factorization serves every relabeling.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int
from numpy import ndarray
from scipy.linalg import cho_factor, cho_solve

from vitascope.core.errors import UserError

ROWS = 1024
"""Examples read at a time."""
LEAST = 1e-6
"""Smallest shrinkage, so that constant features are no obstacle."""
STEPS, TOLERANCE = 1000, 1e-6
"""Most steps of logistic regression, and the largest change of a logit's weight at which it ends."""


class Classifier(NamedTuple):
    """Scores `weights` x + `offsets` of every version, for each relabeling, the actual labels first."""

    weights: Float64[ndarray, "b v p"]
    offsets: Float64[ndarray, "b v"]


class Scaled(NamedTuple):
    """Vectors without their mean, over their standard deviation by feature; and the covariance of these."""

    center: Float64[ndarray, "p"]
    scale: Float64[ndarray, "p"]
    covariance: Float64[ndarray, "p p"]
    shrinkage: float
    """Ledoit and Wolf's weight of the identity."""


def orders(versions: int) -> Int[ndarray, "o v"]:
    """All orders of so many versions; the first is the actual one."""
    return np.array(list(permutations(range(versions))))


def lda(values: ndarray, labels: Int[ndarray, "n b"]) -> Classifier:
    """Linear discriminant analysis of vectors (n x v x p) with shrinkage, in each relabeling.

    The covariance within versions is what standardized vectors have in total, shrunk towards the identity (Ledoit and
    Wolf, Journal of Multivariate Analysis 88, 2004, an example with all its versions as one observation), less what
    the means of the versions add to it. Features are standardized by their total standard deviation.
    """
    scaled = standardize(values)
    keep = 1 - scaled.shrinkage
    total = keep * scaled.covariance
    total[np.diag_indices_from(total)] += scaled.shrinkage * np.trace(scaled.covariance) / len(total)
    means = _means(values, labels, scaled)
    solved = _solve(total, means)
    # the inverse without the part between versions, which has their number as rank (Woodbury)
    gram = np.einsum("bvp,bwp->bvw", means, solved) * (keep / means.shape[1])
    within = np.linalg.solve(np.eye(means.shape[1]) - gram, solved)
    offsets = -np.einsum("bvp,bvp->bv", means, within) / 2
    return _unscaled(within, offsets, scaled)


def _solve(matrix: Float64[ndarray, "p p"], means: Float64[ndarray, "b v p"]) -> Float64[ndarray, "b v p"]:
    try:
        factor = cho_factor(matrix, lower=True)
    except np.linalg.LinAlgError:
        raise UserError("the training vectors are all equal; nothing tells their versions apart") from None
    solved: Float64[ndarray, "b v p"] = cho_solve(factor, means.reshape(-1, means.shape[2]).T).T.reshape(means.shape)
    return solved


def standardize(values: ndarray) -> Scaled:
    """Mean, standard deviation, covariance and shrinkage of vectors (n x v x p)."""
    count, versions, size = values.shape
    center = sum(part.sum(axis=(0, 1), dtype=np.float64) for part in _parts(values)) / (count * versions)
    square = sum(((part - center) ** 2).sum(axis=(0, 1)) for part in _parts(values)) / (count * versions)
    scale = np.sqrt(square)
    scale[scale <= 1e-12 * max(float(np.abs(center).max()), 1e-300)] = 1.0
    covariance, fourth = np.zeros((size, size)), 0.0
    for part in _parts(values):
        rows = (part - center) / scale
        flat = rows.reshape(-1, size)
        covariance += flat.T @ flat
        fourth += float((np.einsum("nvp,nwp->nvw", rows, rows) ** 2).sum())
    covariance /= count * versions
    return Scaled(center, scale, covariance, _shrinkage(covariance, fourth / versions**2, count))


def _shrinkage(covariance: Float64[ndarray, "p p"], fourth: float, count: int) -> float:
    """Ledoit and Wolf's shrinkage; `fourth` is the sum of the squared norms of the covariances of single examples."""
    size, trace, norm = len(covariance), float(np.trace(covariance)), float((covariance**2).sum())
    distance = norm - trace**2 / size
    error = (fourth / count - norm) / count
    return max(min(error / distance, 1.0), LEAST) if distance > 0 else 1.0


def _parts(values: ndarray) -> Iterator[ndarray]:
    for start in range(0, len(values), ROWS):
        yield values[start : start + ROWS].astype(np.float64)


def _means(values: ndarray, labels: Int[ndarray, "n b"], scaled: Scaled) -> Float64[ndarray, "b v p"]:
    """The mean of the standardized vectors that are labeled with each version, in each relabeling."""
    count, versions, size = values.shape
    sums = np.zeros((labels.shape[1] * versions, size))
    for start in range(0, count, ROWS):
        part = (values[start : start + ROWS] - scaled.center) / scaled.scale
        sums += _indicator(labels[start : start + ROWS], versions) @ part.reshape(-1, size)
    means: Float64[ndarray, "b v p"] = sums.reshape(-1, versions, size) / count
    return means


def _indicator(labels: Int[ndarray, "n b"], versions: int) -> Float64[ndarray, "bv nv"]:
    """Whether (relabeling, label) is that of (example, version)."""
    chosen = orders(versions)[labels]
    shown = chosen[..., None] == np.arange(versions)
    matrix: Float64[ndarray, "bv nv"] = (
        shown.transpose(1, 2, 0, 3).reshape(labels.shape[1] * versions, -1).astype(np.float64)
    )
    return matrix


def _unscaled(weights: Float64[ndarray, "b v p"], offsets: Float64[ndarray, "b v"], scaled: Scaled) -> Classifier:
    plain = weights / scaled.scale
    return Classifier(plain, offsets - plain @ scaled.center)


def logistic(values: ndarray, labels: Int[ndarray, "n b"], c: float) -> Classifier:
    """Softmax regression on standardized vectors (n x v x p) in each relabeling.

    Minimizes the sum of cross-entropies + |weights|² / (2 c), as scikit-learn's does; of two versions only the
    difference has weights there, which doubles the penalty of each. Offsets are not penalized. Steps are those of
    Böhning (Annals of the Institute of Statistical Mathematics 44, 1992): Newton's with a bound of the Hessian in
    place of it, which every relabeling shares.
    """
    scaled = standardize(values)
    rows = ((values - scaled.center) / scaled.scale).reshape(-1, values.shape[2])
    rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    versions, draws = values.shape[1], labels.shape[1]
    penalty = np.append(np.full(values.shape[2], (2 if versions == 2 else 1) / c), 1e-9)
    target = _indicator(labels, versions).T
    factor = cho_factor(rows.T @ rows / 2 + np.diag(penalty))
    weights = np.zeros((rows.shape[1], draws * versions))
    for _ in range(STEPS):
        gradient = rows.T @ (_softmax(rows @ weights, versions) - target) + penalty[:, None] * weights
        step = cho_solve(factor, gradient)
        weights -= step
        if float(np.abs(step).max(initial=0.0)) < TOLERANCE:
            break
    each = weights.T.reshape(draws, versions, -1)
    return _unscaled(each[..., :-1], each[..., -1], scaled)


def _softmax(logits: Float64[ndarray, "n bv"], versions: int) -> Float64[ndarray, "n bv"]:
    each = logits.reshape(len(logits), -1, versions)
    each = np.exp(each - each.max(axis=2, keepdims=True))
    shares: Float64[ndarray, "n bv"] = (each / each.sum(axis=2, keepdims=True)).reshape(logits.shape)
    return shares
