"""Link boxes of single frames to tubes by the rule of the ACT detector (Kalogeiton et al., ICCV 2017, section 3.4).

Frame by frame, the tubes of a video and class choose in the order of their mean score: each takes, of the boxes that
overlap its last one enough and are not taken, the one with the highest score. A tube that finds none for some frames
ends; boxes that are left begin new tubes. Frames without a box inside a tube get one by linear interpolation (ACT
averages overlapping tubelets instead and has no such frames).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from vitascope.metrics import boxes, tubes
from vitascope.metrics.boxes import Boxes
from vitascope.metrics.matching import greedy_pairs, pairs_with_equal_keys
from vitascope.metrics.tube_ap import READINGS
from vitascope.metrics.tubes import Tubes

Array: TypeAlias = NDArray[Any]


class Linking(NamedTuple):
    """Numbers of the linking rule."""

    nms: float
    """IoU of boxes of a frame and class above which the lower score is dropped."""
    keep: int
    """Boxes per frame and class that are used at most."""
    overlap: float
    """Least IoU of a box with the last one of the tube."""
    patience: int
    """Frames without a box after which a tube ends."""
    least_score: float
    """Mean score below which a tube is dropped."""
    least_frames: int
    """Frames below which a tube is dropped."""
    tube_nms: float
    """Spatio-temporal IoU of tubes of a class above which the lower score is dropped; 1 for none."""
    pixel: float
    """Added to width and height."""


LINKINGS: Mapping[str, Linking] = {
    "act": Linking(0.3, 10, 0.2, 5, 0.01, 15, 0.3, 1.0),
    "multisports": Linking(0.6, 10, 0.5, 1, 0.005, 15, 1.0, 0.0),
}
"""`act`: ACT.py (BuildTubes, videoAP); `multisports`: mmaction2's link_tubes for MultiSports, which lowers the scores
of overlapping boxes where this drops them."""


def link(detections: Boxes, rule: Linking = LINKINGS["act"]) -> Tubes:
    """Link boxes to tubes within each video and class; the score of a tube is the mean of its boxes.

    Times are indices of frames. Raises UserError as `boxes.check` does.
    """
    boxes.check(detections, "detections")
    ordered = boxes.rows(detections, _best(detections, rule))
    frame = np.rint(ordered.time).astype(np.int64)
    group = boxes.joint_codes(ordered.video, ordered.label)
    tube = _linked(ordered, frame, group, rule)
    made = _filled(tubes.tubes_of(ordered._replace(time=frame.astype(np.float64)), tube))
    first, last = tubes.extents(made)
    good = (made.score >= rule.least_score) & (last - first + 1 >= rule.least_frames)
    made = tubes.rows(made, np.flatnonzero(good))
    return (
        made
        if rule.tube_nms >= 1
        else tubes.suppressed(made, rule.tube_nms, READINGS["act"]._replace(pixel=rule.pixel))
    )


def _best(detections: Boxes, rule: Linking) -> Int64[Array, "_"]:
    """Rows left by suppression within frame and class, by descending score, ties in order; at most `keep` of each."""
    (frame,) = boxes.frame_codes(detections)
    key = boxes.joint_codes(frame, detections.label)
    order = np.lexsort((-detections.score, key))
    active, kept = np.ones(len(order), bool), []
    for _ in range(rule.keep):
        rest = order[active[order]]
        if not rest.size:
            break
        top = rest[np.append(True, key[rest][1:] != key[rest][:-1])]
        kept.append(top)
        leader = np.full(int(key.max()) + 1, -1)
        leader[key[top]] = top
        overlap = boxes.iou(detections.box[rest], detections.box[leader[key[rest]]], rule.pixel)
        active[rest[overlap > rule.nms]] = False
        active[top] = False
    best = np.concatenate([*kept, np.empty(0, np.int64)]).astype(np.int64)
    return best[np.lexsort((-detections.score[best], key[best]))]


class _Tips(NamedTuple):
    """The open tubes: number, group, last box and frame, and sum and number of scores."""

    tube: Int64[Array, "k"]
    group: Int64[Array, "k"]
    row: Int64[Array, "k"]
    frame: Int64[Array, "k"]
    total: Float64[Array, "k"]
    many: Int64[Array, "k"]


def _linked(given: Boxes, frame: Array, group: Array, rule: Linking) -> Int64[Array, "n"]:
    """The tube of each box; all videos and classes advance together, frame by frame."""
    tube = np.full(len(frame), -1)
    none = np.empty(0, np.int64)
    tips = _Tips(none, none, none, none, np.empty(0), none)
    by_frame = np.argsort(frame, kind="stable")
    values, starts = np.unique(frame[by_frame], return_index=True)
    begun = 0
    for now, rows in zip(values.tolist(), np.split(by_frame, starts)[1:], strict=True):
        tips = _Tips(*(column[now - tips.frame <= rule.patience] for column in tips))
        order = np.lexsort((-tips.total / np.maximum(tips.many, 1), tips.group))
        tips = _Tips(*(column[order] for column in tips))
        partner = _partners(given, tips, rows, group[rows], rule)
        found = partner >= 0
        taken = rows[partner[found]]
        tube[taken] = tips.tube[found]
        tips.row[found], tips.frame[found] = taken, now
        tips.total[found] += given.score[taken]
        tips.many[found] += 1
        left = rows[tube[rows] < 0]
        tube[left] = begun + np.arange(len(left))
        begun += len(left)
        ones = np.ones(len(left), np.int64)
        new = _Tips(tube[left], group[left], left, now * ones, given.score[left].astype(np.float64), ones)
        tips = _Tips(*(np.concatenate(pair) for pair in zip(tips, new, strict=True)))
    return tube


def _partners(given: Boxes, tips: _Tips, rows: Array, group: Array, rule: Linking) -> Int64[Array, "k"]:
    """The place in `rows` of the box that each tube takes, or -1; `rows` have descending scores within a group."""
    blocks = []
    for i, j in pairs_with_equal_keys(tips.group, group):
        near: Bool[Array, "p"] = boxes.iou(given.box[tips.row[i]], given.box[rows[j]], rule.pixel) >= rule.overlap
        blocks.append((i[near], j[near]))
    left, right = (np.concatenate(column) for column in zip(*blocks, strict=True))
    pair = greedy_pairs(left, right, len(tips.tube), len(rows))
    return np.append(right, -1)[pair]


def _filled(made: Tubes) -> Tubes:
    """The tubes with interpolated boxes in the frames that they skip."""
    if not len(made.frame):
        return made
    step = np.diff(made.frame, append=made.frame[-1] + 1)
    step[np.append(made.tube[1:] != made.tube[:-1], True)] = 1
    source = np.repeat(np.arange(len(step)), step)
    offset = np.arange(len(source)) - np.repeat(step.cumsum() - step, step)
    share = (offset / step[source])[:, None]
    after = made.box[np.minimum(source + 1, len(made.box) - 1)]
    box = np.where(share > 0, (1 - share) * made.box[source] + share * after, made.box[source])
    return made._replace(tube=made.tube[source], frame=made.frame[source] + offset, box=box)
