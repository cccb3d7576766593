"""From a file, or its bytes, to one clip drawn for training; in worker processes or here. Without torch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitascope.core.errors import UserError
from vitascope.core.types import Clip, Span, Video
from vitascope.core.worker_pool import Failed, Pool
from vitascope.sampling.names import Sampler
from vitascope.video import decode, inspect

Pixels = npt.NDArray[np.uint8]

TIMEOUT = 60.0
"""Seconds after which a decoder without a sign of life is given up, and its video with it."""


class ClipRequest(NamedTuple):
    """One clip to draw and to decode, as plain data for a worker."""

    id: str
    path: str
    """The file; where there is `content`, its name only."""
    sampler: Sampler
    frames: int
    size: int
    seeds: tuple[int, ...]
    """Of the generator that the sampler draws with."""
    after: dict[str, Any]
    """Where the sequence is behind it."""
    label: int = -1
    span: Span | None = None
    fps: float | None = None
    content: bytes | None = None
    flaw: str = ""
    """Known beforehand to fail, and why."""


def view(job: ClipRequest) -> Iterator[tuple[None, Pixels]]:
    """Runs in a worker: the pixels of one clip. ValueError where one of its frames cannot be decoded."""
    if job.flaw:
        raise UserError(job.flaw)
    with _file(job) as path:
        video = inspect(path, fps=job.fps).within(job.span)
        problems: list[str] = []
        (_, pixels), *_ = list(decode(video, [_draw(job, video)], job.size, warnings=problems))
        # a neighbor shown in place of a frame is no motion that ever was
        if damage := next((p for p in problems if p.startswith("frames")), ""):
            raise UserError(damage)
    yield None, pixels


def _draw(job: ClipRequest, video: Video) -> Clip:
    rng = np.random.default_rng(job.seeds)
    clips = job.sampler(video, job.frames, rng)
    return clips[int(rng.integers(len(clips)))]


@contextmanager
def _file(job: ClipRequest) -> Iterator[str]:
    """A path for the codec: what came as bytes lies in memory for the time, where the system has such a place."""
    if job.content is None:
        yield job.path
        return
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.NamedTemporaryFile(suffix=os.path.splitext(job.path)[1], dir=memory) as file:
        file.write(job.content)
        file.flush()
        try:
            yield file.name
        except (ValueError, OSError) as error:
            raise UserError(str(error).replace(file.name, job.path)) from error


def views(
    jobs: Iterable[ClipRequest], *, workers: int, frames: int, size: int
) -> Iterator[tuple[ClipRequest, Pixels | Failed]]:
    """Each job with its pixels or why there are none, in the order of the jobs; in this process without `workers`.

    The pixels are the caller's to keep.
    """
    if not workers:
        yield from ((job, _view_here(job)) for job in jobs)
        return
    room = frames * size * size * 3
    with Pool(view, workers=workers, slots=2, slot_bytes=room, timeout=TIMEOUT, ahead=1) as pool:
        for job, message, pixels in pool.run(jobs):
            yield job, message if pixels is None else pixels.copy()


def _view_here(job: ClipRequest) -> Pixels | Failed:
    try:
        return next(view(job))[1]
    except Exception as error:  # as a worker would: whatever a file does, it must not end the training
        return Failed(f"{'' if isinstance(error, (ValueError, OSError)) else type(error).__name__ + ': '}{error}")
