"""Random segments and timelines, and the published evaluations of them written down as loops."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from vitascope.metrics.temporal_ap import Segments

Row = tuple[int, float, float, int, float]
"""Video, start, end, label, score."""


def segments(rows: list[Row]) -> Segments:
    """Rows as columns."""
    video, start, end, label, score = np.array(rows, np.float64).reshape(-1, 5).T
    return Segments(video.astype(np.int64), start, end, label.astype(np.int64), score)


def table(columns: Segments) -> list[Row]:
    """Columns as rows."""
    return list(zip(*(column.tolist() for column in columns), strict=True))


@st.composite
def rows(draw: st.DrawFn, size: int = 12, least: int = 0) -> list[Row]:
    """Segments on a coarse grid of time and score, so that ties and exact thresholds are the rule."""
    ends = st.tuples(st.integers(0, 8), st.integers(1, 6))
    one = st.tuples(st.integers(0, 2), ends, st.integers(0, 2), st.sampled_from([0.1, 0.5, 0.5, 0.9]))
    drawn = draw(st.lists(one, min_size=least, max_size=size))
    return [
        (video, float(start), float(start + length), label, score) for video, (start, length), label, score in drawn
    ]


def tiou(a: Row, b: Row) -> float:
    """What two segments share over what either covers."""
    shared = max(min(a[2], b[2]) - max(a[1], b[1]), 0.0)
    either = (a[2] - a[1]) + (b[2] - b[1]) - shared
    return shared / either if shared else 0.0


def walked(predictions: list[Row], truth: list[Row], threshold: float, label: int) -> list[tuple[int, int]]:
    """(row of the prediction, row of the true segment or -1) of one class, best score first."""
    by_video: dict[int, list[int]] = {}
    for j, t in enumerate(truth):
        if t[3] == label:
            by_video.setdefault(t[0], []).append(j)
    order = sorted((i for i, p in enumerate(predictions) if p[3] == label), key=lambda i: (-predictions[i][4], i))
    taken: set[int] = set()
    pairs = []
    for i in order:
        p = predictions[i]
        near = by_video.get(p[0], [])
        got = -1
        for j in sorted(near, key=lambda j: (-tiou(p, truth[j]), j)):
            if tiou(p, truth[j]) < threshold:
                break
            if j not in taken:
                got = j
                break
        taken.add(got)
        pairs.append((i, got))
    return pairs


def area(right: list[bool], positives: int, normalizer: float | None = None) -> float:
    """Percent of the area under the precision envelope, a step of recall at every right one."""
    many = positives if normalizer is None else normalizer
    points, true = [], 0
    for rank, good in enumerate(right, 1):
        true += good
        recalled = true / positives
        points.append((recalled, recalled * many / (recalled * many + rank - true) if true else 0.0))
    total, best = 0.0, 0.0
    for good, (_, precision) in zip(reversed(right), reversed(points), strict=True):
        best = max(best, precision)
        total += best / positives if good else 0.0
    return 100 * total


def mean_ap(predictions: list[Row], truth: list[Row], threshold: float) -> float:
    """Mean over the classes of the truth."""
    each = []
    for label in sorted({t[3] for t in truth}):
        right = [j >= 0 for _, j in walked(predictions, truth, threshold, label)]
        each.append(area(right, sum(t[3] == label for t in truth)))
    return float(np.mean(each)) if each else float("nan")
