"""Error analysis of temporal localization: error types, missed actions, and the mAP each error type costs.

Error types, length and coverage ranges and normalized AP follow DETAD (Alwassel, Caba Heilbron, Escorcia and Ghanem,
"Diagnosing Error in Temporal Action Detectors", ECCV 2018, sections 3 to 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.text import counted
from vitascope.metrics.temporal_ap import (
    Levels,
    Matching,
    Pairs,
    Segments,
    average_precision,
    match,
    mean_over_classes,
    overlaps,
    rows,
)

Array: TypeAlias = NDArray[Any]
Values: TypeAlias = Sequence[float] | Real[Array, "n"]

KINDS = ("true positive", "double detection", "wrong label", "localization", "confusion", "background")
"""Types of predictions; all but the first are false positives."""
RIGHT, DOUBLE, WRONG, LOCALIZATION, CONFUSION, BACKGROUND = range(len(KINDS))
FAINT = 0.1
"""tIoU below which a prediction is background."""


class Ranges(NamedTuple):
    """Named ranges of a quantity, each from its lower edge (exclusive) to the next (inclusive); the last is open."""

    names: tuple[str, ...]
    edges: tuple[float, ...]
    """Lower edges; only the first belongs to its range."""

    def of(self, values: Values) -> Int64[Array, "n"]:
        """The range index of each value; raises UserError for NaN or a value below the first edge."""
        array = np.asarray(values, np.float64)
        bad = np.flatnonzero(~(array >= self.edges[0]))
        if bad.size:
            raise UserError(
                f"value {array[bad[0]]} at row {bad[0]} is outside all ranges: the lowest starts at {self.edges[0]:g}"
            )
        return np.maximum(np.searchsorted(self.edges, array) - 1, 0)


_SIZES = ("XS", "S", "M", "L", "XL")
LENGTH = Ranges(_SIZES, (0, 30, 60, 120, 180))
"""Segment length in seconds, ActivityNet."""
LENGTH_THUMOS14 = Ranges(_SIZES, (0, 3, 6, 12, 18))
"""Segment length in seconds, THUMOS14."""
COVERAGE = Ranges(_SIZES, (0, 0.02, 0.04, 0.06, 0.08))
"""Fraction of the video that a segment covers, THUMOS14."""
COVERAGE_ACTIVITYNET = Ranges(_SIZES, (0, 0.2, 0.4, 0.6, 0.8))
"""Fraction of the video that a segment covers, ActivityNet."""


class Errors(NamedTuple):
    """Result of `diagnose`. Shares are in percent, averaged over thresholds; gains are points of average mAP."""

    kinds: Int64[Array, "t n"]
    """Index into `KINDS` of each prediction, in input order; -1 if its class has no true segment."""
    detected: Bool[Array, "t g"]
    """True for each true segment that is matched by a prediction, in input order."""
    profile: Float64[Array, "m k"]
    """Share of each of `KINDS` among the predictions ranked (m - 1) G to m G in their class; NaN if there are none."""
    false: dict[str, float]
    """Share of each error type among the false positives of the top predictions; 0 if there are none."""
    gains: dict[str, float]
    """Gain in average mAP if all predictions of an error type were removed."""


class RangeErrors(NamedTuple):
    """Scores of the true segments in one range, in percent, averaged over thresholds."""

    segments: int
    """Number of true segments."""
    average_map: float
    """Normalized mAP (mAP_N) of these segments; NaN if there are none."""
    missed: float
    """Share of them that no prediction matches; NaN if there are none."""


def diagnose(
    predictions: Segments,
    truth: Segments,
    thresholds: Levels,
    *,
    multiple: int = 10,
    normalized: bool = False,
) -> Errors:
    """Classify all predictions by error type and compute the mAP that each type costs.

    The top predictions of a class are the first `multiple` × G, where G is the number of its true segments. Gains refer
    to plain mAP and all predictions, so that they add to the reported mAP; DETAD uses `normalized` mAP and only the top
    predictions. Raises UserError as `temporal_ap.mean_ap` does.
    """
    matching = match(predictions, truth, thresholds)
    kinds = error_types(predictions, truth, matching)
    return summary(matching, kinds, len(predictions.video), multiple=multiple, normalized=normalized)


def summary(
    matching: Matching,
    kinds: Int64[Array, "t n"],
    count: int,
    *,
    multiple: int = 10,
    normalized: bool = False,
    names: Sequence[str] = KINDS,
) -> Errors:
    """The result of `diagnose` from the types of the matched predictions of an input of `count` rows."""
    profile, false = _profile(matching, kinds, multiple)
    normalizer = _normalizer(matching) if normalized else None
    base = _average(matching, normalizer=normalizer)
    gains = {
        names[kind]: _average(matching, keep=kinds != kind, normalizer=normalizer) - base
        for kind in range(DOUBLE, len(KINDS))
    }
    by_row = np.full((len(matching.thresholds), count), -1)
    by_row[:, matching.row] = kinds
    return Errors(by_row, _detected(matching), profile, dict(zip(names[1:], false, strict=True)), gains)


def error_types(predictions: Segments, truth: Segments, matching: Matching) -> Int64[Array, "t n"]:
    """Index into `KINDS` of each prediction at each threshold, in the order of `matching`.

    The type of an unmatched prediction depends on the true segment of any class in its video with the largest tIoU;
    ties go to its own class. If the tIoU reaches the threshold, the prediction is a double detection (same class) or
    has the wrong label (another class); if it reaches `FAINT`, it is a localization error or a confusion; otherwise it
    is background.
    """
    ordered, own = rows(predictions, matching.row), matching.classes[matching.label]
    in_video = (matching.videos[matching.video], truth.video)
    return types_of_overlaps(matching, overlaps(ordered, truth, keys=in_video, min_tiou=FAINT), (own, truth.label))


def types_of_overlaps(
    matching: Matching, pairs: Pairs, labels: tuple[Int64[Array, "n"], Int64[Array, "g"]]
) -> Int64[Array, "t n"]:
    """`error_types` from the pairs that overlap by at least `FAINT`, and the labels of predictions and of truth."""
    (left, right, tiou), (own, true) = pairs, labels
    other = true[right] != own[left]
    order = np.lexsort((other, -tiou, left))
    first = order[np.append(True, left[order][1:] != left[order][:-1])[: len(order)]]
    most, mislabeled = np.zeros(len(own)), np.zeros(len(own), bool)
    most[left[first]], mislabeled[left[first]] = tiou[first], other[first]
    near = most >= matching.thresholds[:, None]
    false = np.where(near, DOUBLE, np.where(most >= FAINT, LOCALIZATION, BACKGROUND))
    false = false + (mislabeled & (false != BACKGROUND))
    return np.where(matching.true_row >= 0, RIGHT, false)


def sensitivity(matching: Matching, ranges: Ranges, values: Values) -> dict[str, RangeErrors]:
    """Scores of the true segments in each range of a quantity, given by `values` for each true segment.

    The normalized AP of a range counts only its segments and ignores predictions matched to other segments. Precision
    is normalized to the mean number of true segments per class, so that ranges of different sizes are comparable.
    """
    place = ranges.of(values)
    if len(place) != len(matching.true_label):
        raise UserError(
            f"{len(place)} values for {len(matching.true_label)} true segments: expected one value per segment"
        )
    detected, normalizer = _detected(matching), _normalizer(matching)
    parts = {}
    for index, name in enumerate(ranges.names):
        own = place == index
        keep = (matching.true_row < 0) | np.append(own, False)[matching.true_row]
        count = int(own.sum())
        missed = 100 * float(1 - detected[:, own].mean()) if count else float("nan")
        parts[name] = RangeErrors(count, _average(matching, keep=keep, counted=own, normalizer=normalizer), missed)
    return parts


def lengths(truth: Segments) -> Float64[Array, "g"]:
    """Length of each true segment, seconds."""
    return truth.end - truth.start


def coverage(truth: Segments, durations: dict[int, float]) -> Float64[Array, "g"]:
    """Fraction of its video that each true segment covers, at most 1; `durations` are in seconds by video number."""
    missing = sorted(set(truth.video.tolist()) - set(durations))
    if missing:
        raise UserError(
            f"no duration for {counted(len(missing), 'video')} with true segments, the first is {missing[0]}"
        )
    total = np.array([durations[video] for video in truth.video.tolist()], np.float64)
    bad = np.flatnonzero(~(total > 0))
    if bad.size:
        raise UserError(f"video {truth.video[bad[0]]} has duration {total[bad[0]]} s: expected more than 0")
    return np.minimum(lengths(truth) / total, 1.0)


def _average(
    matching: Matching, keep: Array | None = None, counted: Array | None = None, normalizer: float | None = None
) -> float:
    """mAP in percent, averaged over thresholds."""
    each = average_precision(matching, keep=keep, counted=counted, normalizer=normalizer)
    return float(mean_over_classes(each).mean())


def _normalizer(matching: Matching) -> float:
    """Mean number of true segments per class."""
    return len(matching.true_label) / max(len(matching.classes), 1)


def _detected(matching: Matching) -> Bool[Array, "t g"]:
    levels, truths = len(matching.thresholds), len(matching.true_label)
    detected = np.zeros((levels, truths + 1), bool)
    detected[np.arange(levels)[:, None], matching.true_row] = True  # -1 falls into the extra column
    return detected[:, :truths]


def _profile(
    matching: Matching, kinds: Int64[Array, "t n"], multiple: int
) -> tuple[Float64[Array, "m k"], list[float]]:
    """Shares of each type per G top predictions, and of each error type among their false positives."""
    positives = np.bincount(matching.true_label, minlength=len(matching.classes))
    edges = np.searchsorted(matching.label, np.arange(len(matching.classes)))
    slot = (np.arange(len(matching.row)) - edges[matching.label]) // positives[matching.label]
    top = slot < multiple
    cell = slot[top] * len(KINDS) + kinds[:, top]
    counts = np.bincount(cell.ravel(), minlength=multiple * len(KINDS)).reshape(multiple, len(KINDS))
    total = counts.sum(axis=1, keepdims=True)
    profile = np.divide(100.0 * counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    wrong = counts.sum(axis=0)[1:]
    shares: list[float] = (100.0 * wrong / max(int(wrong.sum()), 1)).tolist()
    return profile, shares
