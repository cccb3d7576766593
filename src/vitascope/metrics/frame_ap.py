"""Mean average precision of boxes in frames (frame-mAP, AVA's), to the digit as the official evaluator and two others.

The readings differ in which frames count, in how many rows of a frame are kept, and in their treatment of ties. All of
them match within a frame and class: a box looks only at the true box that it overlaps most (of the first, if several
are equal) and is right if the IoU reaches the threshold and that box is free; there is no second choice.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.metrics import boxes
from vitascope.metrics.boxes import Boxes, Frames
from vitascope.metrics.matching import match_at_levels
from vitascope.metrics.temporal_ap import Levels, Matching, class_indices

Array: TypeAlias = NDArray[Any]

IOU = 0.5
"""Threshold of the headline."""
HEADLINE = f"fAP@{IOU:g}"
"""Name of frame-mAP at that threshold among the scores of a result."""
GIVEN_BOXES = f"{HEADLINE} given boxes"
"""Name of frame-mAP as if every true box had been found."""
CAPACITY = 50
"""Rows (box and class) of a frame that the official evaluator keeps."""
COCO_LEVELS = tuple(0.5 + 0.05 * i for i in range(10))
"""IoU thresholds from 0.5 to 0.95."""


MAX_PLACES = 1000
"""Largest class number for which the mean is added up in the official order."""


class Reading(NamedTuple):
    """How an evaluator reads the same two files."""

    about: str
    capacity: int = CAPACITY
    """Rows of a frame that are kept, the highest scores; 0 for all."""
    frames: Literal["listed", "with people", "all"] = "listed"
    """Frames whose predictions count: those of the truth file, those with a true box of an evaluated class, or all."""
    order: Literal["heap", "score", "file"] = "heap"
    """Order in which the rows of a frame are matched. `heap`: by score, ties as Python's heap leaves them."""
    stable: bool = False
    """Equal scores of a class stay in the order of the file; otherwise as NumPy's unstable sort leaves them."""
    precision: Literal["float32", "float64"] = "float64"
    """Number format of boxes and scores."""
    absent: bool = True
    """A class with true boxes and no predictions counts as 0; otherwise it is left out of the mean."""
    excluded_recall: bool = False
    """True boxes of excluded frames stay in the denominator of recall."""
    second_choice: bool = False
    """A box whose best true box is taken may take the next one that reaches the threshold."""
    pixel: float = 0.0
    """Added to width and height: 1 where coordinates are the first and last pixel of a box."""
    trapezoid: bool = False
    """AP is the area under straight lines between the points, without an envelope, from precision 1 at recall 0."""


_WHOLE = Reading("", capacity=0, frames="all", order="score", stable=True)
READINGS: Mapping[str, Reading] = {
    "official": Reading("ActivityNet's get_ava_performance.py"),
    "stable": Reading("official, but equal scores stay in the order of the file", order="score", stable=True),
    "uncapped": Reading("official without the limit of 50 rows a frame", capacity=0),
    "slowfast": Reading(
        "SlowFast's: no limit, all frames of the predictions, matched in the order of the file",
        capacity=0,
        frames="all",
        order="file",
    ),
    "mmaction2": Reading(
        "mmaction2's: no limit, frames with true boxes, float32, no classes without predictions",
        capacity=0,
        frames="with people",
        order="score",
        precision="float32",
        absent=False,
        excluded_recall=True,
    ),
    "multisports": _WHOLE._replace(about="frame-mAP of MultiSports' evaluate_multisports.py"),
    "act": _WHOLE._replace(
        about="frame-mAP of the ACT detector's code, for UCF101-24 and JHMDB; boxes in pixels",
        second_choice=True,
        pixel=1.0,
        trapezoid=True,
    ),
}
"""Readings by name."""


class Selected(NamedTuple):
    """The rows that a reading evaluates. Predictions of a frame are in the order in which they are matched."""

    predictions: Boxes
    truth: Boxes
    row: Int64[Array, "n"]
    """Row of each prediction in the input."""
    true_row: Int64[Array, "g"]
    """Row of each true box in the input."""
    videos: Int64[Array, "v"]
    """Numbers of the evaluated videos, ascending: those of the truth and of the frames without people."""
    classes: Int64[Array, "c"]
    """Evaluated classes, ascending."""
    ignored: dict[str, int]
    """Number of predictions left out, by reason."""


def select(
    predictions: Boxes,
    truth: Boxes,
    *,
    classes: Collection[int] | None = None,
    empty: Frames | None = None,
    excluded: Frames | None = None,
    reading: Reading = READINGS["official"],
) -> Selected:
    """Choose and order the rows that count, before matching.

    `classes` are the evaluated ones (by default those of `truth`), `empty` the frames without people, where every
    prediction is wrong, `excluded` the frames that do not count. Predictions without area are dropped after the limit
    of rows, as in the official evaluator. Raises UserError for columns that do not fit, numbers that are not finite,
    and inverted true boxes.
    """
    boxes.check(predictions, "predictions")
    boxes.check(truth, "true boxes", scored=False)
    _check_truth(truth)
    none = Frames(np.empty(0, np.int64), np.empty(0))
    empty, excluded = empty or none, excluded or none
    frame, true_frame, empty_frame, excluded_frame = boxes.frame_codes(predictions, truth, empty, excluded)
    evaluated = np.unique(truth.label if classes is None else np.fromiter(classes, np.int64))
    true_row = np.flatnonzero(
        np.isin(truth.label, evaluated) & (~_is_in(true_frame, excluded_frame) | reading.excluded_recall)
    )
    known, out = np.isin(predictions.label, evaluated), _is_in(frame, excluded_frame)
    counted = {
        "listed": np.concatenate([true_frame, empty_frame]),
        "with people": true_frame[true_row],
        "all": frame,
    }[reading.frames]
    listed = _is_in(frame, counted)
    row = _ordered(predictions, frame, np.flatnonzero(known & listed & ~out), reading)
    flat = ~boxes.valid(predictions.box[row])
    ignored = {
        "of classes that are not evaluated": int((~known).sum()),
        "in excluded frames": int((known & out).sum()),
        "in frames that the truth does not list": int((known & ~out & ~listed).sum()),
        "beyond the limit of rows a frame": int((known & ~out & listed).sum()) - len(row),
        "with boxes without area": int(flat.sum()),
    }
    row = row[~flat]
    if reading.order != "file":
        true_row = _ordered(
            truth._replace(score=np.ones(len(truth.label))), true_frame, true_row, reading._replace(capacity=0)
        )
    videos = np.unique(np.concatenate([truth.video, empty.video]))
    return Selected(
        boxes.rows(predictions, row), boxes.rows(truth, true_row), row, true_row, videos, evaluated, ignored
    )


def match(selected: Selected, thresholds: Levels, reading: Reading = READINGS["official"]) -> Matching:
    """Match the selected predictions to the true boxes at every IoU threshold; rows refer to `selected`.

    Predictions of each class are in the order of the precision-recall curve. Resamples of videos, AP in a subset and
    the diagnosis of errors can reuse the result as that of `temporal_ap.match`. Raises UserError for thresholds
    outside (0, 1].
    """
    levels = levels_of(thresholds)
    given, truth = selected.predictions, selected.truth
    classes = np.unique(truth.label)
    if not reading.absent:
        classes = classes[np.isin(classes, given.label)]
    label, true_label = class_indices(given.label, classes), class_indices(truth.label, classes)
    row, true_row = np.flatnonzero(label >= 0), np.flatnonzero(true_label >= 0)
    matched = _matched(boxes.rows(given, row), boxes.rows(truth, true_row), levels, reading)
    videos, both = np.unique(np.concatenate([truth.video, given.video, selected.videos]), return_inverse=True)
    true_video, video, _ = np.split(both, np.cumsum([len(truth.video), len(given.video)]))
    score = given.score[row].astype(reading.precision)
    ranked = np.lexsort((selected.row[row], -score, label[row])) if reading.stable else _unstable(label[row], score)
    row, partner = row[ranked], np.append(true_row, -1)[matched[:, ranked]]
    return Matching(
        levels, classes, videos, row, label[row], video[row], partner, true_label[true_row], true_video[true_row]
    )


def class_precisions(
    matching: Matching, classes: Integer[Array, "c"], reading: Reading = READINGS["official"]
) -> Float64[Array, "t c"]:
    """AP of each of `classes` at each threshold as a fraction, in the official script's arithmetic, or NaN."""
    each = np.full((len(matching.thresholds), len(classes)), np.nan)
    positives = np.bincount(matching.true_label, minlength=len(matching.classes))
    edges = np.searchsorted(matching.label, np.arange(len(matching.classes) + 1))
    area = _trapezoid if reading.trapezoid else _envelope
    for place, label in enumerate(class_indices(np.asarray(classes), matching.classes).tolist()):
        if label >= 0:
            hit = matching.true_row[:, edges[label] : edges[label + 1]] >= 0
            each[:, place] = [area(level, int(positives[label])) for level in hit]
    return each


def mean_ap(
    predictions: Boxes,
    truth: Boxes,
    thresholds: Levels = (0.5,),
    *,
    classes: Collection[int] | None = None,
    empty: Frames | None = None,
    excluded: Frames | None = None,
    reading: Reading = READINGS["official"],
) -> Float64[Array, "t"]:
    """Frame-mAP as a fraction at each IoU threshold, to the digit as the code of the `reading`; NaN without true boxes.

    The mean is over `classes` with a true box; see `select` for the arguments.
    """
    selected = select(predictions, truth, classes=classes, empty=empty, excluded=excluded, reading=reading)
    matching = match(selected, thresholds, reading)
    return means(class_precisions(matching, selected.classes, reading), selected.classes)


def means(each: Float64[Array, "t c"], classes: Integer[Array, "c"]) -> Float64[Array, "t"]:
    """Mean over the defined classes, added up at the places of 1-based class numbers as the official script does."""
    if not (len(classes) and classes.min() >= 1 and classes.max() <= MAX_PLACES):
        classes = np.arange(1, each.shape[1] + 1)
    spread = np.full((len(each), int(classes.max(initial=0))), np.nan)
    spread[:, classes - 1] = each
    defined = ~np.isnan(spread)
    total, count = np.where(defined, spread, 0.0).sum(axis=1), defined.sum(axis=1)
    mean: Float64[Array, "t"] = np.divide(total, count, out=np.full(len(each), np.nan), where=count > 0)
    return mean


def _check_truth(truth: Boxes) -> None:
    bad = np.flatnonzero((truth.box[:, 2:] < truth.box[:, :2]).any(axis=1))
    if bad.size:
        raise UserError(
            f"true box {truth.box[bad[0]].tolist()} in row {bad[0]}, video {truth.video[bad[0]]}: expected x1, y1, x2, "
            "y2 with x1 <= x2 and y1 <= y2; correct it"
        )


def levels_of(thresholds: Levels) -> Float64[Array, "t"]:
    """Checked IoU thresholds; UserError outside (0, 1]."""
    levels = np.asarray(thresholds, np.float64)
    if levels.ndim != 1 or not levels.size or not ((levels > 0) & (levels <= 1)).all():
        raise UserError(f"IoU thresholds {levels.tolist()}: expected values above 0 and up to 1, such as 0.5")
    return levels


def _is_in(codes: Int64[Array, "n"], listed: Int64[Array, "m"]) -> Bool[Array, "n"]:
    """Whether each frame is listed; codes are small numbers from 0."""
    present = np.zeros(int(max(codes.max(initial=0), listed.max(initial=0))) + 1, bool)
    present[listed] = True
    return present[codes]


def _ordered(side: Boxes, frame: Int64[Array, "n"], row: Int64[Array, "k"], reading: Reading) -> Int64[Array, "_"]:
    """The rows that the limit leaves, frame by frame in the order of the file, within a frame as they are matched."""
    code = _by_appearance(frame[row])
    if reading.order == "file":
        return row[boxes.sorted_by(code)]
    score = side.score[row]
    order = boxes.falling(code, score, stable=reading.order != "heap")
    count = np.bincount(code)
    rank = np.arange(len(row)) - np.repeat(count.cumsum() - count, count)
    kept = rank < (reading.capacity or len(row) + 1)
    plain = order[kept]
    if reading.order != "heap":
        return row[plain]
    tied = _tied_frames(code, side.label[row], score, order, rank == reading.capacity)
    if not tied.any():
        return row[plain]
    heaped = np.flatnonzero(tied[code])
    resolved = heaped[_heap_order(boxes.rows(side, row[heaped]), code[heaped], reading.capacity)]
    merged = np.concatenate([plain[~tied[code[plain]]], resolved])
    ordered: Int64[Array, "_"] = row[merged[boxes.sorted_by(code[merged])]]
    return ordered


def _by_appearance(frame: Int64[Array, "n"]) -> Int64[Array, "n"]:
    """Frames numbered from 0 in the order in which they first appear."""
    code = boxes.compact(frame)
    first = np.zeros(int(code.max(initial=-1)) + 1, np.int64)
    first[code[::-1]] = np.arange(len(code))[::-1]  # of several, the last to be written stays
    return np.argsort(np.argsort(first))[code]


def _tied_frames(code: Array, label: Array, score: Array, order: Array, cut: Bool[Array, "n"]) -> Bool[Array, "f"]:
    """Frames in which equal scores leave open which rows are kept, or the order of rows of one class."""
    tied = np.zeros(int(code.max(initial=-1)) + 1, bool)
    ranked, frame = score[order], code[order]
    same = (ranked[1:] == ranked[:-1]) & (frame[1:] == frame[:-1])
    tied[frame[1:][same & cut[1:]]] = True
    several = order[(np.append(False, same) | np.append(same, False))[: len(order)]]
    by_class = several[np.lexsort((score[several], label[several], code[several]))]
    before, after = by_class[:-1], by_class[1:]
    same = (code[before] == code[after]) & (label[before] == label[after]) & (score[before] == score[after])
    tied[code[after[same]]] = True
    return tied


def _heap_order(side: Boxes, frame: Int64[Array, "n"], capacity: int) -> Int64[Array, "_"]:
    """The rows that the official reader keeps, in its order: its heap of (score, class, y1, x1, y2, x2), by score."""
    heaps: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    place: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    columns = (side.score, side.label, *side.box[:, [1, 0, 3, 2]].T)
    entries = zip(*(column.tolist() for column in columns), strict=True)
    for row, (key, entry) in enumerate(zip(frame.tolist(), entries, strict=True)):
        heap = heaps[key]
        place[key, entry].append(row)
        if capacity < 1 or len(heap) < capacity:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)
    kept = [place[key, e].pop(0) for key, heap in heaps.items() for e in sorted(heap, key=lambda e: -e[0])]
    return np.array(kept, np.int64)


def _matched(given: Boxes, truth: Boxes, levels: Array, reading: Reading) -> Int64[Array, "t n"]:
    """The true row matched to each prediction at each threshold, or -1; earlier rows of a frame choose first."""
    frame, true_frame = boxes.frame_codes(given, truth)
    keys = np.split(
        boxes.joint_codes(*map(np.concatenate, ((frame, true_frame), (given.label, truth.label)))), [len(frame)]
    )
    a, b = (side.box.astype(reading.precision) for side in (given, truth))
    least = 0.0 if reading.second_choice else float(levels.min())
    found = boxes.pairs(a, b, (keys[0], keys[1]), least=least, pixel=reading.pixel)
    left, right, overlap = boxes.by_overlap(found) if reading.second_choice else boxes.best_partner(found)
    sizes = (len(given.label), len(truth.label))
    return match_at_levels(left, right, overlap >= levels.astype(overlap.dtype)[:, None], sizes)


def _unstable(label: Array, score: Array) -> Int64[Array, "n"]:
    """Rows by class, then by descending score, ties as the official `argsort()[::-1]` leaves them."""
    order = boxes.sorted_by(label)
    edges = np.searchsorted(label[order], np.arange(int(label.max(initial=-1)) + 2))
    parts = [part[np.argsort(score[part])[::-1]] for part in (order[start:stop] for start, stop in pairwise(edges))]
    return np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64)


def _curve(hit: Bool[Array, "n"], positives: int) -> tuple[Array, Array]:
    right = hit.cumsum()
    return right / np.arange(1, len(hit) + 1), right / positives


def _envelope(hit: Bool[Array, "n"], positives: int) -> float:
    """Area under the precision envelope at all points; the sum has the same terms in the same order as the official."""
    if not len(hit):
        return 0.0
    precision, recall = _curve(hit, positives)
    recall, precision = np.concatenate([[0], recall, [1]]), np.concatenate([[0], precision, [0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(np.sum((recall[steps] - recall[steps - 1]) * precision[steps]))


def _trapezoid(hit: Bool[Array, "n"], positives: int) -> float:
    precision, recall = (
        np.append(first, curve) for first, curve in zip((1.0, 0.0), _curve(hit, positives), strict=True)
    )
    return float(np.sum(np.diff(recall) * (precision[1:] + precision[:-1]) * 0.5))
