"""Boxes of one's own as fractions of the frame: units are recognized, and what cannot be right is left out and said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.text import counted
from vitascope.datasets.readers.box_sets import BoxSet
from vitascope.datasets.readers.box_tables import LARGEST_FRACTION
from vitascope.datasets.readers.video_clocks import VideoClock
from vitascope.metrics.boxes import Frames, areas, joint_codes

Array: TypeAlias = NDArray[Any]

FEW = 0.1
"""Share of inverted boxes, or of boxes outside the frame, from which another format or size is meant."""
EDGE = 0.02
"""Fraction of the frame by which boxes may reach outside it, since they are rounded."""
SMALL_COPY = 0.55
"""Boxes that reach no farther than this fraction of the frame, in both directions, may be of a smaller copy."""
ENOUGH = 20
"""Boxes from which on how far they reach tells something."""


@dataclass
class Cleaned:
    """Boxes that are left, and what was done."""

    rows: BoxSet
    unit: str = ""
    """Unit of the boxes, in words."""
    notes: list[str] = field(default_factory=list)

    def drop(self, bad: Bool[Array, "n"], what: str) -> None:
        """Leave out rows, which are `what`."""
        self.note(bad, f"{what}: left out")
        self.rows = self.rows.keep(~bad) if bad.any() else self.rows

    def note(self, odd: Bool[Array, "n"], text: str) -> None:
        """Say how many rows are odd, and where the first is."""
        rows = np.flatnonzero(odd)
        if rows.size:
            first = "" if rows.size == 1 else "the first is "
            many = counted(int(rows.size), "box", "boxes")
            self.notes.append(f"{many} {text} ({first}{self.rows.where(int(rows[0]))})")


def cleaned(rows: BoxSet, clocks: Mapping[str, VideoClock | None], late: frozenset[tuple[int, float]]) -> Cleaned:
    """Boxes as fractions of the frame, without those that are wrong; frames stay where all of their boxes go.

    Keyframes that are `late` are left out whole. `UserError` where most boxes are wrong in one way: two units, corners
    that are a width and height, pixels of a larger copy of the videos.
    """
    made = Cleaned(rows)
    _drop_inverted(made)
    _scale(made, clocks)
    _cut(made)
    made.note(_repeated(made.rows), "listed twice: counted once")
    made.note(_twice(made.rows), "of a person that has another box in the same keyframe: taken as two actors")
    _drop_late(made, late)
    made.note(_unlabeled(made.rows), "without a label: left out")
    return made


def _drop_inverted(made: Cleaned) -> None:
    box = made.rows.box
    inverted: Bool[Array, "n"] = np.any(box[:, 2:] < box[:, :2], axis=1)
    if inverted.sum() > FEW * len(box):
        first = int(np.flatnonzero(inverted)[0])
        raise UserError(
            f"{made.rows.where(first)}: box {shown(box[first])} {_others(inverted)} has x2 < x1 or y2 < y1; the "
            "columns are corners: add x and y to a width and height"
        )
    made.drop(inverted, "inverted, with x2 < x1 or y2 < y1")
    made.drop(areas(made.rows.box) <= 0, "of zero area")


def _scale(made: Cleaned, clocks: Mapping[str, VideoClock | None]) -> None:
    """Divide pixels by the size of each video; a missing video has that of its boxes."""
    rows = made.rows
    largest = float(np.abs(rows.box).max(initial=0.0))
    if largest <= LARGEST_FRACTION:
        scaled = any(table.scaled for table in rows.tables)
        made.unit = "boxes in pixels of the annotated images" if scaled else "boxes in fractions of the frame"
    else:
        _check_one_unit(rows)
        size = np.array([_size(rows, number, clocks[name]) for number, name in enumerate(rows.videos)])
        made.rows = replace(rows, box=rows.box / np.tile(size, 2)[rows.video])
        made.unit = "boxes in pixels of each video"
        _check_size(made, clocks)


def _check_one_unit(rows: BoxSet) -> None:
    """Raise for boxes in fractions among pixels."""
    fractions = (np.abs(rows.box) <= 1).all(axis=1) & (rows.box != np.rint(rows.box)).any(axis=1)
    if fractions.any():
        one, other = int(np.flatnonzero(fractions)[0]), int(np.argmax(np.abs(rows.box).max(axis=1)))
        raise UserError(
            f"{rows.where(one)}: box {shown(rows.box[one])} is in fractions of the frame, but {rows.where(other)}: "
            f"{shown(rows.box[other])} in pixels; use one unit"
        )


def _size(rows: BoxSet, number: int, clock: VideoClock | None) -> tuple[float, float]:
    if clock is not None:
        return clock.width, clock.height
    own = rows.box[rows.video == number]
    width, height = (float(own[:, [i, i + 2]].max(initial=1.0)) for i in (0, 1))
    return max(width, 1.0), max(height, 1.0)


def _check_size(made: Cleaned, clocks: Mapping[str, VideoClock | None]) -> None:
    """Raise for pixels of a larger copy of the videos, and note what looks like those of a smaller one."""
    rows = made.rows
    known = np.array([clocks[name] is not None for name in rows.videos])[rows.video]
    center = (rows.box[:, :2] + rows.box[:, 2:]) / 2  # boxes of people at the edge may well reach outside
    beyond = known & ((center < 0) | (center > 1)).any(axis=1)
    reach = rows.box[known].max(axis=0, initial=0.0)[2:].tolist()
    if beyond.sum() > FEW * len(beyond):
        first = int(np.flatnonzero(beyond)[0])
        clock = clocks[rows.videos[rows.video[first]]]
        assert clock
        size = (clock.width, clock.height)
        raise UserError(
            f"{rows.where(first)}: box {shown(rows.box[first] * np.tile(size, 2))} {_others(beyond)} is outside the "
            f"frame of {size[0]} x {size[1]} pixels; of which size are the annotated videos?"
        )
    if known.sum() >= ENOUGH and max(reach) < SMALL_COPY:
        made.notes.append(
            f"boxes reach only {reach[0]:.0%} of the width and {reach[1]:.0%} of the height of the frame; are they "
            "pixels of a smaller copy of the videos, or percent?"
        )


def _cut(made: Cleaned) -> None:
    """Cut boxes at the edge of the frame."""
    inside = np.clip(made.rows.box, 0.0, 1.0)
    gone = areas(inside) <= 0
    made.drop(gone, "outside the frame")
    inside = inside[~gone]
    made.note((np.abs(inside - made.rows.box) > EDGE).any(axis=1), "reaching outside the frame: cut at its edge")
    made.rows = replace(made.rows, box=inside)


def _codes(rows: BoxSet, *columns: Int64[Array, "n"]) -> Int64[Array, "n"]:
    """A number for each different keyframe and values of columns."""
    return joint_codes(rows.video, np.unique(rows.time, return_inverse=True)[1], *columns)


def _box_codes(rows: BoxSet) -> list[Int64[Array, "n"]]:
    return [np.unique(column, return_inverse=True)[1] for column in rows.box.T]


def _again(code: Int64[Array, "n"]) -> Bool[Array, "n"]:
    """Whether a value was there before."""
    again = np.ones(len(code), bool)
    again[np.unique(code, return_index=True)[1]] = False
    return again


def _repeated(rows: BoxSet) -> Bool[Array, "n"]:
    person = np.zeros_like(rows.label) if rows.person is None else rows.person
    return _again(_codes(rows, rows.label, person, *_box_codes(rows)))


def _twice(rows: BoxSet) -> Bool[Array, "n"]:
    """Whether a row is the first one of another box of a person that has one in the keyframe."""
    if rows.person is None:
        return np.zeros(len(rows.video), bool)
    new = ~_again(_codes(rows, rows.person, *_box_codes(rows)))
    other = np.zeros(len(new), bool)
    other[new] = _again(_codes(rows, rows.person)[new])
    return other & (rows.person >= 0)


def _drop_late(made: Cleaned, late: frozenset[tuple[int, float]]) -> None:
    """Leave out keyframes after the end of their video, also those without people."""
    if not late:
        return
    rows = made.rows
    bad = _in_frames(rows.video, rows.time, late)
    many = counted(len(late), "keyframe")
    made.note(bad, f"in {many} after the end of their video: left out")
    if not bad.any():
        made.notes.append(f"{many} without people after the end of their video: left out")
    rows = rows.keep(~bad)
    kept = ~_in_frames(rows.empty.video, rows.empty.time, late)
    made.rows = replace(rows, empty=Frames(rows.empty.video[kept], rows.empty.time[kept]))


def _in_frames(video: Array, time: Array, frames: frozenset[tuple[int, float]]) -> Bool[Array, "n"]:
    pairs = zip(video.tolist(), time.tolist(), strict=True)
    return np.fromiter((pair in frames for pair in pairs), bool, len(video))


def _unlabeled(rows: BoxSet) -> Bool[Array, "n"]:
    blank = np.array([not label.strip() for label in rows.labels], bool)
    return blank[rows.label] if len(blank) else np.zeros(0, bool)


def _others(odd: Bool[Array, "n"]) -> str:
    """How many rows there are besides the first."""
    return f"(1 of {len(odd)})" if odd.sum() == 1 else f"(the first of {int(odd.sum())} of {len(odd)})"


def shown(box: Array) -> str:
    """A box for a message."""
    return ", ".join(f"{value:.4g}" for value in box.tolist())
