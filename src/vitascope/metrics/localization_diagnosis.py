"""Error analysis of localized actions as plain data, for results and for scores of files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vitascope.core.types import Example, Segment
from vitascope.metrics import localization_errors as errors
from vitascope.metrics.temporal_ap import Matching, Segments

FloatArray: TypeAlias = NDArray[np.float64]
SHORT_SECONDS, SMALL_COVERAGE = 10.0, 0.2
"""Median action length (seconds) and coverage up to which the ranges of THUMOS14 apply, else those of ActivityNet."""


def diagnose(
    predicted: Segments, actual: Segments, matching: Matching, examples: Sequence[Example[tuple[Segment, ...]]]
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
