"""Accuracy of telling two opposite classes apart, averaged over pairs of them, such as up and down.

Of each pair the balanced accuracy counts, the mean of the accuracies on its two sides: always answering one of them
scores 50 however unequal they are. Examples may be in several pairs.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import sqrt
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray

from vitascope.core.types import Score
from vitascope.metrics.stats import codes, resampled, wilson

Array: TypeAlias = NDArray[Any]
FULL, CHANCE = 100.0, 50.0
HEADLINE, PLAIN, AUC = "pair accuracy", "accuracy", "AUC"
"""Mean over pairs of the balanced accuracy, of the share of correct examples, and of the area under the ROC curve."""


class PairMargins(NamedTuple):
    """A test example in its pairs: their indices, its true side (0 or 1), and the margin: positive for side 1."""

    pairs: tuple[int, ...] = ()
    sides: tuple[int, ...] = ()
    margins: tuple[float, ...] = ()

    @property
    def correct(self) -> list[float]:
        """1 for each pair in which the sign of the margin is right, 0.5 if the margin is zero."""
        return [0.5 if m == 0 else float((m > 0) == bool(s)) for s, m in zip(self.sides, self.margins, strict=True)]


class PairScores:
    """Scores of examples resampled in `units`, by how often each unit occurs."""

    def __init__(self, examples: Sequence[PairMargins], unit: Int[Array, "n"] | None = None) -> None:
        rows = [(i, *one) for i, e in enumerate(examples) for one in zip(e.pairs, e.sides, e.correct, strict=True)]
        self.pairs = sorted({int(pair) for _, pair, _, _ in rows})
        """The pairs that have an example."""
        unit = np.arange(len(examples)) if unit is None else unit
        shape = (int(unit.max(initial=-1)) + 1, 2, len(self.pairs))
        self.correct, self.count = np.zeros(shape), np.zeros(shape)
        """Of each unit, side and pair, the sum of correct and of all examples."""
        if rows:
            example, pair, side, correct = (np.array(column) for column in zip(*rows, strict=True))
            place = unit[example], side, np.searchsorted(self.pairs, pair)
            np.add.at(self.correct, place, correct)
            np.add.at(self.count, place, 1.0)

    def by_side(self, weights: Array) -> tuple[Float64[Array, "b s p"], Float64[Array, "b s p"]]:
        """Correct and all examples of each side of every pair, with each unit repeated `weights` times (b x units)."""
        flat = (part.reshape(len(part), -1) for part in (self.correct, self.count))
        correct, count = ((weights @ part).reshape(-1, 2, len(self.pairs)) for part in flat)
        return correct, count

    def balanced(self, weights: Array) -> Float64[Array, "b p"]:
        """Balanced accuracy of every pair, percent; NaN where a side has no example."""
        correct, count = self.by_side(weights)
        with np.errstate(invalid="ignore"):
            accuracy: Float64[Array, "b p"] = FULL * (correct / count).mean(axis=1)
        return accuracy

    def means(self, weights: Array) -> Float64[Array, "b k"]:
        """Mean over pairs of the balanced accuracy and of the accuracy, percent; over those that have both sides."""
        correct, count = self.by_side(weights)
        with np.errstate(invalid="ignore"):
            plain = np.where((count > 0).all(axis=1), FULL * correct.sum(axis=1) / count.sum(axis=1), np.nan)
        return np.stack([_mean(self.balanced(weights)), _mean(plain)], axis=1)


def _mean(values: Float64[Array, "b p"]) -> Float64[Array, "b"]:
    """Mean of the values that are not NaN; NaN of none."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Float64[Array, "b"] = np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1)
    return mean


def summary(examples: Sequence[PairMargins]) -> dict[str, float]:
    """The three scores in percent; NaN if no pair has examples of both sides."""
    means = PairScores(examples).means(np.ones((1, len(examples))))[0].tolist()
    areas = [area for area in auc(examples).values() if not np.isnan(area)]
    return {HEADLINE: means[0], PLAIN: means[1], AUC: float(np.mean(areas)) if areas else float("nan")}


def auc(examples: Sequence[PairMargins]) -> dict[int, float]:
    """Area under the ROC curve of the margins of every pair, percent; NaN if a side has no example."""
    margins: dict[int, tuple[list[float], list[float]]] = {}
    for example in examples:
        for pair, side, margin in zip(*example, strict=True):
            margins.setdefault(pair, ([], []))[side].append(margin)
    return {pair: _area(*map(np.sort, sides)) for pair, sides in sorted(margins.items())}


def _area(first: Float64[Array, "n"], second: Float64[Array, "m"]) -> float:
    """Share of the pairs of a margin of each side of which the second is larger, equal ones by half; percent."""
    if not len(first) or not len(second):
        return float("nan")
    below = np.searchsorted(first, second, "left") + np.searchsorted(first, second, "right")
    return float(FULL * below.mean() / (2 * len(first)))


def bootstrap(
    examples: Sequence[PairMargins], groups: Sequence[Hashable], rng: np.random.Generator
) -> tuple[dict[str, Score], dict[int, Score]]:
    """The three scores and the balanced accuracy of each pair with both sides; intervals resample whole groups."""
    code = codes(groups, len(examples))
    scores = PairScores(examples, code)
    means = resampled(scores.means, len(scores.count), rng=rng)
    by_pair = {pair: _of_pair(scores, place, rng) for place, pair in enumerate(scores.pairs)}
    known = {pair: score for pair, score in by_pair.items() if not np.isnan(score.value)}
    return {HEADLINE: means[0], PLAIN: means[1], AUC: Score(summary(examples)[AUC])}, known


def _of_pair(scores: PairScores, place: int, rng: np.random.Generator) -> Score:
    """The balanced accuracy of one pair, resampling the units with examples of it.

    The interval is never narrower than that of two independent proportions: Wilson's of each, combined in squares
    (Zou and Donner, Statistics in Medicine 27, 2008).
    """
    units = np.flatnonzero(scores.count[:, :, place].any(axis=1))
    correct, count = (part[units][:, :, place] for part in (scores.correct, scores.count))

    def balanced(weights: Array) -> Float64[Array, "b 1"]:
        with np.errstate(invalid="ignore"):
            accuracy: Float64[Array, "b 1"] = FULL * (weights @ correct / (weights @ count)).mean(1, keepdims=True)
        return accuracy

    (score,) = resampled(balanced, len(units), rng=rng)
    if score.low is None or score.high is None:
        return score
    shares, n = correct.sum(axis=0) / count.sum(axis=0), count.sum(axis=0)
    ends = [wilson(float(share), round(float(size))) for share, size in zip(shares, n, strict=True)]
    below, above = (
        FULL / 2 * sqrt(sum((share - end[side]) ** 2 for share, end in zip(shares, ends, strict=True)))
        for side in (0, 1)
    )
    value = score.value
    return Score(value, max(min(score.low, value - below), 0.0), min(max(score.high, value + above), FULL))
