"""Mean average precision of predicted segments, at thresholds of temporal overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64


class Segments(NamedTuple):
    """Segments of many videos as columns; seconds."""

    video: Int64[np.ndarray, "n"]
    start: Float64[np.ndarray, "n"]
    end: Float64[np.ndarray, "n"]
    label: Int64[np.ndarray, "n"]
    score: Float64[np.ndarray, "n"]


def mean_ap(predictions: Segments, truth: Segments, thresholds: Sequence[float]) -> Float64[np.ndarray, "t"]:
    """Percent at each threshold: mean over the classes of `truth`; NaN where there is no truth."""
    each = [_class_ap(_of(predictions, c), _of(truth, c), thresholds) for c in np.unique(truth.label).tolist()]
    return 100 * np.mean(each, axis=0) if each else np.full(len(thresholds), np.nan)


def _of(segments: Segments, label: int) -> Segments:
    return Segments(*(column[segments.label == label] for column in segments))


def _class_ap(found: Segments, truth: Segments, thresholds: Sequence[float]) -> Float64[np.ndarray, "t"]:
    order = np.argsort(-found.score, kind="stable")
    hit = np.zeros((len(thresholds), len(order)))
    taken = np.zeros((len(thresholds), len(truth.start)), bool)
    for rank, i in enumerate(order.tolist()):
        same = np.flatnonzero(truth.video == found.video[i])
        shared = (np.minimum(truth.end[same], found.end[i]) - np.maximum(truth.start[same], found.start[i])).clip(min=0)
        either = truth.end[same] - truth.start[same] + found.end[i] - found.start[i] - shared
        iou = np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)
        for j in np.argsort(-iou, kind="stable").tolist():
            free = (iou[j] >= np.asarray(thresholds)) & ~taken[:, same[j]] & (hit[:, rank] == 0)
            hit[free, rank] = 1
            taken[free, same[j]] = True
    recall = np.pad(hit.cumsum(1) / len(truth.start), ((0, 0), (1, 0)))
    precision = hit.cumsum(1) / np.arange(1, len(order) + 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    ap: Float64[np.ndarray, "t"] = (np.diff(recall, axis=1) * envelope).sum(1)
    return ap
