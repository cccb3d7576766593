"""Job of a decoding worker: inspect, sample and decode one example. Free of torch, so that workers start fast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vitascope.core.types import Card, Clip, Span, digest
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


class ClipHeader(NamedTuple):
    """Sent by a worker before any pixels: spans (seconds) and frame-time digests of the clips of each sampler."""

    spans: list[list[Span]]
    times: list[list[str]]


class ClipIndex(NamedTuple):
    """Identifies pixels: the index of the sampler and of its clip."""

    sampler: int
    clip: int


def decode_example(job: DecodeJob) -> Iterator[tuple[ClipHeader | ClipIndex | list[str], Pixels | None]]:
    """Inspect, sample and decode one example in a worker: yield a header, pixels clip by clip, then the warnings."""
    video = inspect(job.path, fps=job.fps).within(job.span)
    warnings = list(video.warnings)
    frames = 1 if video.kind == "image" and job.card.image == "single" else job.card.frames
    plans = [sampler(video, frames) for sampler in job.samplers]
    digests = [[digest([[video.times[video.frame_at(t)] for t in c.times], c.crop]) for c in plan] for plan in plans]
    yield ClipHeader([[c.span for c in plan] for plan in plans], digests), None
    indices = [ClipIndex(s, c) for s, plan in enumerate(plans) for c in range(len(plan))]
    clips: list[Clip] = [clip for plan in plans for clip in plan]
    for index, pixels in decode(video, clips, job.card.size, job.card.pixels, warnings=warnings):
        yield indices[index], pixels
    yield warnings, None
