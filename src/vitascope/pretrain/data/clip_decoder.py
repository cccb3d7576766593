"""Decode one randomly drawn training clip from a file or its bytes, in worker processes or inline; imports no torch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitascope.core.errors import UserError, one_line
from vitascope.core.shared_memory import roomy_folder
from vitascope.core.types import Clip, Span, Video
from vitascope.core.worker_pool import Failed, Pool
from vitascope.sampling.augmentations import fitted
from vitascope.sampling.names import Sampler
from vitascope.video import UNREADABLE, decode, inspect
from vitascope.video.frame_reader import UNDECODABLE

Pixels = npt.NDArray[np.uint8]

TIMEOUT = 60.0
"""Seconds without progress after which a decoder is stopped and its video counted as unreadable."""


class ClipRequest(NamedTuple):
    """Job for a worker: one clip to draw and decode."""

    id: str
    path: str
    """Path of the file; only its name if `content` is given."""
    sampler: Sampler
    frames: int
    size: int
    seeds: tuple[int, ...]
    """Seeds of the random generator of the sampler."""
    next_state: dict[str, Any]
    """State of the sequence after this clip."""
    label: int = -1
    span: Span | None = None
    fps: float | None = None
    content: bytes | None = None
    """Bytes of the file, if they are in memory already."""
    error: str = ""
    """Reason if the clip is already known to be unreadable."""


def decode_clip(request: ClipRequest) -> Iterator[tuple[None, Pixels]]:
    """Decode the pixels of one clip; runs in a worker. Raises UserError if one of its frames cannot be decoded."""
    if request.error:
        raise UserError(request.error)
    with _file(request.path, request.content) as path:
        video = inspect(path, fps=request.fps).within(request.span)
        problems: list[str] = []
        (_, pixels), *_ = list(decode(video, [_draw(request, video)], request.size, warnings=problems))
        # a frame replaced by its neighbor would show motion that never happened
        if damage := next((p for p in problems if p.startswith(UNDECODABLE)), ""):
            raise UserError(damage)
    yield None, pixels


def _draw(request: ClipRequest, video: Video) -> Clip:
    rng = np.random.default_rng(request.seeds)
    # the last frame repeated would be a motion that stops
    clips = fitted(request.sampler)(video, request.frames, rng)
    return clips[int(rng.integers(len(clips)))]


def inspect_content(name: str, content: bytes) -> Video:
    """The metadata of a video whose bytes are in memory."""
    with _file(name, content) as path:
        return inspect(path)


@contextmanager
def _file(name: str, content: bytes | None) -> Iterator[str]:
    """Path to open; in-memory bytes are put into a temporary file, in shared memory where available."""
    if content is None:
        yield name
        return
    memory = roomy_folder(len(content))
    with tempfile.NamedTemporaryFile(suffix=os.path.splitext(name)[1], dir=memory) as file:
        file.write(content)
        file.flush()
        try:
            yield file.name
        except UNREADABLE as error:
            raise UserError(str(error).replace(file.name, name)) from error


def decode_clips(
    requests: Iterable[ClipRequest], *, workers: int, frames: int, size: int
) -> Iterator[tuple[ClipRequest, Pixels | Failed]]:
    """Yield each request with its pixels, or the reason for failure, in the order of the requests.

    Without `workers`, clips are decoded in this process. The arrays are copies and may be kept.
    """
    if not workers:
        yield from ((request, _decode_here(request)) for request in requests)
        return
    room = frames * size * size * 3
    with Pool(decode_clip, workers=workers, slots=2, slot_bytes=room, timeout=TIMEOUT, ahead=1) as pool:
        for request, message, pixels in pool.run(requests):
            yield request, message if pixels is None else pixels.copy()


def _decode_here(request: ClipRequest) -> Pixels | Failed:
    try:
        return next(decode_clip(request))[1]
    except Exception as error:  # as in a worker: no file may end the training
        return Failed(str(error) if isinstance(error, UNREADABLE) else one_line(error))
