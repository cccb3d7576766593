"""Temporal predictions as columns of a Parquet file, and back."""

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
"""Columns by name, one row per video."""
Labels: TypeAlias = Int64[NDArray[Any], "_"]


def columns(each: Sequence[Sequence[Segment]]) -> Segments:
    """The segments of several videos as columns; videos are numbered in the given order."""
    rows = [(video, s.start, s.end, s.label, s.score) for video, segments in enumerate(each) for s in segments]
    video, start, end, label, score = np.array(rows, np.float64).reshape(-1, 5).T
    return Segments(video.astype(np.int64), start, end, label.astype(np.int64), score)


def of_segments(predictions: Sequence[Sequence[Segment]], truth: Sequence[Sequence[Segment]]) -> dict[str, list[Any]]:
    """Columns of predicted starts, ends (seconds), labels and scores per video, and of the true segments."""
    predicted = {f"{name}s": [[getattr(s, name) for s in video] for video in predictions] for name in Segment.__slots__}
    true = {f"true_{name}s": [[getattr(s, name) for s in video] for video in truth] for name in Segment.__slots__[:3]}
    return {**predicted, **true}


def segments(table: Table) -> tuple[Segments, Segments]:
    """Predicted and true segments from the columns of `of_segments`."""
    return _segments(table, ""), _segments(table, "true_")


def _segments(table: Table, prefix: str) -> Segments:
    starts = table[f"{prefix}starts"]
    video = np.repeat(np.arange(len(starts)), [len(of) for of in starts])
    start, end, label = (_flat(table[f"{prefix}{name}s"]) for name in ("start", "end", "label"))
    score = np.ones(len(start)) if prefix else _flat(table["scores"])
    return Segments(video, start, end, label.astype(np.int64), score)


def _flat(lists: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    return np.array([value for values in lists for value in values], np.float64)


def of_labels(predictions: Sequence[Labels], truth: Sequence[Timeline]) -> dict[str, list[Any]]:
    """Columns of predicted and true runs per video: label and number of frames of each run, and the frame rate.

    A video without predicted runs has no prediction.
    """
    predicted = [[(label, sum(1 for _ in run)) for label, run in groupby(p.tolist())] for p in predictions]
    return {
        "labels": [[label for label, _ in runs] for runs in predicted],
        "frames": [[count for _, count in runs] for runs in predicted],
        "true_labels": [[label for label, _ in t.runs] for t in truth],
        "true_frames": [[count for _, count in t.runs] for t in truth],
        "fps": [t.fps for t in truth],
    }


def labels(table: Table) -> tuple[list[Labels], list[Labels]]:
    """Predicted and true frame labels from the columns of `of_labels`; empty for a missing prediction."""
    predicted, true = (
        [
            np.repeat(np.array(of, np.int64), np.array(counts, np.int64))
            for of, counts in zip(table[f"{prefix}labels"], table[f"{prefix}frames"], strict=True)
        ]
        for prefix in ("", "true_")
    )
    return predicted, true
