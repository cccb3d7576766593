"""What localization probes share: how segments are scored, what kinds of errors they are, and what is kept of them."""

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
from vitascope.probes.base import ScoredPredictions, TestPredictions

Truth: TypeAlias = tuple[Segment, ...]
Values: TypeAlias = NDArray[np.float64]
BRIEF, SLIGHT = 10.0, 0.2
"""Seconds, and share of the video, up to which the median action has THUMOS14's ranges, else ActivityNet's."""


class TemporalLocalization:
    """A probe whose predictions are the actions of a video, most likely first."""

    kind: ClassVar[Kind] = "localization"
    nothing: ClassVar[list[Segment]] = []
    tious: tuple[float, ...]
    """Overlaps from which a prediction is right; the score is the mean over them."""

    def score(self, predictions: Sequence[Sequence[Segment]], truth: Sequence[Truth]) -> dict[str, float]:
        """Mean average precision, percent: the mean over `tious`, then at each."""
        each = temporal_ap.mean_ap(columns(predictions), columns(truth), self.tious)
        return {"mAP": float(each.mean()), **{f"mAP@{t:g}": float(v) for t, v in zip(self.tious, each, strict=True)}}

    def outcomes(self, predictions: Sequence[Sequence[Segment]], truth: Sequence[Truth]) -> list[float]:
        """The mAP of each video alone, NaN without an action: to find failures by; their mean is not the mAP."""
        return [self.score([p], [t])["mAP"] for p, t in zip(predictions, truth, strict=True)]

    def judge(self, asked: TestPredictions, rng: np.random.Generator) -> ScoredPredictions:
        """mAP with intervals over videos, AP class by class, and what kinds of errors were made.

        ValueError where no test video has an action.
        """
        truth = [e.truth for e in asked.examples]
        said, real = columns(asked.predictions), columns(truth)
        if not len(real.video):
            raise UserError(f"not one action in {len(truth)} test videos: nothing can be found; annotate some")
        matching = temporal_ap.match(said, real, self.tious)
        groups = [asked.groups[video] for video in matching.videos.tolist()]
        durations = [e.duration for e in asked.examples]
        scores, each = temporal_ap.bootstrap_matched(matching, groups=groups, rng=rng)
        return ScoredPredictions(
            scores,
            {asked.classes[label]: score for label, score in each.items()},
            {**asked.columns, "duration": durations, **prediction_columns.of_segments(asked.predictions, truth)},
            diagnosed(said, real, matching, asked.examples),
        )


def diagnosed(said: Segments, real: Segments, matching: Matching, examples: Sequence[Example[Truth]]) -> dict[str, Any]:
    """Kinds of errors, and how actions of each length and coverage fare (`metrics.localization_errors`), as plain data.

    Coverage is told where every video with an action says how long it is.
    """
    found = errors.diagnose(said, real, matching.thresholds)
    profile = [[_number(share) for share in row] for row in found.profile.tolist()]
    lasting = errors.lengths(real)
    ranges = errors.LENGTH_THUMOS14 if np.median(lasting) <= BRIEF else errors.LENGTH
    told = {
        "false": found.false,
        "gains": found.gains,
        "profile": {"kinds": list(errors.KINDS), "shares": profile},
        "length": _parts(matching, ranges, lasting),
    }
    durations = {i: e.duration for i, e in enumerate(examples) if e.duration is not None}
    if set(real.video.tolist()) <= durations.keys():
        covered = errors.coverage(real, durations)
        shares = errors.COVERAGE if np.median(covered) <= SLIGHT else errors.COVERAGE_ACTIVITYNET
        told["coverage"] = _parts(matching, shares, covered)
    return told


def _parts(matching: Matching, ranges: errors.Ranges, values: Values) -> list[dict[str, Any]]:
    """How the actions of each range fare; a number that is not defined is None."""
    parts = errors.sensitivity(matching, ranges, values)
    return [
        {
            "range": name,
            "above": float(edge),
            "segments": part.segments,
            "mAP_N": _number(part.average_map),
            "missed": _number(part.missed),
        }
        for (name, part), edge in zip(parts.items(), ranges.edges, strict=True)
    ]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
