"""Average precision of class scores where an example belongs to any number of classes (multi-label)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real
from numpy.typing import ArrayLike, NDArray

from vitascope.core.errors import UserError
from vitascope.core.types import Score
from vitascope.metrics.stats import codes, resampled

Array: TypeAlias = NDArray[Any]
Labels: TypeAlias = Sequence[Sequence[int]]
FULL = 100.0
DRAWS, FEWEST_DRAWS = 2000, 200
WORK = 2e9
"""Examples times classes times draws up to which all `DRAWS` are drawn; of larger test sets proportionally fewer."""
NAMES = ("mAP", "weighted mAP", "hit@1")


class RankedClass(NamedTuple):
    """The test examples in descending order of the score of a class, down to the last positive and its equals.

    They are cut into runs; the positives of a run have equal scores and stand, with their equals, at its end.
    """

    order: Int[Array, "m"]
    positive: Bool[Array, "m"]
    """Whether the example at each place is positive."""
    starts: Int[Array, "runs"]
    """First place of each run."""


def multi_hot(labels: Labels, classes: int) -> Bool[Array, "n c"]:
    """Which classes each example belongs to; UserError for a class out of range."""
    table = np.zeros((len(labels), classes), bool)
    rows = np.repeat(np.arange(len(labels)), [len(own) for own in labels])
    columns = np.array([label for own in labels for label in own], np.int64)
    outside = (columns < 0) | (columns >= classes)
    if outside.any():
        place = f"class {columns[outside][0]} at row {rows[outside][0]}"
        raise UserError(f"{place}: the scores have classes 0 to {classes - 1}")
    table[rows, columns] = True
    return table


def ranked(scores: ArrayLike | Sequence[Array], labels: Labels) -> dict[int, RankedClass]:
    """The ranking of the examples by each class that has a positive, by class; `scores` is (n, classes).

    Raises UserError for NaN scores, a class out of range, and if no example has a label.
    """
    table = np.asarray(scores)
    if table.ndim != 2 or not table.size or len(table) != len(labels):
        raise UserError(f"scores of shape {table.shape}: expected {len(labels)} rows and one column per class")
    if (bad := np.flatnonzero(np.isnan(table).any(axis=1))).size:
        raise UserError(f"NaN scores for {bad.size} of {len(table)} examples, the first at row {bad[0]}")
    truth = multi_hot(labels, table.shape[1])
    if not truth.any():
        raise UserError(f"none of {len(table)} test examples has a label, so nothing can be scored")
    return {c: _rank(table[:, c], truth[:, c]) for c in np.flatnonzero(truth.any(axis=0)).tolist()}


def _rank(scores: Float[Array, "n"], positive: Bool[Array, "n"]) -> RankedClass:
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(order) - 1)
    ends = last[np.diff(np.cumsum(positive[order])[last], prepend=0) > 0] + 1
    return RankedClass(order[: ends[-1]], positive[order[: ends[-1]]], np.append(0, ends[:-1]))


def average_precision(one: RankedClass, weights: Real[Array, "b n"]) -> Float64[Array, "b"]:
    """AP in percent, with each example repeated `weights` times; NaN without a positive.

    The sum over the thresholds of the precision at a threshold times the recall gained there, without interpolation;
    equal scores share a threshold. This is scikit-learn's definition and, where no scores are equal, that of Charades.
    """
    ordered = weights[:, one.order]
    gained = np.add.reduceat(ordered * one.positive, one.starts, axis=1)
    found = np.cumsum(gained, axis=1)
    retrieved = np.cumsum(np.add.reduceat(ordered, one.starts, axis=1), axis=1)
    precision = np.divide(found, retrieved, out=np.zeros(found.shape), where=retrieved > 0)
    with np.errstate(invalid="ignore"):
        ap: Float64[Array, "b"] = FULL * (gained * precision).sum(axis=1) / found[:, -1]
    return ap


def summary(scores: ArrayLike | Sequence[Array], labels: Labels) -> dict[str, float]:
    """The scores of `NAMES` in percent.

    `mAP` is the mean AP of the classes with a positive, `weighted mAP` their mean weighted by the number of positives,
    `hit@1` the share of the examples with a label whose highest score is one of theirs.
    """
    values = MultilabelScores(scores, labels)(np.ones((1, len(labels))))[0].tolist()
    return dict(zip(NAMES, values[: len(NAMES)], strict=True))


def chance(labels: Labels) -> float:
    """mAP of equal scores for all examples, percent: the mean share of positives of the classes that have any."""
    counts = np.bincount(np.array([label for own in labels for label in own], np.int64))
    return float(FULL * counts[counts > 0].mean() / len(labels))


def draws_of(examples: int, classes: int) -> int:
    """The number of bootstrap draws of a test set."""
    return int(min(DRAWS, max(FEWEST_DRAWS, WORK / (examples * classes))))


def bootstrap(
    scores: ArrayLike | Sequence[Array],
    labels: Labels,
    groups: Sequence[Hashable] | None = None,
    *,
    rng: np.random.Generator,
) -> tuple[dict[str, Score], dict[int, Score]]:
    """The scores of `summary`, and the AP of each class that has a positive, with 95 % intervals over groups.

    A class counts in a resample only if it has a positive there.
    """
    statistic, code = MultilabelScores(scores, labels), codes(groups, len(labels))
    draws = draws_of(len(labels), len(statistic.classes))
    each = resampled(lambda weights: statistic(weights[:, code]), int(code.max()) + 1, draws=draws, rng=rng)
    return dict(zip(NAMES, each[: len(NAMES)], strict=True)), dict(
        zip(statistic.classes, each[len(NAMES) :], strict=True)
    )


class MultilabelScores:
    """The scores of `NAMES`, then the AP of each class, of examples that are repeated."""

    def __init__(self, scores: ArrayLike | Sequence[Array], labels: Labels) -> None:
        self.classes = ranked(scores, labels)
        table = np.asarray(scores)
        truth = multi_hot(labels, table.shape[1])
        self.labeled = truth.any(axis=1).astype(float)
        self.hit = truth[np.arange(len(table)), table.argmax(axis=1)].astype(float)
        self.positive = truth[:, list(self.classes)].astype(float)

    def __call__(self, weights: Real[Array, "b n"]) -> Float64[Array, "b k"]:
        weights = weights.astype(np.float64)
        each = np.stack([average_precision(one, weights) for one in self.classes.values()], axis=1)
        counts = weights @ self.positive
        with np.errstate(invalid="ignore", divide="ignore"):
            hits = FULL * (weights @ self.hit) / (weights @ self.labeled)
            mean = np.where(counts > 0, each, 0).sum(axis=1) / (counts > 0).sum(axis=1)
            weighted = np.where(counts > 0, counts * each, 0).sum(axis=1) / counts.sum(axis=1)
        return np.column_stack([mean, weighted, hits, each])
