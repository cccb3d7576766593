"""Shared by localization probes: scoring of segments, and the columns kept per video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeAlias

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.types import Kind, Segment
from vitascope.metrics import prediction_columns, temporal_ap
from vitascope.metrics.localization_diagnosis import diagnose
from vitascope.metrics.prediction_columns import columns
from vitascope.probes.base import JointlyScored, ScoredPredictions, TestPredictions

Truth: TypeAlias = tuple[Segment, ...]


class TemporalLocalization(JointlyScored[Truth, list[Segment]]):
    """A probe that predicts the actions of a video, highest score first."""

    kind: ClassVar[Kind] = "localization"
    missing_prediction: ClassVar[list[Segment]] = []
    select: str
    """Which state of the training counts, see `methods.localize.StateSelection`."""
    tiou_thresholds: tuple[float, ...]
    """tIoU thresholds; mAP is the mean over them."""

    @property
    def selects_on_test(self) -> bool:
        """Whether the state is selected on the test set."""
        return self.select == "best-on-test"

    def score(self, predictions: Sequence[Sequence[Segment]], truth: Sequence[Truth]) -> dict[str, float]:
        """Return mean average precision in percent: the mean over `tiou_thresholds`, then at each."""
        each = temporal_ap.mean_ap(columns(predictions), columns(truth), self.tiou_thresholds)
        return {
            "mAP": float(each.mean()),
            **{f"mAP@{t:g}": float(v) for t, v in zip(self.tiou_thresholds, each, strict=True)},
        }

    def outcomes(self, predictions: Sequence[Sequence[Segment]], truth: Sequence[Truth]) -> list[float]:
        """Return the mAP of each video, NaN without an action, to find failures; their mean is not the mAP of all."""
        return [self.score([p], [t])["mAP"] for p, t in zip(predictions, truth, strict=True)]

    def score_predictions(self, test: TestPredictions, rng: np.random.Generator) -> ScoredPredictions:
        """Return mAP with intervals over videos, AP per class, and an error analysis.

        Raises UserError if no test video has an action.
        """
        truth = [e.truth for e in test.examples]
        predicted, actual = columns(test.predictions), columns(truth)
        if not len(actual.video):
            raise UserError(f"none of {len(truth)} test videos has an annotated action; annotate some")
        matching = temporal_ap.match(predicted, actual, self.tiou_thresholds)
        groups = [test.groups[video] for video in matching.videos.tolist()]
        durations = [e.duration for e in test.examples]
        scores, per_class = temporal_ap.bootstrap(matching, groups=groups, rng=rng)
        return ScoredPredictions(
            scores,
            {test.classes[label]: score for label, score in per_class.items()},
            {**test.columns, "duration": durations, **prediction_columns.of_segments(test.predictions, truth)},
            diagnose(predicted, actual, matching, test.examples),
        )
