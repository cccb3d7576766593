"""What kind of errors a localizer makes, which actions it misses, and what mAP would gain without each kind.

The kinds, the ranges of length and coverage and the normalized AP are those of DETAD (Alwassel, Caba Heilbron, Escorcia
and Ghanem, ECCV 2018, sections 3 to 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.metrics.temporal_ap import (
    Levels,
    Matching,
    Segments,
    average_precision,
    match,
    over_classes,
    overlaps,
    rows,
)

Array: TypeAlias = NDArray[Any]
Values: TypeAlias = Sequence[float] | Real[Array, "n"]

KINDS = ("true positive", "double detection", "wrong label", "localization", "confusion", "background")
"""Of a prediction; all but the first are false positives."""
RIGHT, DOUBLE, WRONG, LOCALIZATION, CONFUSION, BACKGROUND = range(len(KINDS))
FAINT = 0.1
"""tIoU below which a prediction has nothing to do with a true segment."""


class Ranges(NamedTuple):
    """Names for ranges of a quantity: each from above its edge up to and including the next, the last without end."""

    names: tuple[str, ...]
    edges: tuple[float, ...]
    """Lower edges, the first of which belongs to its range."""

    def of(self, values: Values) -> Int64[Array, "n"]:
        """The range of each value; ValueError for one below all of them or not a number."""
        given = np.asarray(values, np.float64)
        bad = np.flatnonzero(~(given >= self.edges[0]))
        if bad.size:
            raise UserError(f"{given[bad[0]]} at row {bad[0]} is in no range: they begin at {self.edges[0]:g}")
        return np.maximum(np.searchsorted(self.edges, given) - 1, 0)


_SIZES = ("XS", "S", "M", "L", "XL")
LENGTH = Ranges(_SIZES, (0, 30, 60, 120, 180))
"""Seconds; ActivityNet's."""
LENGTH_THUMOS14 = Ranges(_SIZES, (0, 3, 6, 12, 18))
COVERAGE = Ranges(_SIZES, (0, 0.02, 0.04, 0.06, 0.08))
"""Share of the video that a segment covers; THUMOS14's."""
COVERAGE_ACTIVITYNET = Ranges(_SIZES, (0, 0.2, 0.4, 0.6, 0.8))


class Errors(NamedTuple):
    """What `diagnose` found. Shares are percent, averaged over the thresholds; gains are points of average mAP."""

    kinds: Int64[Array, "t n"]
    """Index into `KINDS` of every prediction, by the rows given; -1 where its class has no true segment."""
    found: Bool[Array, "t g"]
    """Whether a prediction found the true segment, by the rows given."""
    profile: Float64[Array, "m k"]
    """Of the predictions ranked (m - 1) G to m G in their class, the share of each of `KINDS`; NaN where none is."""
    false: dict[str, float]
    """Of the false positives among the top predictions, the share of each kind; 0 where there is none."""
    gains: dict[str, float]
    """What the average mAP would gain if the predictions of a kind were not there."""


class RangeErrors(NamedTuple):
    """How the true segments of one range fare; percent, averaged over the thresholds."""

    segments: int
    average_map: float
    """Normalized mAP (mAP_N) of the segments of this range alone; NaN where there are none."""
    missed: float
    """Share of them that no prediction found; NaN where there are none."""


def diagnose(
    predictions: Segments,
    truth: Segments,
    thresholds: Levels,
    *,
    multiple: int = 10,
    normalized: bool = False,
) -> Errors:
    """Kinds of all predictions and what they cost.

    The top predictions of a class are the first `multiple` × G, G being how many true segments it has. The gains are
    of plain mAP and of all predictions, so that they add to the number that is reported; DETAD's own are of
    `normalized` mAP, and of the top predictions alone. ValueError as `temporal_ap.mean_ap`.
    """
    matching = match(predictions, truth, thresholds)
    kinds = kinds_of(predictions, truth, matching)
    profile, false = _profile(matching, kinds, multiple)
    normalizer = _normalizer(matching) if normalized else None
    base = _average(matching, normalizer=normalizer)
    gains = {
        KINDS[kind]: _average(matching, kept=kinds != kind, normalizer=normalizer) - base
        for kind in range(DOUBLE, len(KINDS))
    }
    by_row = np.full((len(matching.thresholds), len(predictions.video)), -1)
    by_row[:, matching.row] = kinds
    return Errors(by_row, _found(matching), profile, false, gains)


def kinds_of(predictions: Segments, truth: Segments, matching: Matching) -> Int64[Array, "t n"]:
    """Index into `KINDS` of each prediction, in the order of `matching`, at each of its thresholds.

    A prediction that found nothing is judged by the true segment of any class in its video that it overlaps most; of
    several that it overlaps alike, by one of its own class. If that tIoU reaches the threshold it is a double
    detection, or has the wrong label; if it reaches `FAINT`, it is a localization error, or with another label a
    confusion; else it is background.
    """
    ordered, own = rows(predictions, matching.row), matching.classes[matching.label]
    in_video = (matching.videos[matching.video], truth.video)
    left, right, tiou = overlaps(ordered, truth, keys=in_video, least=FAINT)
    other = truth.label[right] != own[left]
    order = np.lexsort((other, -tiou, left))
    first = order[np.append(True, left[order][1:] != left[order][:-1])[: len(order)]]
    most, mislabeled = np.zeros(len(own)), np.zeros(len(own), bool)
    most[left[first]], mislabeled[left[first]] = tiou[first], other[first]
    near = most >= matching.thresholds[:, None]
    false = np.where(near, DOUBLE, np.where(most >= FAINT, LOCALIZATION, BACKGROUND))
    false = false + (mislabeled & (false != BACKGROUND))
    return np.where(matching.found >= 0, RIGHT, false)


def sensitivity(matching: Matching, ranges: Ranges, values: Values) -> dict[str, RangeErrors]:
    """How the true segments of each range of a quantity fare; `values` has it for every row of the truth.

    The normalized AP of a range counts its segments as all there are, and leaves out the predictions that found
    others: what was found elsewhere is neither right nor wrong here. Precision is that of classes which all have as
    many true segments as classes have on average, so that ranges of unequal size compare.
    """
    place = ranges.of(values)
    if len(place) != len(matching.true_label):
        raise UserError(f"{len(place)} values for {len(matching.true_label)} true segments: one for each is needed")
    found, normalizer = _found(matching), _normalizer(matching)
    parts = {}
    for index, name in enumerate(ranges.names):
        own = place == index
        kept = (matching.found < 0) | np.append(own, False)[matching.found]
        count = int(own.sum())
        missed = 100 * float(1 - found[:, own].mean()) if count else float("nan")
        parts[name] = RangeErrors(count, _average(matching, kept=kept, counted=own, normalizer=normalizer), missed)
    return parts


def lengths(truth: Segments) -> Float64[Array, "g"]:
    """Seconds of each true segment."""
    return truth.end - truth.start


def coverage(truth: Segments, durations: dict[int, float]) -> Float64[Array, "g"]:
    """The share of its video that each true segment covers, 1 at most; `durations` are seconds by video number."""
    absent = sorted(set(truth.video.tolist()) - set(durations))
    if absent:
        raise UserError(f"no duration of {len(absent)} videos with true segments, the first {absent[0]}")
    total = np.array([durations[video] for video in truth.video.tolist()], np.float64)
    bad = np.flatnonzero(~(total > 0))
    if bad.size:
        raise UserError(f"video {truth.video[bad[0]]} lasts {total[bad[0]]} seconds: expected more than 0")
    return np.minimum(lengths(truth) / total, 1.0)


def _average(
    matching: Matching, kept: Array | None = None, counted: Array | None = None, normalizer: float | None = None
) -> float:
    """mAP in percent, averaged over the thresholds."""
    each = average_precision(matching, kept=kept, counted=counted, normalizer=normalizer)
    return float(over_classes(each).mean())


def _normalizer(matching: Matching) -> float:
    """True segments of a class on average."""
    return len(matching.true_label) / max(len(matching.classes), 1)


def _found(matching: Matching) -> Bool[Array, "t g"]:
    levels, truths = len(matching.thresholds), len(matching.true_label)
    found = np.zeros((levels, truths + 1), bool)
    found[np.arange(levels)[:, None], matching.found] = True  # -1 is the column to spare
    return found[:, :truths]


def _profile(
    matching: Matching, kinds: Int64[Array, "t n"], multiple: int
) -> tuple[Float64[Array, "m k"], dict[str, float]]:
    """Shares of kinds in each G of the top predictions, and among their false positives."""
    asked = np.bincount(matching.true_label, minlength=len(matching.classes))
    edges = np.searchsorted(matching.label, np.arange(len(matching.classes)))
    slot = (np.arange(len(matching.row)) - edges[matching.label]) // asked[matching.label]
    top = slot < multiple
    cell = slot[top] * len(KINDS) + kinds[:, top]
    counts = np.bincount(cell.ravel(), minlength=multiple * len(KINDS)).reshape(multiple, len(KINDS))
    total = counts.sum(axis=1, keepdims=True)
    profile = np.divide(100.0 * counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    wrong = counts.sum(axis=0)[1:]
    shares = 100.0 * wrong / max(int(wrong.sum()), 1)
    return profile, dict(zip(KINDS[1:], shares.tolist(), strict=True))
