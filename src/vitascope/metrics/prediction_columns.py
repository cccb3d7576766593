"""Predictions of actions in time as the columns of a file, and back: what scoring again and comparing read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from vitascope.core.types import Segment, Timeline
from vitascope.metrics.temporal_ap import Segments

Table: TypeAlias = Mapping[str, Sequence[Any]]
"""Columns by name, a row a video."""
Labels: TypeAlias = Int64[NDArray[Any], "_"]


def columns(each: Sequence[Sequence[Segment]]) -> Segments:
    """The segments of videos, numbered in their order, as columns."""
    rows = [(video, s.start, s.end, s.label, s.score) for video, found in enumerate(each) for s in found]
    video, start, end, label, score = np.array(rows, np.float64).reshape(-1, 5).T
    return Segments(video.astype(np.int64), start, end, label.astype(np.int64), score)


def of_segments(predictions: Sequence[Sequence[Segment]], truth: Sequence[Sequence[Segment]]) -> dict[str, list[Any]]:
    """Starts, ends (seconds), labels and scores of each video's segments as lists, and those that are true."""
    said = {f"{name}s": [[getattr(s, name) for s in video] for video in predictions] for name in Segment.__slots__}
    real = {f"true_{name}s": [[getattr(s, name) for s in video] for video in truth] for name in Segment.__slots__[:3]}
    return {**said, **real}


def segments(table: Table) -> tuple[Segments, Segments]:
    """Predicted and true segments out of such columns."""
    return _segments(table, ""), _segments(table, "true_")


def _segments(table: Table, mark: str) -> Segments:
    starts = table[f"{mark}starts"]
    video = np.repeat(np.arange(len(starts)), [len(of) for of in starts])
    start, end, label = (_flat(table[f"{mark}{name}s"]) for name in ("start", "end", "label"))
    score = np.ones(len(start)) if mark else _flat(table["scores"])
    return Segments(video, start, end, label.astype(np.int64), score)


def _flat(lists: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    return np.array([value for values in lists for value in values], np.float64)


def of_labels(predictions: Sequence[Labels], truth: Sequence[Timeline]) -> dict[str, list[Any]]:
    """Runs of each video, predicted and true: their labels, and how many frames they last; and its frames per second.

    Nothing was predicted where there is no run.
    """
    said = [[(label, sum(1 for _ in run)) for label, run in groupby(p.tolist())] for p in predictions]
    return {
        "labels": [[label for label, _ in runs] for runs in said],
        "frames": [[count for _, count in runs] for runs in said],
        "true_labels": [[label for label, _ in t.runs] for t in truth],
        "true_frames": [[count for _, count in t.runs] for t in truth],
        "fps": [t.fps for t in truth],
    }


def labels(table: Table) -> tuple[list[Labels], list[Labels]]:
    """Predicted and true labels of every frame out of such columns; a prediction that is lacking is empty."""
    said, real = (
        [
            np.repeat(np.array(of, np.int64), np.array(counts, np.int64))
            for of, counts in zip(table[f"{mark}labels"], table[f"{mark}frames"], strict=True)
        ]
        for mark in ("", "true_")
    )
    return said, real
