"""Fingerprints of videos: three frames, small and gray, by which a copy is recognized: another encoding, or mirrored.

The thresholds lie between what encoding does and what differs between clips of one scene. For any two of 1,300 clips of
three real sets the largest difference of a cell is at least 36 gray levels, also where one of both is mirrored; for
encodings of one clip at usual qualities it is at most 18, and their changes correlate by at least 0.94. Clips of a
static camera with small objects look alike within 13 levels, but their changes do not correlate.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8

from vitascope.core.pixel_transform import Resize
from vitascope.core.types import Clip, Span, Video
from vitascope.core.worker_process import report_alive
from vitascope.video import UNREADABLE, decode, inspect

SIDE = 32
"""Side of the frames that are decoded, pixels."""
RESIZE: Resize = "square"
"""The whole frame is resized: a center crop of odd rest moves by a pixel when a video is mirrored."""
CELLS = 16
"""Side of the grid of cells of a frame; a cell keeps its mean gray level."""
TOLERANCE = 24.0
"""Largest difference of any cell of any frame between encodings of one video, gray levels."""
QUARTERS = 8.0
"""Largest difference of the mean of any quarter of any frame, gray levels."""
CORRELATION = 0.8
"""Least correlation of the changes of the cells over the frames: other clips of the same scene change otherwise."""
FLAT = 8.0
"""Standard deviation of the cells, gray levels, below which frames show too little to recognize a video by."""
STILL = 1.0
"""Root mean square of the changes, gray levels, below which they are mostly noise."""
Levels: TypeAlias = Float32[np.ndarray, "t y x"]
"""Gray levels of the cells of each frame."""


class PrintRequest(NamedTuple):
    """A video, or a span of it, of which to take the fingerprint."""

    path: str
    span: Span | None = None
    """Start and end, seconds."""
    fps: float | None = None
    """Frame rate of a folder of frames, frames per second."""


def take_fingerprint(request: PrintRequest) -> Iterator[tuple[str, None]]:
    """Yield the fingerprint of a video; empty if it cannot be decoded. To be run in a worker process.

    Nothing is yielded if the system fails to read the file, which may not happen again.
    """
    frames = np.zeros((0, SIDE, SIDE, 3), np.uint8)
    try:
        video = inspect(request.path, fps=request.fps).within(request.span)
        for _, pixels in decode(video, [key_frames(video)], SIDE, RESIZE):
            frames = pixels
            report_alive()
    except OSError:
        return
    except UNREADABLE:
        yield "", None
    else:
        yield fingerprint(frames), None


def key_frames(video: Video) -> Clip:
    """The first, middle and last frames of a video or its span, each once."""
    frames = video.visible()
    chosen = dict.fromkeys((frames[0], frames[len(frames) // 2], frames[-1]))
    return Clip(tuple(video.times[i] for i in chosen), (video.start, video.end))


def fingerprint(frames: UInt8[np.ndarray, "t y x 3"]) -> str:
    """Mean gray level of the cells of some frames in hex; empty for frames that show too little or do not change.

    `frames` are squares of `SIDE` pixels.
    """
    if not len(frames):
        return ""
    side = SIDE // CELLS
    cells = frames.reshape(len(frames), CELLS, side, CELLS, side, 3).mean((2, 4, 5), dtype=np.float32)
    if cells.std() < FLAT or np.sqrt((_changes(cells) ** 2).mean()) < STILL:
        return ""
    return bytes(np.rint(cells).astype(np.uint8)).hex()


def is_fingerprint(text: str) -> bool:
    """Whether `text` has the form of a fingerprint."""
    return bool(re.fullmatch(f"([0-9a-f]{{{2 * CELLS**2}}})*", text))


def same_video(one: str, other: str) -> bool:
    """Whether two fingerprints are those of encodings of one video, one of which may be mirrored."""
    return bool(one) and len(one) == len(other) and _is_copy(_levels(one), _levels(other))


def copies(prints: Mapping[str, str]) -> dict[str, str]:
    """{path: the first path with the same video}, for every path that has another encoding among the others.

    `prints` are fingerprints by path; each is compared with the first of its video.
    """
    by_length: dict[int, list[str]] = defaultdict(list)
    for path, text in prints.items():
        by_length[len(text)].append(path)
    found: dict[str, str] = {}
    for length, paths in by_length.items():
        found |= _copies_of_length(paths, [_levels(prints[path]) for path in paths]) if length else {}
    return found


def _copies_of_length(paths: Sequence[str], levels: Sequence[Levels]) -> dict[str, str]:
    from scipy.spatial import cKDTree

    quarters = np.stack([_quarters(cells) for cells in levels])
    near = cKDTree(quarters.reshape(len(levels), -1))
    first: dict[int, int] = {}
    for i, own in enumerate(quarters):
        if i not in first:
            sides = [own.ravel(), own[..., ::-1].ravel()]
            alike = sorted({j for found in near.query_ball_point(sides, QUARTERS, p=np.inf) for j in found})
            others = [j for j in alike if j > i and _is_copy(levels[i], levels[j])]
            first |= dict.fromkeys(others, i) | ({i: i} if others else {})
    return {paths[i]: paths[j] for i, j in first.items()}


def _is_copy(one: Levels, other: Levels) -> bool:
    """Whether the cells are those of encodings of one video, as it is or mirrored."""
    return _alike(one, other) or _alike(one, other[..., ::-1])


def _alike(one: Levels, other: Levels) -> bool:
    """Whether the cells are those of encodings of one video: they look alike, and change alike."""
    if np.abs(one - other).max() > TOLERANCE or np.abs(_quarters(one) - _quarters(other)).max() > QUARTERS:
        return False
    a, b = _changes(one), _changes(other)
    return bool((a * b).sum() >= CORRELATION * np.sqrt((a**2).sum() * (b**2).sum()))


def _quarters(cells: Levels) -> Float32[np.ndarray, "t 2 2"]:
    """The mean of each quarter of each frame."""
    half = CELLS // 2
    quarters: Float32[np.ndarray, "t 2 2"] = cells.reshape(len(cells), 2, half, 2, half).mean((2, 4))
    return quarters


def _changes(cells: Levels) -> Levels:
    """The difference of each cell from its mean over the frames."""
    changes: Levels = cells - cells.mean(0)
    return changes


def _levels(text: str) -> Levels:
    """The cells of a fingerprint."""
    return np.frombuffer(bytes.fromhex(text), np.uint8).astype(np.float32).reshape(-1, CELLS, CELLS)
