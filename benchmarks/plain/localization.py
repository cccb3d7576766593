"""mAP of localized actions as the published evaluators count it, prediction by prediction; TRUTH and FOUND are JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TypeAlias

import numpy as np

LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
Numbers: TypeAlias = list[float]
Row: TypeAlias = tuple[str, float, float, str, float]
"""Video, start, end, label, score."""


def iou(start: float, end: float, table: np.ndarray) -> np.ndarray:
    """Of one segment with the true ones of its video."""
    shared = (np.minimum(end, table[:, 1]) - np.maximum(start, table[:, 0])).clip(0)
    overlap: np.ndarray = shared / (table[:, 1] - table[:, 0] + end - start - shared)
    return overlap


def class_ap(found: list[Row], true: list[Row]) -> Numbers:
    """AP of one class at each threshold, prediction by prediction."""
    found = [found[i] for i in np.array([row[4] for row in found]).argsort(kind="stable")[::-1]]
    places: dict[str, list[int]] = {}
    for i, row in enumerate(true):
        places.setdefault(row[0], []).append(i)
    taken, right = np.full((len(LEVELS), len(true)), -1), np.zeros((len(LEVELS), len(found)))
    for i, (video, start, end, _, _) in enumerate(found):
        if video not in places:
            continue
        # the evaluator takes the video's rows out of the class's table, all columns, and numbers them anew
        group = [(*true[j][:4], j) for j in places[video]]
        _, begins, stops, _, index = (list(column) for column in zip(*group, strict=True))
        overlap = iou(start, end, np.array([begins, stops]).T)
        order = overlap.argsort()[::-1]
        for t, level in enumerate(LEVELS):
            for j in order:
                if overlap[j] < level:
                    break
                if taken[t, index[j]] < 0:
                    taken[t, index[j]] = i
                    right[t, i] = 1
                    break
    many = right.cumsum(axis=1)
    return [envelope(row / np.arange(1, len(found) + 1), row / len(true)) for row in many]


def envelope(precision: np.ndarray, recall: np.ndarray) -> float:
    """Area under the precision envelope, as the VOC kit walks it."""
    high, wide = np.hstack([[0], precision, [0]]), np.hstack([[0], recall, [1]])
    for i in range(len(high) - 1)[::-1]:
        high[i] = max(high[i], high[i + 1])
    steps = np.where(wide[1:] != wide[:-1])[0] + 1
    return float(((wide[steps] - wide[steps - 1]) * high[steps]).sum())


def published_map(given: tuple[list[Row], list[Row]]) -> Numbers:
    """Class by class."""
    predictions, truth = given
    each = []
    for label in sorted({row[3] for row in truth}):
        each.append(class_ap([r for r in predictions if r[3] == label], [r for r in truth if r[3] == label]))
    return [100 * float(value) for value in np.mean(each, axis=0)]


def main(truth: str, found: str) -> None:
    """Print the mAP at every threshold, in percent."""
    videos = json.loads(Path(truth).read_text())["database"]
    true = [(v, *a["segment"], a["label"], 1.0) for v, about in videos.items() for a in about["annotations"]]
    results = json.loads(Path(found).read_text())["results"]
    rows = [(v, *p["segment"], p["label"], p["score"]) for v, each in results.items() for p in each]
    print(published_map((rows, true)))


if __name__ == "__main__":
    main(*sys.argv[1:])
