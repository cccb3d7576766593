"""Predictions of segments, frame labels and boxes as columns of a Parquet file, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from vitascope.core.types import Segment, Timeline
from vitascope.metrics.boxes import Boxes, Frames
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


def of_boxes(predicted: Boxes, true: Boxes, times: Sequence[Sequence[float]]) -> dict[str, list[Any]]:
    """Columns of the boxes of numbered examples, ascending, and of the annotated `times` of each.

    Per example: times, boxes (four numbers each, one after another), labels and scores.
    """
    count = len(times)
    true_columns = {f"true_{name}": column for name, column in _box_lists(true, count).items() if name != "scores"}
    return {**_box_lists(predicted, count), **true_columns, "keyframes": [list(each) for each in times]}


def _box_lists(boxes: Boxes, count: int) -> dict[str, list[Any]]:
    edges = np.searchsorted(boxes.video, np.arange(count + 1)).tolist()
    table = {"times": boxes.time, "boxes": boxes.box, "labels": boxes.label, "scores": boxes.score}
    return {name: [column[a:b].ravel().tolist() for a, b in pairwise(edges)] for name, column in table.items()}


def boxes(table: Table) -> tuple[Boxes, Boxes, Frames]:
    """Predicted and true boxes, and the annotated frames without a box, from the columns of `of_boxes`."""
    predicted, true = _boxes(table, ""), _boxes(table, "true_")
    listed = [(n, time) for n, times in enumerate(table["keyframes"]) for time in times]
    occupied = set(zip(true.video.tolist(), true.time.tolist(), strict=True))
    empty = np.array([frame for frame in listed if frame not in occupied], np.float64).reshape(-1, 2)
    return predicted, true, Frames(empty[:, 0].astype(np.int64), empty[:, 1])


def _boxes(table: Table, prefix: str) -> Boxes:
    times, corners, label = (_flat(table[f"{prefix}{name}"]) for name in ("times", "boxes", "labels"))
    video = np.repeat(np.arange(len(table[f"{prefix}times"])), [len(of) for of in table[f"{prefix}times"]])
    score = np.ones(len(times)) if prefix else _flat(table["scores"])
    return Boxes(video, times, corners.reshape(-1, 4), label.astype(np.int64), score)
