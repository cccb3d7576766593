"""Shared by segmentation probes: scoring of frame labels, and the columns kept per video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from vitascope.core.types import Kind, Score, Timeline
from vitascope.metrics import prediction_columns, segmental
from vitascope.metrics.stats import codes, resampled
from vitascope.probes.base import JointlyScored, ScoredPredictions, TestPredictions

Array: TypeAlias = NDArray[Any]


class TemporalSegmentation(JointlyScored[Timeline, Array]):
    """A probe that predicts the class of every frame of a video."""

    kind: ClassVar[Kind] = "segmentation"
    missing_prediction: ClassVar[Int64[Array, "_"]] = np.empty(0, np.int64)
    style: segmental.Style
    """How edit score and F1 are counted."""
    background: tuple[int, ...]
    """Background classes, whose runs are not segments."""

    def score(self, predictions: Sequence[Array], truth: Sequence[Timeline]) -> dict[str, float]:
        """Return mean F1 over three overlaps, then frame accuracy, edit score and each F1, in percent."""
        every = segmental.scores(self.counts(predictions, truth))
        return {"mF1": every["mF1"], **every}

    def outcomes(self, predictions: Sequence[Array], truth: Sequence[Timeline]) -> list[float]:
        """Return the mF1 of each video, to find failures; their mean is not the mF1 of all, which pools segments."""
        each = self.counts(predictions, truth)
        alone = segmental.pooled(each, np.eye(len(truth), dtype=np.int64))
        return [float(v) for v in alone[:, each.names.index("mF1")]]

    def counts(self, predictions: Sequence[Array], truth: Sequence[Timeline]) -> segmental.Counts:
        """Return the counts of each video; scores of any set of videos follow from their sums."""
        labels = [p if len(p) else None for p in predictions]
        return segmental.counts(labels, [t.labels for t in truth], style=self.style, background=self.background)

    def score_predictions(self, test: TestPredictions, rng: np.random.Generator) -> ScoredPredictions:
        """Return scores averaged over folds, with intervals over videos, and accuracy per class."""
        truth = [e.truth for e in test.examples]
        counts = self.counts(test.predictions, truth)
        folds = np.array(test.folds, np.int64)
        scores = segmental.bootstrap(counts, folds, groups=test.groups, rng=rng)
        return ScoredPredictions(
            {"mF1": scores["mF1"], **scores},
            accuracy_by_class(test, truth, np.random.default_rng(rng.integers(2**32))),
            {**test.columns, **prediction_columns.of_labels(test.predictions, truth)},
        )


def accuracy_by_class(test: TestPredictions, truth: Sequence[Timeline], rng: np.random.Generator) -> dict[str, Score]:
    """Return the share of frames of each class labeled correctly, in percent, with an interval over videos."""
    count = len(test.classes)
    totals, correct = (np.zeros((len(truth), count), np.int64) for _ in range(2))
    for i, (predicted, timeline) in enumerate(zip(test.predictions, truth, strict=True)):
        labels = timeline.labels
        shared = min(len(predicted), len(labels))
        totals[i] = np.bincount(labels, minlength=count)
        correct[i] = np.bincount(labels[:shared][predicted[:shared] == labels[:shared]], minlength=count)
    present = np.flatnonzero(totals.any(axis=0))
    code = codes(test.groups, len(truth))

    def drawn(weights: Int64[Array, "b u"]) -> Float64[Array, "b k"]:
        times = weights[:, code]
        total = times @ totals[:, present]
        shares: Float64[Array, "b k"] = np.full(total.shape, np.nan)
        np.divide(100.0 * (times @ correct[:, present]), total, out=shares, where=total > 0)
        return shares

    scores = resampled(drawn, int(code.max()) + 1, rng=rng)
    return {test.classes[c]: score for c, score in zip(present.tolist(), scores, strict=True)}
