"""How often the versions of test examples get the right one of their scores, in every relabeling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Int8
from numpy import ndarray

from vitascope.probes.direction.classifiers import ROWS, Classifier, orders
from vitascope.probes.direction.vectors import VersionVectors, cosines

UNITS = 36
"""A whole outcome; ties share it among two or three versions without a rest."""


class VersionScores(NamedTuple):
    """What a classifier says of the versions of one test example."""

    scores: Float64[ndarray, "v v"]
    """The score of each version (row) for being each version (column)."""
    outcomes: Int8[ndarray, "b"]
    """How many of `UNITS` are right, for the actual labels, and for each relabeling."""
    cosine: float
    """Cosine of the first version with the others."""
    tied: bool
    """Whether all versions have the same vector."""

    @property
    def outcome(self) -> float:
        """Percent of the versions that score highest, of all versions of the video, as what they are."""
        return 100 * float(self.outcomes[0]) / UNITS


def apply(classifier: Classifier, test: VersionVectors, labels: Int[ndarray, "n b"]) -> list[VersionScores]:
    """The scores of every example of `test`, relabeled as by `labels`."""
    draws, versions, size = classifier.weights.shape
    matrix = classifier.weights.reshape(-1, size).T
    same, found = cosines(test), []
    for start in range(0, len(test.values), ROWS):
        part = slice(start, start + ROWS)
        scores = (test.values[part].astype(np.float64) @ matrix).reshape(-1, versions, draws, versions)
        scores += classifier.offsets
        scores[test.tied[part]] = scores[test.tied[part]].mean(axis=1, keepdims=True)
        right = _right(scores, test.tied[part], labels[part])
        found += [
            VersionScores(scores[i, :, 0], right[i], float(same[start + i]), bool(test.tied[start + i]))
            for i in range(len(scores))
        ]
    return found


def _right(
    scores: Float64[ndarray, "n v b w"], tied: Bool[ndarray, "n"], labels: Int[ndarray, "n b"]
) -> Int8[ndarray, "n b"]:
    """How many of `UNITS` are right: a version that scores highest, of all versions of its video, as its label."""
    versions = scores.shape[1]
    highest = scores == scores.max(axis=1, keepdims=True)
    shares = UNITS // versions * highest / highest.sum(axis=1, keepdims=True)
    chosen = orders(versions)[labels].transpose(0, 2, 1)
    found = np.zeros(labels.shape)
    for label in range(versions):
        found += np.take_along_axis(shares[..., label], chosen[:, label][:, None], axis=1)[:, 0]
    found[tied] = UNITS // versions
    return np.round(found).astype(np.int8)
