"""Boxes of a person detector at keyframes, without classes: a csv as for AVA, or a pickle of proposals.

The csv is that of `box_tables` with a score in its last column; an action before it is ignored. The pickle holds
{"video,0902": n x 5 (x1, y1, x2, y2, score)}, as FAIR's `ava_dense_proposals_*.pkl`, and n x 4 without scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from vitascope.core import plain_pickle
from vitascope.core.errors import UserError
from vitascope.core.media import suffix
from vitascope.core.names import canonical
from vitascope.datasets.readers.box_tables import read_boxes

Array: TypeAlias = NDArray[Any]

PICKLES = (".pkl", ".pickle")
SLACK = 0.5
"""By how much a box may reach beyond the frame, frame sides; it is cut there. Others are taken for pixels."""
WHAT = "boxes of a detector"


class PersonBoxes(NamedTuple):
    """Boxes as columns."""

    videos: tuple[str, ...]
    """Names of the videos."""
    video: Int64[Array, "n"]
    time: Float64[Array, "n"]
    """Annotated time, seconds."""
    box: Float64[Array, "n 4"]
    """Left, top, right, bottom, 0 to 1."""
    score: Float64[Array, "n"]
    """Probability of a person, 0 to 1; 1 in files without scores."""
    dropped: int
    """Number of boxes left out, as they have no area within the frame."""


def read_person_boxes(path: Path) -> PersonBoxes:
    """Read the boxes of a detector.

    Raises UserError, with the place, for rows that do not fit, coordinates in pixels and scores that are none.
    """
    boxes = _of_pickle(path) if suffix(path.name) in PICKLES else _of_table(path)
    _check(boxes, path)
    box = boxes.box.clip(0.0, 1.0)
    kept = (box[:, 2:] > box[:, :2]).all(1)
    return PersonBoxes(
        boxes.videos, boxes.video[kept], boxes.time[kept], box[kept], boxes.score[kept], int((~kept).sum())
    )


def _of_table(path: Path) -> PersonBoxes:
    table = read_boxes(path, labeled=False)
    score = np.ones(len(table.time)) if table.score is None else table.score
    return PersonBoxes(table.videos, table.video, table.time, table.box, score, 0)


def _of_pickle(path: Path) -> PersonBoxes:
    content = plain_pickle.read(path, WHAT)
    if not isinstance(content, dict) or not content:
        raise UserError(f'{path}: a pickle of {WHAT} is a dictionary such as {{"video,0902": n x 5 numbers}}')
    frames = [_frame(key, value, path) for key, value in content.items()]
    names: dict[str, int] = {}
    number = [names.setdefault(canonical(video), len(names)) for video, _, _ in frames]
    counts = [len(rows) for _, _, rows in frames]
    rows = np.concatenate([rows for _, _, rows in frames])
    time = np.repeat([time for _, time, _ in frames], counts)
    return PersonBoxes(tuple(names), np.repeat(np.array(number, np.int64), counts), time, rows[:, :4], rows[:, 4], 0)


def _frame(key: Any, value: Any, path: Path) -> tuple[str, float, Float64[Array, "n 5"]]:
    """Video, time and rows of one frame."""
    video, comma, time = str(key).rpartition(",")
    try:
        rows = np.asarray(value, np.float64)
        seconds = float(time)
    except (TypeError, ValueError):
        rows, seconds = np.zeros(0), np.nan
    if not rows.size:
        rows = rows.reshape(0, 5)
    if rows.ndim == 2 and rows.shape[1] == 4:
        rows = np.column_stack([rows, np.ones(len(rows))])
    if not comma or not np.isfinite(seconds) or rows.ndim != 2 or rows.shape[1] != 5:
        raise UserError(f"{path}: entry {str(key)!r:.60}: expected 'video,0902' and n x 5 numbers")
    return video, seconds, rows


def _check(boxes: PersonBoxes, path: Path) -> None:
    """Raise for the first row that is none of a box in fractions and a score."""
    problems: Mapping[str, Any] = {
        "coordinates are not finite": ~np.isfinite(boxes.box).all(1),
        "coordinates are pixels, not fractions of the frame; divide them by its width and height": (
            (boxes.box < -SLACK) | (boxes.box > 1 + SLACK)
        ).any(1),
        "the score is not between 0 and 1; is it in another column?": ~((boxes.score >= 0) & (boxes.score <= 1)),
    }
    for problem, wrong in problems.items():
        if wrong.any():
            i = int(np.argmax(wrong))
            row = [*boxes.box[i].tolist(), float(boxes.score[i])]
            where = f"{boxes.videos[boxes.video[i]]} at {boxes.time[i]:g}"
            raise UserError(f"{path}: {where}: {problem} ({', '.join(f'{v:g}' for v in row)})")
