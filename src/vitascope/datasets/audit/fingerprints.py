"""Fingerprints of videos: three frames, small and gray, by which another encoding of the same video is recognized."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from vitascope.core.types import Clip, Span, Video
from vitascope.core.worker_pool import report_alive
from vitascope.video import UNREADABLE, decode, inspect

SIDE = 32
"""Side of the frames that are decoded, pixels."""
CELLS = 16
"""Side of the grid of cells of a frame; a cell keeps its mean gray level."""
TOLERANCE = 6.0
"""Largest difference of any cell of any frame between encodings of one video, gray levels."""
FLAT = 8.0
"""Standard deviation of the cells, gray levels, below which frames show too little to recognize a video by."""


class PrintRequest(NamedTuple):
    """A video, or a span of it, of which to take the fingerprint."""

    path: str
    span: Span | None = None
    """Start and end, seconds."""
    fps: float | None = None
    """Frame rate of a folder of frames, frames per second."""


def take_fingerprint(request: PrintRequest) -> Iterator[tuple[str, None]]:
    """Yield the fingerprint of a video; empty if it cannot be read. To be run in a worker process."""
    frames = np.zeros((0, SIDE, SIDE, 3), np.uint8)
    try:
        video = inspect(request.path, fps=request.fps).within(request.span)
        for _, frames in decode(video, [key_frames(video)], SIDE):
            report_alive()
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
    """Mean gray level of the cells of some frames in hex; empty for frames that show too little.

    `frames` are squares of `SIDE` pixels.
    """
    if not len(frames):
        return ""
    side = SIDE // CELLS
    cells = frames.reshape(len(frames), CELLS, side, CELLS, side, 3).mean((2, 4, 5))
    return np.rint(cells).astype(np.uint8).tobytes().hex() if cells.std() >= FLAT else ""


def same_video(one: str, other: str) -> bool:
    """Whether two fingerprints are those of encodings of one video."""
    if not one or len(one) != len(other):
        return False
    return bool(np.abs(_levels(one) - _levels(other)).max() <= TOLERANCE)


def _levels(text: str) -> Float32[np.ndarray, "d"]:
    """The gray levels of a fingerprint."""
    return np.frombuffer(bytes.fromhex(text), np.uint8).astype(np.float32)


def copies(prints: Mapping[str, str]) -> dict[str, str]:
    """{path: the first path with the same video}, for every path with an equal or similar fingerprint among the others.

    Similarity is taken to be transitive.
    """
    paths: dict[str, list[str]] = defaultdict(list)
    for path, text in prints.items():
        paths[text].append(path)
    by_length: dict[int, list[str]] = defaultdict(list)
    for text in filter(None, paths):
        by_length[len(text)].append(text)
    found: dict[str, str] = {}
    for texts in by_length.values():
        for component in _components(np.stack([_levels(text) for text in texts])):
            members = [path for i in component for path in paths[texts[i]]]
            found |= dict.fromkeys(members, members[0]) if len(members) > 1 else {}
    return found


def _components(levels: Float32[np.ndarray, "n d"]) -> Iterator[list[int]]:
    """The indices of the fingerprints of each video."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(levels).query_pairs(TOLERANCE, p=np.inf, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(levels), len(levels)))
    members: dict[int, list[int]] = defaultdict(list)
    for i, number in enumerate(connected_components(graph, directed=False)[1].tolist()):
        members[number].append(i)
    yield from members.values()
