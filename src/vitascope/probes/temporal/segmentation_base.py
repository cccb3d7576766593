"""What segmentation probes share: how the classes of frames are scored, and what is kept of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from vitascope.core.types import Kind, Score, Timeline
from vitascope.metrics import prediction_columns, segmental
from vitascope.metrics.stats import codes, resampled
from vitascope.probes.base import ScoredPredictions, TestPredictions

Array: TypeAlias = NDArray[Any]


class TemporalSegmentation:
    """A probe whose predictions are the class of every frame of a video."""

    kind: ClassVar[Kind] = "segmentation"
    nothing: ClassVar[Int64[Array, "_"]] = np.empty(0, np.int64)
    style: segmental.Style
    """How edit score and F1 are counted."""
    background: tuple[int, ...]
    """Classes whose stretches are no segments."""

    def score(self, predictions: Sequence[Array], truth: Sequence[Timeline]) -> dict[str, float]:
        """Percent: the mean of F1 at three overlaps, then frame accuracy, edit score and each F1."""
        every = segmental.scores(self.counts(predictions, truth))
        return {"mF1": every["mF1"], **every}

    def outcomes(self, predictions: Sequence[Array], truth: Sequence[Timeline]) -> list[float]:
        """mF1 of each video alone: to find failures by; their mean is not the mF1 of all, whose segments are pooled."""
        each = self.counts(predictions, truth)
        alone = segmental.pooled(each, np.eye(len(truth), dtype=np.int64))
        return [float(v) for v in alone[:, each.names.index("mF1")]]

    def counts(self, predictions: Sequence[Array], truth: Sequence[Timeline]) -> segmental.Counts:
        """What each video adds to the scores: sums of these over any videos are the scores of those."""
        said = [p if len(p) else None for p in predictions]
        return segmental.counts(said, [t.labels for t in truth], style=self.style, background=self.background)

    def judge(self, asked: TestPredictions, rng: np.random.Generator) -> ScoredPredictions:
        """Scores of each fold averaged over folds, with intervals over videos, and accuracy class by class."""
        truth = [e.truth for e in asked.examples]
        each = self.counts(asked.predictions, truth)
        folds = np.array(asked.folds, np.int64)
        found = segmental.bootstrap(each, folds, groups=asked.groups, rng=rng)
        return ScoredPredictions(
            {"mF1": found["mF1"], **found},
            by_class(asked, truth, np.random.default_rng(rng.integers(2**32))),
            {**asked.columns, **prediction_columns.of_labels(asked.predictions, truth)},
        )


def by_class(asked: TestPredictions, truth: Sequence[Timeline], rng: np.random.Generator) -> dict[str, Score]:
    """Of the frames of each class the share that is labeled right, percent, with an interval over videos."""
    count = len(asked.classes)
    asked_of, right = (np.zeros((len(truth), count), np.int64) for _ in range(2))
    for i, (said, timeline) in enumerate(zip(asked.predictions, truth, strict=True)):
        real = timeline.labels
        shared = min(len(said), len(real))
        asked_of[i] = np.bincount(real, minlength=count)
        right[i] = np.bincount(real[:shared][said[:shared] == real[:shared]], minlength=count)
    there = np.flatnonzero(asked_of.any(axis=0))
    code = codes(asked.groups, len(truth))

    def drawn(weights: Int64[Array, "b u"]) -> Float64[Array, "b k"]:
        times = weights[:, code]
        asked_for = times @ asked_of[:, there]
        shares: Float64[Array, "b k"] = np.full(asked_for.shape, np.nan)
        np.divide(100.0 * (times @ right[:, there]), asked_for, out=shares, where=asked_for > 0)
        return shares

    found = resampled(drawn, int(code.max()) + 1, rng=rng)
    return {asked.classes[c]: score for c, score in zip(there.tolist(), found, strict=True)}
