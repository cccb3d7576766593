"""Job of a decoding worker: inspect, sample and decode one example. Free of torch, so that workers start fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from errno import EIO
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from vitascope.core.file_identity import FileIdentity, content_digest, identify
from vitascope.core.types import Card, Clip, Span, Video, digest
from vitascope.sampling.names import Sampler
from vitascope.video import decode, inspect

Pixels = npt.NDArray[np.uint8]


class DecodeJob(NamedTuple):
    """One example to decode, as plain data for a worker."""

    block: str
    example: str
    path: str
    span: Span | None
    fps: float | None
    samplers: tuple[Sampler, ...]
    card: Card
    full_digest: bool = False
    """Identify the file by all its bytes."""
    readers: tuple[int, ...] = (0,)
    """Numbers of the encoders that its pixels are for."""


class ClipHeader(NamedTuple):
    """Sent by a worker before any pixels: spans (seconds) and frame-time digests of the clips of each sampler."""

    spans: list[list[Span]]
    times: list[list[str]]


class ClipIndex(NamedTuple):
    """Identifies pixels: the index of the sampler and of its clip."""

    sampler: int
    clip: int


class Changed(NamedTuple):
    """Last message of a job whose file changed while it was read: the clips may be of either content."""

    cause: str = "changed while it was read"


Message: TypeAlias = FileIdentity | ClipHeader | ClipIndex | list[str] | Changed


class ClipPlan(NamedTuple):
    """The clips of an example, before any of them is decoded."""

    video: Video
    clips: list[Clip]
    indices: list[ClipIndex]
    """What each clip is of."""
    header: ClipHeader


ClipSource: TypeAlias = Callable[[FileIdentity, ClipPlan, Card, list[str]], Iterator[tuple[int, Pixels]]]
"""Decodes the clips of a plan, of a file of that identity; yields `(clip index, pixels)`, then appends warnings."""


def decode_alone(file: FileIdentity, plan: ClipPlan, card: Card, warnings: list[str]) -> Iterator[tuple[int, Pixels]]:
    """Decode the clips of one example; see `ClipSource`."""
    return decode(plan.video, plan.clips, card.size, card.pixels, warnings=warnings)


def decode_example(job: DecodeJob, source: ClipSource = decode_alone) -> Iterator[tuple[Message, Pixels | None]]:
    """Decode one example in a worker: yield the identity of its file, a header, clips, then warnings or `Changed`."""
    before = _identity(job)
    yield before, None
    last: list[str] | Changed = Changed()
    try:
        for message, pixels in _decode(job, before, source):
            if isinstance(message, list):
                last = message
            else:
                yield message, pixels
    except Exception as error:
        if _identity(job).content == before.content:
            _blame_disk(error, job)
            raise
    yield last if _identity(job).content == before.content else Changed(), None


def _identity(job: DecodeJob) -> FileIdentity:
    """Return the identity of the file now; an empty one if it cannot be read, which decoding will explain better."""
    try:
        return identify(job.path, full=job.full_digest)
    except OSError:
        return FileIdentity()


def _blame_disk(error: Exception, job: DecodeJob) -> None:
    """Raise the OSError of the disk if it cannot read what a codec could not: the file itself may be good."""
    if isinstance(error, OSError) and error.errno == EIO:
        content_digest(job.path, full=True)


def plan_clips(job: DecodeJob) -> ClipPlan:
    """Inspect the file of an example and choose its clips."""
    video = inspect(job.path, fps=job.fps).within(job.span)
    frames = 1 if video.kind == "image" and job.card.image == "single" else job.card.frames
    plans = [sampler(video, frames) for sampler in job.samplers]
    digests = [[digest([[video.times[video.frame_at(t)] for t in c.times], c.crop]) for c in plan] for plan in plans]
    return ClipPlan(
        video,
        [clip for plan in plans for clip in plan],
        [ClipIndex(s, c) for s, plan in enumerate(plans) for c in range(len(plan))],
        ClipHeader([[c.span for c in plan] for plan in plans], digests),
    )


def _decode(
    job: DecodeJob, file: FileIdentity, source: ClipSource
) -> Iterator[tuple[ClipHeader | ClipIndex | list[str], Pixels | None]]:
    plan = plan_clips(job)
    warnings = list(plan.video.warnings)
    yield plan.header, None
    for index, pixels in source(file, plan, job.card, warnings):
        yield plan.indices[index], pixels
    yield warnings, None
