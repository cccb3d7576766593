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
from vitascope.sampling.augmentations import find_drawn, fitted
from vitascope.sampling.names import Sampler
from vitascope.video import UNREADABLE, decode, inspect
from vitascope.video.frame_reader import UNDECODABLE

Pixels = npt.NDArray[np.uint8]

TIMEOUT = 60.0
"""Seconds without progress after which a decoder is stopped and its video counted as unreadable."""

MAX_REPEAT = 64
"""Maximum number of clips of one pass over a file, which are in memory together."""


class ClipRequest(NamedTuple):
    """Job for a worker: the clips to draw and decode of one file."""

    id: str
    path: str
    """Path of the file; only its name if `content` is given."""
    sampler: Sampler
    frames: int
    size: int
    seeds: tuple[int, ...]
    """Seeds of the random generator of the sampler."""
    states: tuple[dict[str, Any], ...]
    """State of the sequence after each of its clips, as many as are drawn."""
    given: int = 0
    """Clips of these to leave out, since they were given before."""
    label: int = -1
    span: Span | None = None
    fps: float | None = None
    content: bytes | None = None
    """Bytes of the file, if they are in memory already."""
    error: str = ""
    """Reason if the file is already known to be unreadable."""


def decode_clip(request: ClipRequest) -> Iterator[tuple[int, Pixels]]:
    """Yield the number and the pixels of each clip, all decoded in one pass over the file; runs in a worker.

    Raises UserError if a frame of any clip cannot be decoded.
    """
    if request.error:
        raise UserError(request.error)
    numbers = range(request.given, len(request.states))
    with _file(request.path, request.content) as path:
        video = inspect(path, fps=request.fps).within(request.span)
        problems: list[str] = []
        seeds = [numbered(request.seeds, number) for number in numbers]
        clips = [draw(request.sampler, video, request.frames, own) for own in seeds]
        decoded = dict(decode(video, clips, request.size, warnings=problems))
        # a frame replaced by its neighbor would show motion that never happened
        if damage := next((p for p in problems if p.startswith(UNDECODABLE)), ""):
            raise UserError(damage)
    yield from ((number, decoded[i]) for i, number in enumerate(numbers))


def draw(sampler: Sampler, video: Video, frames: int, seeds: tuple[int, ...]) -> Clip:
    """One clip of a video by the generator of `seeds`; in a short one, `sampler` is made to fit."""
    rng = np.random.default_rng(seeds)
    # the last frame repeated would be a motion that stops
    clips = fitted(sampler)(video, frames, rng)
    return clips[int(rng.integers(len(clips)))]


def numbered(seeds: tuple[int, ...], number: int) -> tuple[int, ...]:
    """Seeds of clip `number` of a file, counted from 0, of which the first has those of the file."""
    return (*seeds, number) if number else seeds


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
) -> Iterator[tuple[ClipRequest, int, Pixels | Failed]]:
    """Yield each request with the number and pixels of its clips, or the reason for failure, in the order of requests.

    Without `workers`, clips are decoded in this process. The arrays are copies and may be kept.
    """
    if not workers:
        for request in requests:
            yield from ((request, number, pixels) for number, pixels in _decode_here(request))
        return
    room = frames * size * size * 3
    with Pool(decode_clip, workers=workers, slots=2, slot_bytes=room, timeout=TIMEOUT, ahead=1) as pool:
        for request, message, pixels in pool.run(requests):
            yield (request, 0, message) if pixels is None else (request, message, pixels.copy())


def _decode_here(request: ClipRequest) -> list[tuple[int, Pixels | Failed]]:
    try:
        return list(decode_clip(request))
    except Exception as error:  # as in a worker: no file may end the training
        return [(0, Failed(str(error) if isinstance(error, UNREADABLE) else one_line(error)))]


def check_repeat(name: str, repeat: int, sampler: Sampler) -> None:
    """Raise UserError unless a file can give `repeat` different clips at a time."""
    if not 1 <= repeat <= MAX_REPEAT:
        raise UserError(f"{name}: repeat = {repeat} clips of a file; use 1 to {MAX_REPEAT}")
    if repeat > 1 and find_drawn(sampler):
        raise UserError(f"{name}: repeat = {repeat} clips of a file would be equal, since its sampler fixes the draws")
