"""Mean average precision of tubes (video-mAP) as in the code of the ACT detector and of MultiSports."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.metrics import boxes, frame_ap, tubes
from vitascope.metrics.frame_ap import COCO_LEVELS, Reading
from vitascope.metrics.matching import match_at_levels
from vitascope.metrics.temporal_ap import Levels, Matching, class_indices
from vitascope.metrics.tubes import TubeReading, Tubes

Array: TypeAlias = NDArray[Any]

LEVELS = (0.2, *COCO_LEVELS)
"""Spatio-temporal IoU thresholds of the literature: 0.2, 0.5, and 0.5 to 0.95."""
READINGS: Mapping[str, TubeReading] = {
    "multisports": TubeReading("videoAP of MultiSports' evaluate_multisports.py", frame=0, pixel=0.0),
    "act": TubeReading("videoAP of the ACT detector's code; boxes in pixels", frame=1, pixel=1.0),
}
"""The rest of each reading (second choice, area) is that of the same name in `frame_ap.READINGS`."""


def match(
    predictions: Tubes,
    truth: Tubes,
    thresholds: Levels = LEVELS,
    *,
    reading: str = "multisports",
    classes: Collection[int] | None = None,
) -> Matching:
    """Match predicted to true tubes of their video and class at every threshold, by descending score, ties in order.

    The result serves as that of `temporal_ap.match` and `frame_ap.match`. `act` gives a tube whose best true tube is
    taken the next one that reaches the threshold; `multisports` counts it as wrong. Raises UserError for scores that
    are not finite or thresholds outside (0, 1].
    """
    levels, how, measure = frame_ap.levels_of(thresholds), frame_ap.READINGS[reading], READINGS[reading]
    _check(predictions, "predicted tubes")
    _check(truth, "true tubes")
    labels = np.unique(truth.label)
    labels = labels if classes is None else labels[np.isin(labels, np.fromiter(classes, np.int64))]
    label, true_label = class_indices(predictions.label, labels), class_indices(truth.label, labels)
    row, true_row = np.flatnonzero(label >= 0), np.flatnonzero(true_label >= 0)
    row = row[np.lexsort((-predictions.score[row], label[row]))]
    videos, both = np.unique(np.concatenate([truth.video, predictions.video]), return_inverse=True)
    true_video, video = np.split(both, [len(truth.video)])
    keys = (label[row] * len(videos) + video[row], true_label[true_row] * len(videos) + true_video[true_row])
    found = _overlaps(predictions, truth, (row, true_row), keys, measure)
    matched = _matched(found, levels, (len(row), len(true_row)), how)
    partner = np.append(true_row, -1)[matched]
    return Matching(
        levels, labels, videos, row, label[row], video[row], partner, true_label[true_row], true_video[true_row]
    )


def mean_ap(
    predictions: Tubes, truth: Tubes, thresholds: Levels = LEVELS, *, reading: str = "multisports"
) -> Float64[Array, "t"]:
    """Video-mAP as a fraction at each threshold: AP averaged over the classes of `truth`; see `match`."""
    matching = match(predictions, truth, thresholds, reading=reading)
    each = frame_ap.class_precisions(matching, matching.classes, frame_ap.READINGS[reading])
    return each.mean(axis=1) if each.shape[1] else np.full(len(each), np.nan)


def _overlaps(
    predictions: Tubes, truth: Tubes, which: tuple[Array, Array], keys: tuple[Array, Array], measure: TubeReading
) -> boxes.Pairs:
    """Overlaps of the given rows, numbered by their place in `which`."""
    ordered = np.argsort(which[0])
    a, b = tubes.rows(predictions, which[0][ordered]), tubes.rows(truth, which[1])
    left, right, overlap = tubes.overlaps(a, b, (keys[0][ordered], keys[1]), measure)
    left = ordered[left]
    order = np.lexsort((right, left))
    return left[order], right[order], overlap[order]


def _matched(found: boxes.Pairs, levels: Array, sizes: tuple[int, int], how: Reading) -> Array:
    left, right, overlap = boxes.by_overlap(found) if how.second_choice else boxes.best_partner(found)
    return match_at_levels(left, right, overlap >= levels[:, None], sizes)


def _check(given: Tubes, what: str) -> None:
    for name in ("score", "box"):
        column = getattr(given, name)
        bad = boxes.not_finite(column)
        if bad.size:
            raise UserError(f"{what}: {name} {column[bad[0]].tolist()} in row {bad[0]}: expected finite numbers")
    if len(np.unique(given.tube)) != len(given.video) or (np.diff(given.tube) < 0).any():
        raise UserError(f"{what}: expected the boxes in the order of their tubes, and a box in each of them")
