"""Random boxes and tubes, and the published evaluations of them written down as loops over frames and classes."""

from __future__ import annotations

import heapq
from collections import defaultdict
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from vitascope.metrics.boxes import Boxes, Frames
from vitascope.metrics.tubes import Tubes

Row = tuple[int, float, float, float, float, float, int, float]
"""Video, time, x1, y1, x2, y2, label, score."""
Frame = tuple[int, float]
Tube = tuple[int, int, float, list[tuple[int, float, float, float, float]]]
"""Video, label, score, boxes (frame, x1, y1, x2, y2)."""


def boxes(rows: list[Row]) -> Boxes:
    """Rows as columns."""
    table = np.array(rows, np.float64).reshape(-1, 8)
    return Boxes(table[:, 0].astype(np.int64), table[:, 1], table[:, 2:6], table[:, 6].astype(np.int64), table[:, 7])


def frames(pairs: list[Frame]) -> Frames:
    """Frames as columns."""
    table = np.array(pairs, np.float64).reshape(-1, 2)
    return Frames(table[:, 0].astype(np.int64), table[:, 1])


def tubes(each: list[Tube]) -> Tubes:
    """Tubes as columns."""
    head = np.array([tube[:3] for tube in each], np.float64).reshape(-1, 3)
    table = np.array([(i, *box) for i, tube in enumerate(each) for box in tube[3]], np.float64).reshape(-1, 6)
    return Tubes(
        head[:, 0].astype(np.int64),
        head[:, 1].astype(np.int64),
        head[:, 2],
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        table[:, 2:],
    )


@st.composite
def rows(draw: st.DrawFn, size: int = 14, *, flat: bool = True) -> list[Row]:
    """Boxes on a coarse grid of place and score, so that ties and exact thresholds are the rule."""
    side = st.tuples(st.integers(0, 3), st.integers(0 if flat else 1, 3))
    score = st.sampled_from([0.1, 0.5, 0.5, 0.9])
    one = st.tuples(st.integers(0, 1), st.integers(0, 1), side, side, st.integers(1, 3), score)
    return [
        (video, float(time), x / 8, y / 8, (x + w) / 8, (y + h) / 8, label, s)
        for video, time, (x, w), (y, h), label, s in draw(st.lists(one, max_size=size))
    ]


@st.composite
def tracks(draw: st.DrawFn, size: int = 6) -> list[Tube]:
    """Tubes on a coarse grid, of frames without gaps."""
    number = st.integers(0, 4)
    one = st.tuples(st.integers(0, 1), st.integers(0, 1), st.sampled_from([0.1, 0.5, 0.9]), number, st.integers(2, 6))
    made = []
    for video, label, score, first, count in draw(st.lists(one, max_size=size)):
        corners = draw(st.lists(st.tuples(number, number), min_size=count, max_size=count))
        made.append((video, label, score, [(first + i, x, y, x + 4.0, y + 4.0) for i, (x, y) in enumerate(corners)]))
    return made


def iou(a: tuple[float, ...], b: tuple[float, ...], pixel: float = 0.0) -> float:
    """What two boxes share over what either covers."""
    wide = max(min(a[2], b[2]) - max(a[0], b[0]) + pixel, 0.0)
    high = max(min(a[3], b[3]) - max(a[1], b[1]) + pixel, 0.0)
    areas = [(box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (a, b)]
    union = areas[0] + areas[1] - wide * high
    return wide * high / union if union > 0 else 0.0


def read(listed: list[Row], classes: set[int], capacity: int, *, true: bool = False) -> dict[Frame, list[Row]]:
    """The rows of each frame as the official reader keeps and sorts them."""
    heaps: dict[Frame, list[tuple[float, ...]]] = defaultdict(list)
    for video, time, x1, y1, x2, y2, label, score in listed:
        if label in classes:
            entry = (1.0 if true else score, label, y1, x1, y2, x2)
            heap = heaps[video, time]
            if capacity < 1 or len(heap) < capacity:
                heapq.heappush(heap, entry)
            elif entry[0] > heap[0][0]:
                heapq.heapreplace(heap, entry)
    return {
        (video, time): [
            (video, time, x1, y1, x2, y2, int(label), score)
            for score, label, y1, x1, y2, x2 in sorted(heap, key=lambda entry: -entry[0])
        ]
        for (video, time), heap in heaps.items()
    }


def official(
    predictions: list[Row],
    truth: list[Row],
    classes: set[int],
    *,
    empty: list[Frame],
    excluded: list[Frame],
    capacity: int = 50,
    level: float = 0.5,
) -> tuple[float, dict[int, float]]:
    """The mean and each class of ActivityNet's get_ava_performance.py, frame by frame and class by class."""
    listed = {row[:2] for row in truth} | set(empty)
    true = {f: r for f, r in read(truth, classes, 0, true=True).items() if f not in excluded}
    pooled: dict[int, tuple[list[float], list[bool]]] = {label: ([], []) for label in classes}
    for frame, kept in read(predictions, classes, capacity).items():
        if frame not in listed or frame in excluded:
            continue
        for label in classes:
            own = [r for r in kept if r[6] == label and r[4] > r[2] and r[5] > r[3]]
            near = np.array([r[2:6] for r in true.get(frame, []) if r[6] == label]).reshape(-1, 4)
            taken = np.zeros(len(near), bool)
            for row in own:
                shared = [iou(row[2:6], tuple(box)) for box in near.tolist()]
                best = int(np.argmax(shared)) if shared else -1
                right = best >= 0 and shared[best] >= level and not taken[best]
                if right:
                    taken[best] = True
                pooled[label][0].append(row[7])
                pooled[label][1].append(right)
    each = np.full(max(classes), np.nan)
    for label, (scores, right) in pooled.items():
        positives = sum(r[6] == label for rows in true.values() for r in rows)
        if positives:
            each[label - 1] = area(np.array(right, bool)[np.argsort(np.array(scores))[::-1]], positives)
    mean = float(np.nanmean(each)) if not np.isnan(each).all() else float("nan")
    return mean, {label: float(each[label - 1]) for label in classes}


def area(right: np.ndarray, positives: int) -> float:
    """Area under the precision envelope as a fraction, walked as the VOC kit does."""
    if not len(right):
        return 0.0
    true = right.cumsum()
    recall = np.concatenate([[0], true / positives, [1]])
    precision = np.concatenate([[0], true / (np.arange(len(right)) + 1), [0]])
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = np.maximum(precision[i], precision[i + 1])
    steps = np.where(recall[1:] != recall[:-1])[0] + 1
    return float(np.sum((recall[steps] - recall[steps - 1]) * precision[steps]))


def straight(right: np.ndarray, positives: int) -> float:
    """Area under straight lines from point to point, as the ACT detector's code has it."""
    points, true = [(1.0, 0.0)], 0
    for rank, good in enumerate(right.tolist(), 1):
        true += good
        points.append((true / rank, true / positives))
    return sum((b[1] - a[1]) * (b[0] + a[0]) / 2 for a, b in pairwise(points))


def walked(predictions: list, truth: list, overlap, level: float, *, second: bool) -> list[bool]:
    """Whether each prediction of a class is right, best score first; `overlap` is 0 across frames or videos."""
    taken: set[int] = set()
    right = []
    for p in sorted(predictions, key=lambda p: -p[0]):
        shared = {j: overlap(p[1], t) for j, t in enumerate(truth) if not (second and j in taken)}
        best = max(shared, key=lambda j: (shared[j], -j)) if shared else -1
        good = best >= 0 and shared[best] >= level and shared[best] > 0 and best not in taken
        taken |= {best} if good else set()
        right.append(good)
    return right


def tube_iou(a: Tube, b: Tube, *, pixel: float, frame: int) -> float:
    """Overlap in time times the mean overlap of boxes in the frames of both; tubes without gaps."""
    low, high = max(a[3][0][0], b[3][0][0]), min(a[3][-1][0], b[3][-1][0])
    if a[0] != b[0] or high < low:
        return 0.0
    either = max(a[3][-1][0], b[3][-1][0]) - min(a[3][0][0], b[3][0][0]) + frame
    one, other = ({box[0]: box[1:] for box in tube[3]} for tube in (a, b))
    return (high - low + frame) / either * float(np.mean([iou(one[f], other[f], pixel) for f in range(low, high + 1)]))
