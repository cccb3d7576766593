"""Videos stored as folders of files that follow each other, each named after the second at which it begins.

Copies of AVA go round so, a file a second: `clips/MOVIE/902.mp4`. Frames around a second lie in several files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.media import FRAME_SUFFIXES, VIDEO_SUFFIXES, is_clutter, suffix
from vitascope.video.orientation import Orientation
from vitascope.video.packet_index import Index, read_index

NAME = re.compile(rf"(\d+)\.(?:{'|'.join(sorted(s[1:] for s in VIDEO_SUFFIXES))})", re.IGNORECASE)
"""Name of a file: the second at which it begins."""
OVERLAP = 0.5
"""Seconds by which a file may go on after the next one begins; such frames are left out."""


class Segment(NamedTuple):
    """A file of a folder."""

    path: str
    second: int
    """The number in its name: where it begins, seconds."""


class SegmentFolder(NamedTuple):
    """The files of a folder in order, read as one video that begins with the first of them."""

    paths: tuple[str, ...]
    firsts: tuple[int, ...]
    """Number of the first frame of each file."""
    times: tuple[float, ...]
    duration: float
    size: tuple[int, int]
    orientation: Orientation
    warnings: tuple[str, ...]


def is_segment(name: str) -> bool:
    """Whether a file is called after the second at which it begins."""
    return NAME.fullmatch(name) is not None


def list_segments(path: str) -> list[Segment]:
    """The files of the folder at `path` that are called after seconds, in order; none if it holds images.

    No file is opened.
    """
    names = os.listdir(path)
    if any(suffix(name) in FRAME_SUFFIXES and not is_clutter(name) for name in names):
        return []
    found = [(int(match[1]), name) for name in names if (match := NAME.fullmatch(name))]
    return [Segment(os.path.join(path, name), second) for second, name in sorted(found)]


def read_segments(path: str) -> SegmentFolder:
    """The files in the folder at `path` as one video, cached until the folder changes.

    UserError if two files begin at the same second, or one goes on long after the next begins.
    """
    return _read(path, os.stat(path).st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: str, _version: int) -> SegmentFolder:
    segments = list_segments(path)
    for before, after in pairwise(segments):
        if before.second == after.second:
            raise UserError(f"{after.path} and {before.path} begin at the same second; keep one of them")
    indexes = [(s, i) for s in segments if (i := _index(s.path)) is not None]
    if not indexes:
        raise UserError(f"{path}: none of its {len(segments)} files can be read")
    return _joined([s for s, _ in indexes], [i for _, i in indexes], len(segments) - len(indexes))


def _index(path: str) -> Index | None:
    """The frames of a file; None if it is damaged."""
    try:
        return read_index(path)
    except (UserError, OSError):
        return None


def _joined(segments: Sequence[Segment], indexes: Sequence[Index], damaged: int) -> SegmentFolder:
    starts = [float(s.second - segments[0].second) for s in segments]
    ends = [*starts[1:], starts[-1] + indexes[-1].duration]
    times: list[float] = []
    firsts: list[int] = []
    for segment, index, start, end in zip(segments, indexes, starts, ends, strict=True):
        if start + index.duration > end + OVERLAP:
            raise UserError(
                f"{segment.path} lasts {index.duration:g} s, and another file begins {end - start:g} s after it; in a "
                "folder of files called after the seconds at which they begin, each ends where the next one begins"
            )
        firsts.append(len(times))
        times += [start + time for time in index.times if start + time < end]
    warnings = [*_gap_warnings(starts, indexes), *([f"unreadable files: {damaged}"] if damaged else [])]
    first = indexes[0]
    return SegmentFolder(
        tuple(s.path for s in segments), tuple(firsts), tuple(times), ends[-1], first.size, first.orientation,
        (*warnings, *dict.fromkeys(w for index in indexes for w in index.warnings)),
    )  # fmt: skip


def _gap_warnings(starts: Sequence[float], indexes: Iterable[Index]) -> list[str]:
    ends = [start + index.duration for start, index in zip(starts, indexes, strict=True)]
    gaps = sum(begin - end > OVERLAP for end, begin in zip(ends, starts[1:], strict=False))
    return [f"gaps between files: {gaps}; the last frame before is displayed longer"] if gaps else []
