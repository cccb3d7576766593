"""AVA's tables of actions: one side of the split as rows of actors in the 60 classes that are evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.names import loose
from vitascope.core.text import whole_number
from vitascope.datasets.readers.annotation_files import AnnotationFiles
from vitascope.datasets.readers.box_tables import LARGEST_FRACTION, BoxTable, read_boxes, read_frames
from vitascope.datasets.readers.keyframe_examples import ActorRows
from vitascope.datasets.readers.label_map import LAST_AVA, ava_classes, read_label_map
from vitascope.metrics.boxes import Frames, frame_codes, joint_codes

Array: TypeAlias = NDArray[Any]

SECONDS = (902, 1798)
"""First and last keyframe of a movie; they are a second apart."""
LABEL_MAPS = (
    *("ava_action_list_v2.2_for_activitynet_2019.pbtxt", "ava_action_list_v2.2_for_activitynet.pbtxt"),
    *("ava_action_list_v2.1_for_activitynet_2018.pbtxt.txt", "ava_action_list_v2.1_for_activitynet_2018.pbtxt"),
    *("ava_action_list_v2.2.pbtxt", "ava_action_list_v2.1.pbtxt"),
)
LARGEST_PERSON = 1e9
"""Numbers of persons are smaller."""
TYPES = {"poses": range(1, 15), "objects": range(15, 64), "interactions": range(64, LAST_AVA + 1)}
"""AVA's three types of actions, by number: person movement, object manipulation, person interaction."""
OWN = "for data of your own in this form use its folder: vitascope evaluate FOLDER -t detect"


@cache
def classes() -> tuple[str, ...]:
    """The names of the evaluated classes in the order of their numbers."""
    return tuple(name for _, name in sorted(ava_classes().items()))


@cache
def class_groups() -> dict[str, tuple[int, ...]]:
    """Indices of the evaluated classes by type."""
    numbers = sorted(ava_classes())
    return {name: tuple(i for i, n in enumerate(numbers) if n in of) for name, of in TYPES.items()}


def check_classes(place: AnnotationFiles) -> None:
    """Raise UserError if the label map beside the tables is not AVA's, so that the tables are of another dataset.

    A few other spellings are allowed: releases differ.
    """
    path = place.find(*LABEL_MAPS)
    listed = read_label_map(path) if path else {}
    other = [n for n, name in ava_classes().items() if path and loose(listed.get(n, "")) != loose(name)]
    if 10 * len(other) > len(ava_classes()):
        found, name = listed.get(other[0]), ava_classes()[other[0]]
        is_ = f"is {found!r}" if found else "is not listed"
        raise UserError(f"{path}: class {other[0]} {is_}, but {name!r} in AVA; {OWN}")


@dataclass(kw_only=True)
class RowIssues:
    """Counts of rows that were dropped or changed, over both sides."""

    rows: int = 0
    """Rows with a box."""
    unevaluated: int = 0
    """Rows of the actions that are not evaluated, dropped."""
    excluded: int = 0
    """Rows in keyframes that the authors exclude, dropped."""
    flat: int = 0
    """Rows whose box has no area within the frame, dropped."""
    outside: int = 0
    """Rows whose box reaches beyond the frame, cut at it."""
    repeated: int = 0
    """Repeated rows, counted once."""

    def notes(self) -> Iterator[str]:
        """One sentence per kind of issue that occurred."""
        issues = (
            (self.unevaluated, "of the 20 actions that are not evaluated dropped, as in the official evaluator"),
            (self.excluded, "in keyframes that the authors exclude dropped"),
            (self.flat, "whose box has no area within the frame dropped"),
            (self.outside, "whose box reaches beyond the frame cut at its edge"),
            (self.repeated, "listed twice, counted once"),
        )
        yield from (f"{count:,} of {self.rows:,} rows {issue}" for count, issue in issues if count)


def read_actions(path: Path, excluded: Path | None, issues: RowIssues) -> ActorRows:
    """Read the actions of one side without those in `excluded` keyframes; what is dropped is counted in `issues`.

    Raises UserError, with the line, for scores in the place of persons, actions that AVA does not have, inverted boxes
    and pixels.
    """
    table = read_boxes(path)
    person = _persons(table)
    label = _classes_of(table)
    box, flat = _within_frame(table, issues)
    issues.rows += len(label)
    issues.unevaluated += int((label < 0).sum())
    issues.flat += int(flat.sum())
    rows = ActorRows(
        videos=table.videos,
        video=table.video,
        time=table.time,
        box=box,
        # a box without area is no actor, but its frame remains
        label=np.where(flat, -1, label),
        person=person,
        empty=table.empty,
    )
    issues.repeated += _repeated(rows)
    return rows if excluded is None else _without_excluded(rows, excluded, issues)


def _persons(table: BoxTable) -> Int64[Array, "n"] | None:
    """The number of the person of each row; None without such a column.

    Without a header the eighth of eight columns was read as the score.
    """
    if table.header or table.person is not None or table.score is None:
        return table.person
    odd = np.flatnonzero((table.score != np.rint(table.score)) | (np.abs(table.score) > LARGEST_PERSON))
    if odd.size:
        raise UserError(
            f"{table.where(int(odd[0]))}: person {table.score[odd[0]]:g} is not a whole number; these look like "
            "predictions with scores, not annotations"
        )
    return table.score.astype(np.int64)


def _classes_of(table: BoxTable) -> Int64[Array, "n"]:
    """The index of the class of each row, -1 if it is not evaluated."""
    index = {number: i for i, number in enumerate(sorted(ava_classes()))}
    each = np.empty(len(table.labels), np.int64)
    for i, label in enumerate(table.labels):
        number = whole_number(label)
        if number is None or not 1 <= number <= LAST_AVA:
            row = int(np.flatnonzero(table.label == i)[0])
            raise UserError(
                f"{table.where(row)}: action {label!r:.40} is none of AVA's, which are 1 to {LAST_AVA}; {OWN}"
            )
        each[i] = index.get(number, -1)
    return each[table.label] if len(each) else table.label


def _within_frame(table: BoxTable, issues: RowIssues) -> tuple[Float64[Array, "n 4"], Bool[Array, "n"]]:
    """The boxes cut at the edge of the frame, and which of them have no area."""
    _check_boxes(table)
    box = table.box.clip(0.0, 1.0)
    issues.outside += int((box != table.box).any(axis=1).sum())
    flat: Bool[Array, "n"] = np.any(box[:, 2:] <= box[:, :2], axis=1)
    return box, flat


def _check_boxes(table: BoxTable) -> None:
    """Raise UserError for pixels in the place of fractions, and for inverted boxes."""
    box = table.box
    if not len(box):
        return
    row = int(np.abs(box).max(axis=1).argmax())
    if (largest := float(np.abs(box[row]).max())) > LARGEST_FRACTION:
        raise UserError(
            f"{table.where(row)}: coordinates up to {largest:g} are pixels, but fractions of the frame are expected; "
            "divide x by the width and y by the height of the video"
        )
    inverted = np.flatnonzero((box[:, 2:] < box[:, :2]).any(axis=1))
    if inverted.size:
        shown = ", ".join(f"{value:g}" for value in box[inverted[0]])
        raise UserError(
            f"{table.where(int(inverted[0]))}: the box {shown} is inverted; expected x1, y1, x2, y2 with x1 <= x2 and "
            f"y1 <= y2 (rows like it: {inverted.size:,})"
        )


def _repeated(rows: ActorRows) -> int:
    """Number of rows that repeat an earlier one."""
    corners = [np.unique(column, return_inverse=True)[1] for column in rows.box.T]
    moment = np.unique(rows.time, return_inverse=True)[1]
    person = np.zeros(len(rows.video), np.int64) if rows.person is None else rows.person
    code = joint_codes(rows.video, moment, rows.label, person, *corners)
    used = code[rows.label >= 0]
    return len(used) - len(np.unique(used))


def _without_excluded(rows: ActorRows, path: Path, issues: RowIssues) -> ActorRows:
    names, frames = read_frames(path)
    numbers = {name: i for i, name in enumerate(rows.videos)}
    place = np.array([numbers.get(name, -1) for name in names], np.int64)
    video = place[frames.video] if len(names) else frames.video
    out = Frames(video, frames.time)
    of_rows, of_empty, of_out = frame_codes(Frames(rows.video, rows.time), rows.empty, out)
    dropped, empty = np.isin(of_rows, of_out), np.isin(of_empty, of_out)
    issues.excluded += int(dropped.sum())
    return rows.without(dropped, empty)


def every_second(rows: ActorRows, excluded: Path) -> ActorRows:
    """`rows` with all keyframes of their movies that are not excluded, with people or without."""
    seconds = np.arange(SECONDS[0], SECONDS[1] + 1, dtype=np.float64)
    count = len(rows.videos)
    video = np.repeat(np.arange(count), len(seconds))
    frames = Frames(
        np.concatenate([rows.empty.video, video]), np.concatenate([rows.empty.time, np.tile(seconds, count)])
    )
    return _without_excluded(replace(rows, empty=frames), excluded, RowIssues())


def check_seconds(path: Path, rows: ActorRows) -> None:
    """Raise UserError if a keyframe is none of AVA's."""
    time = np.concatenate([rows.time, rows.empty.time])
    video = np.concatenate([rows.video, rows.empty.video])
    odd = np.flatnonzero((time < SECONDS[0]) | (time > SECONDS[1]))
    if odd.size:
        raise UserError(
            f"{path}: keyframe {time[odd[0]]:g} of {rows.videos[video[odd[0]]]!r} is none of AVA's, which are the "
            f"seconds {SECONDS[0]} to {SECONDS[1]}; {OWN}"
        )
