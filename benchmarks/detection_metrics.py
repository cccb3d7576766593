"""Frame-mAP of boxes against the official way of counting it: frame by frame and class by class.

200,000 rows (box and class) of 64 videos and 60 classes, scores of four digits, so that some are equal. The official
evaluator's flow is written here from its description: a heap of 50 rows a frame, then for every frame all 80 classes,
each with its own IoU matrix. Inputs are made before the clock starts, columns for ours and rows for the other, and both
have to agree on the number to the last digit. Both run in one thread, and what is counted is the processor's time.
"""

from __future__ import annotations

import argparse
import heapq
import os
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from vitascope.metrics import frame_ap, temporal_ap
from vitascope.metrics.boxes import Boxes

VIDEOS, FRAMES, PEOPLE, ACTIONS, CLASSES, ROWS = 64, 40, 2, 3, 60, 200_000
ALL_CLASSES = 80
TARGET = 20
"""Times faster."""

Row = tuple[str, float, float, float, float, float, int, float]
Frame = tuple[str, float]


def made() -> tuple[Boxes, Boxes]:
    """Predictions around true boxes, and the truth: a person has several actions, each a row."""
    rng = np.random.default_rng(0)
    people = VIDEOS * FRAMES * PEOPLE
    video, second = np.repeat(np.arange(VIDEOS), FRAMES * PEOPLE), np.tile(np.arange(FRAMES).repeat(PEOPLE), VIDEOS)
    corner, size = rng.uniform(0, 0.5, (people, 2)), rng.uniform(0.1, 0.5, (people, 2))
    person = np.repeat(np.arange(people), ACTIONS)
    classes = np.append(np.sort(rng.permutation(ALL_CLASSES - 1)[: CLASSES - 1]) + 1, ALL_CLASSES)
    label = np.concatenate([rng.choice(classes, ACTIONS, replace=False) for _ in range(people)])
    box = np.round(np.hstack([corner, corner + size]), 3)
    truth = Boxes(video[person], second[person] + 902.0, box[person], label, np.ones(len(person)))
    source = np.sort(rng.integers(people, size=ROWS))
    shifted = np.round(box[source] + rng.normal(0, 0.04, (ROWS, 4)), 3)
    known = rng.random(ROWS) < 0.3
    guess = np.where(known, label.reshape(people, ACTIONS)[source, 0], rng.choice(classes, ROWS))
    score = np.round(rng.random(ROWS), 4)
    return Boxes(video[source], second[source] + 902.0, shifted, guess, score), truth


def listed(side: Boxes) -> list[Row]:
    """Rows with names, as they come out of the file."""
    columns = (side.time, *side.box.T, side.label, side.score)
    numbers = zip(*(column.tolist() for column in columns), strict=True)
    return [(f"video_{v:05}", *row) for v, row in zip(side.video.tolist(), numbers, strict=True)]


def kept(rows: list[Row], classes: set[int], capacity: int) -> dict[Frame, tuple[np.ndarray, ...]]:
    """Boxes, classes and scores of each frame, best first."""
    heaps: dict[Frame, list[tuple[float, ...]]] = defaultdict(list)
    for video, second, x1, y1, x2, y2, label, score in rows:
        if label not in classes:
            continue
        heap = heaps[video, second]
        if capacity < 1 or len(heap) < capacity:
            heapq.heappush(heap, (score, label, y1, x1, y2, x2))
        elif score > heap[0][0]:
            heapq.heapreplace(heap, (score, label, y1, x1, y2, x2))
    tables = {frame: sorted(heap, key=lambda entry: -entry[0]) for frame, heap in heaps.items()}
    return {
        frame: (
            np.array([entry[2:] for entry in table]),
            np.array([entry[1] for entry in table], int),
            np.array([entry[0] for entry in table]),
        )
        for frame, table in tables.items()
    }


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Matrix of overlaps."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    sizes = [(box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) for box in (a, b)]
    overlap: np.ndarray = shared / (sizes[0][:, None] + sizes[1] - shared)
    return overlap


def frame_class(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Which boxes of one frame and class are right."""
    right, taken = np.zeros(len(found), bool), np.zeros(len(true), bool)
    if len(found) and len(true):
        overlap = iou(found, true)
        best = overlap.argmax(axis=1)
        for i in range(len(found)):
            if overlap[i, best[i]] >= 0.5 and not taken[best[i]]:
                right[i] = taken[best[i]] = True
    return right


def official_map(sides: tuple[list[Row], list[Row]]) -> float:
    """Frame by frame and class by class, then AP of every class."""
    classes = {row[6] for row in sides[1]}
    found, true = kept(sides[0], classes, frame_ap.CAPACITY), kept(sides[1], classes, 0)
    scores: list[list[np.ndarray]] = [[] for _ in range(ALL_CLASSES)]
    right: list[list[np.ndarray]] = [[] for _ in range(ALL_CLASSES)]
    positives = np.zeros(ALL_CLASSES, int)
    for _, labels, _ in true.values():
        positives += np.bincount(labels, minlength=ALL_CLASSES + 1)[1 : ALL_CLASSES + 1]
    for frame, (box, labels, score) in found.items():
        if frame not in true:
            continue
        good = (box[:, 0] < box[:, 2]) & (box[:, 1] < box[:, 3])
        box, labels, score = box[good], labels[good], score[good]
        for c in range(ALL_CLASSES):
            own, theirs = labels == c + 1, true[frame][1] == c + 1
            right[c].append(frame_class(box[own], true[frame][0][theirs]))
            scores[c].append(score[own])
    each = np.full(ALL_CLASSES, np.nan)
    for c in np.flatnonzero(positives).tolist():
        order = np.argsort(np.concatenate(scores[c]))[::-1]
        each[c] = area(np.concatenate(right[c])[order], positives[c])
    return float(np.nanmean(each))


def area(right: np.ndarray, positives: int) -> float:
    """Area under the precision envelope, as the VOC kit walks it."""
    true = right.cumsum()
    recall = np.concatenate([[0], true / positives, [1]])
    precision = np.concatenate([[0], true / (np.arange(len(right)) + 1), [0]])
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = np.maximum(precision[i], precision[i + 1])
    steps = np.where(recall[1:] != recall[:-1])[0] + 1
    return float(np.sum((recall[steps] - recall[steps - 1]) * precision[steps]))


def our_map(sides: tuple[Boxes, Boxes]) -> float:
    """From columns."""
    return float(frame_ap.mean_ap(*sides)[0])


def timed(way: Callable[..., float], given: object) -> tuple[float, float]:
    """The number and the seconds of the processor."""
    start = time.process_time()
    value = way(given)
    return value, time.process_time() - start


def main() -> None:
    """Compare both, and the cost of the interval."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    sides = made()
    ours, first = timed(our_map, sides)
    theirs, slow = timed(official_map, tuple(map(listed, sides)))
    again, second = timed(our_map, sides)
    assert ours == theirs == again, (ours, theirs)
    fast = min(first, second)
    print(f"frame-mAP of {ROWS:,} rows, load {os.getloadavg()[0]:.1f}: {ours!r} by both")
    print(f"  ours:     {1000 * first:8.1f} ms, again {1000 * second:.1f} ms")
    print(f"  official: {1000 * slow:8.1f} ms")
    print(f"  {slow / fast:.1f} times faster (target {TARGET})")
    selected = frame_ap.select(*sides)
    matching = frame_ap.match(selected, [0.5])
    start = time.process_time()
    scores, _ = temporal_ap.bootstrap(matching, rng=np.random.default_rng(0))
    score = scores["mAP"]
    print(f"  interval [{score.low:.2f}, {score.high:.2f}] by 2,000 resamples: {time.process_time() - start:.1f} s")


if __name__ == "__main__":
    main()
