"""Tubes (one box a frame of one actor) as columns, their spatio-temporal overlap, and suppression of duplicates."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64, Integer
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.metrics import boxes
from vitascope.metrics.boxes import Boxes
from vitascope.metrics.matching import pairs_with_equal_keys

Array: TypeAlias = NDArray[Any]


class Tubes(NamedTuple):
    """Tubes of many videos as columns: k tubes, and their n boxes ordered by tube, then frame."""

    video: Int64[Array, "k"]
    """Number of the video, shared by predictions and truth."""
    label: Int64[Array, "k"]
    """Class."""
    score: Float64[Array, "k"]
    """Confidence; ignored for true tubes."""
    tube: Int64[Array, "n"]
    """Tube of each box, an index into the other columns, ascending; every tube has a box."""
    frame: Int64[Array, "n"]
    """Index of the frame, ascending within a tube."""
    box: Float64[Array, "n 4"]
    """x1, y1, x2, y2."""


class TubeReading(NamedTuple):
    """How an evaluator measures the overlap of tubes."""

    about: str
    frame: int
    """Added to the difference of the last and the first frame of an interval."""
    pixel: float
    """Added to the width and height of a box."""


def tubes_of(labeled: Boxes, person: Integer[Array, "n"]) -> Tubes:
    """Tubes from rows of boxes: rows of one video, label and `person`; the score of a tube is the mean of its rows.

    Frames are whole numbers in `time`. Raises UserError for a tube with two boxes in a frame.
    """
    frame = np.rint(labeled.time).astype(np.int64)
    code = boxes.joint_codes(labeled.video, labeled.label, person)
    order = np.lexsort((frame, code))
    tube = code[order]
    twice = np.flatnonzero((tube[1:] == tube[:-1]) & (frame[order][1:] == frame[order][:-1]))
    if twice.size:
        row = int(order[twice[0] + 1])
        raise UserError(f"the tube of row {row} has two boxes in frame {frame[row]}; give every actor its own number")
    _, first, size = np.unique(tube, return_index=True, return_counts=True)
    head = order[first]
    score = np.bincount(tube, labeled.score[order], minlength=len(size)) / size
    return Tubes(labeled.video[head], labeled.label[head], score, tube, frame[order], labeled.box[order])


def boxes_of(tubes: Tubes) -> Boxes:
    """The boxes of all tubes, each with the video, label and score of its tube: for frame-mAP."""
    video, label, score = (column[tubes.tube] for column in tubes[:3])
    return Boxes(video, tubes.frame.astype(np.float64), tubes.box, label, score)


def rows(tubes: Tubes, which: Int64[Array, "m"]) -> Tubes:
    """The tubes selected by ascending index."""
    place = np.full(len(tubes.video), -1)
    place[which] = np.arange(len(which))
    tube = place[tubes.tube]
    kept = tube >= 0
    video, label, score = (column[which] for column in tubes[:3])
    return Tubes(video, label, score, tube[kept], tubes.frame[kept], tubes.box[kept])


def extents(tubes: Tubes) -> tuple[Int64[Array, "k"], Int64[Array, "k"]]:
    """First and last frame of each tube."""
    edges = np.searchsorted(tubes.tube, np.arange(len(tubes.video) + 1))
    return tubes.frame[edges[:-1]], tubes.frame[edges[1:] - 1]


def overlaps(a: Tubes, b: Tubes, keys: tuple[Array, Array], reading: TubeReading, *, least: float = 0.0) -> boxes.Pairs:
    """Pairs of tubes with equal keys and a spatio-temporal IoU that is positive and at least `least`.

    It is the IoU of their time intervals times the mean IoU of their boxes over the frames that both have (Weinzaepfel
    et al., ICCV 2015). Ordered by row of `a`, then of `b`.
    """
    (first_a, last_a), (first_b, last_b) = extents(a), extents(b)
    blocks = []
    for i, j in pairs_with_equal_keys(*keys):
        shared = np.minimum(last_a[i], last_b[j]) - np.maximum(first_a[i], first_b[j]) + reading.frame
        union = np.maximum(last_a[i], last_b[j]) - np.minimum(first_a[i], first_b[j]) + reading.frame
        in_time = np.divide(shared, union, out=np.zeros(len(i)), where=union > 0)
        near = np.flatnonzero((in_time > 0) & (in_time >= least))
        i, j = i[near], j[near]
        overlap = in_time[near] * _in_space(a, b, (i, j), reading.pixel)
        near = np.flatnonzero((overlap > 0) & (overlap >= least))
        blocks.append((i[near], j[near], overlap[near]))
    left, right, overlap = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return left, right, overlap


def _in_space(a: Tubes, b: Tubes, pairs: tuple[Array, Array], pixel: float) -> Float64[Array, "p"]:
    """Mean IoU of the boxes of each pair of tubes over the frames that both have; 0 if there are none."""
    total, count = np.zeros(len(pairs[0])), np.zeros(len(pairs[0]), np.int64)
    lengths = np.bincount(a.tube, minlength=len(a.video))[pairs[0]]
    starts = np.searchsorted(a.tube, np.arange(len(a.video)))[pairs[0]]
    place = _places(b)
    for pair, row in _blocks(starts, lengths):
        other = place(pairs[1][pair], a.frame[row])
        both = other >= 0
        pair, overlap = pair[both], boxes.iou(a.box[row[both]], b.box[other[both]], pixel)
        total += np.bincount(pair, overlap, minlength=len(total))
        count += np.bincount(pair, minlength=len(total))
    return np.divide(total, count, out=total, where=count > 0)


BLOCK = 1 << 20
"""Approximate number of boxes per block."""


def _blocks(starts: Array, lengths: Array) -> Any:
    """(pair, row) of every box of the left tubes, in blocks."""
    cuts = np.flatnonzero(np.diff(lengths.cumsum() // BLOCK)) + 1
    for low, high in zip([0, *cuts.tolist()], [*cuts.tolist(), len(starts)], strict=True):
        many = lengths[low:high]
        within = np.arange(many.sum()) - np.repeat(many.cumsum() - many, many)
        yield np.repeat(np.arange(low, high), many), np.repeat(starts[low:high], many) + within


def _places(tubes: Tubes) -> Any:
    """Function from a tube and a frame to the row of its box, or -1."""
    low = int(tubes.frame.min(initial=0))
    span = int(tubes.frame.max(initial=0)) - low + 1
    code = tubes.tube * span + (tubes.frame - low)

    def place(tube: Array, frame: Array) -> Array:
        inside = (frame >= low) & (frame < low + span)
        wanted = tube * span + np.where(inside, frame - low, 0)
        at = np.minimum(np.searchsorted(code, wanted), max(len(code) - 1, 0))
        return np.where(inside & (len(code) > 0) & (code[at] == wanted), at, -1)

    return place


def suppressed(tubes: Tubes, overlap: float, reading: TubeReading) -> Tubes:
    """Tubes without those that overlap one of a higher score, of their video and class, by more than `overlap`."""
    key = boxes.joint_codes(tubes.video, tubes.label)
    left, right, shared = overlaps(tubes, tubes, (key, key), reading)
    order = np.argsort(-tubes.score, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    close = (shared > overlap) & (rank[left] < rank[right])
    kept = np.ones(len(order), bool)
    by_rank = np.argsort(rank[left[close]], kind="stable")
    for winner, loser in zip(left[close][by_rank].tolist(), right[close][by_rank].tolist(), strict=True):
        if kept[winner]:
            kept[loser] = False
    return rows(tubes, np.flatnonzero(kept))
