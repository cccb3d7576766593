"""Shared by localization probes: scoring of segments, error analysis, and the columns kept per video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.types import Example, Kind, Segment
from vitascope.metrics import localization_errors as errors
from vitascope.metrics import prediction_columns, temporal_ap
from vitascope.metrics.prediction_columns import columns
from vitascope.metrics.temporal_ap import Matching, Segments
from vitascope.probes.base import JointlyScored, ScoredPredictions, TestPredictions

Truth: TypeAlias = tuple[Segment, ...]
FloatArray: TypeAlias = NDArray[np.float64]
SHORT_SECONDS, SMALL_COVERAGE = 10.0, 0.2
"""Median action length (seconds) and coverage up to which the ranges of THUMOS14 apply, else those of ActivityNet."""


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


def diagnose(
    predicted: Segments, actual: Segments, matching: Matching, examples: Sequence[Example[Truth]]
) -> dict[str, Any]:
    """Return error types, and scores by action length and coverage (`metrics.localization_errors`), as plain data.

    Coverage is included if every video with an action has a known duration.
    """
    analysis = errors.diagnose(predicted, actual, matching.thresholds)
    profile = [[_finite_or_none(share) for share in row] for row in analysis.profile.tolist()]
    lengths = errors.lengths(actual)
    ranges = errors.LENGTH_THUMOS14 if np.median(lengths) <= SHORT_SECONDS else errors.LENGTH
    diagnosis = {
        "false": analysis.false,
        "gains": analysis.gains,
        "profile": {"kinds": list(errors.KINDS), "shares": profile},
        "length": _by_range(matching, ranges, lengths),
    }
    durations = {i: e.duration for i, e in enumerate(examples) if e.duration is not None}
    if set(actual.video.tolist()) <= durations.keys():
        coverages = errors.coverage(actual, durations)
        shares = errors.COVERAGE if np.median(coverages) <= SMALL_COVERAGE else errors.COVERAGE_ACTIVITYNET
        diagnosis["coverage"] = _by_range(matching, shares, coverages)
    return diagnosis


def _by_range(matching: Matching, ranges: errors.Ranges, values: FloatArray) -> list[dict[str, Any]]:
    """Return scores of the actions in each range; undefined ones are None."""
    parts = errors.sensitivity(matching, ranges, values)
    return [
        {
            "range": name,
            "above": float(edge),
            "segments": part.segments,
            "mAP_N": _finite_or_none(part.average_map),
            "missed": _finite_or_none(part.missed),
        }
        for (name, part), edge in zip(parts.items(), ranges.edges, strict=True)
    ]


def _finite_or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
