"""What a decoding worker does with one example: inspect, sample, decode. Without torch, so that workers start fast."""

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


class Header(NamedTuple):
    """What a worker found before the pixels come: for each sampler the spans and frame-time digests of its clips."""

    spans: list[list[Span]]
    times: list[list[str]]


class Pixel(NamedTuple):
    """Says which clip of which sampler the pixels are."""

    sampler: int
    clip: int


def look(job: DecodeJob) -> Iterator[tuple[Header | Pixel | list[str], Pixels | None]]:
    """Runs in a worker: inspect, sample, decode. Yields a header, then pixels clip by clip, then the warnings."""
    video = inspect(job.path, fps=job.fps).within(job.span)
    warnings = list(video.warnings)
    frames = 1 if video.kind == "image" and job.card.image == "single" else job.card.frames
    plans = [sampler(video, frames) for sampler in job.samplers]
    shown = [[digest([[video.times[video.frame_at(t)] for t in c.times], c.crop]) for c in plan] for plan in plans]
    yield Header([[c.span for c in plan] for plan in plans], shown), None
    place = [Pixel(s, c) for s, plan in enumerate(plans) for c in range(len(plan))]
    clips: list[Clip] = [clip for plan in plans for clip in plan]
    for index, pixels in decode(video, clips, job.card.size, job.card.resize, warnings=warnings):
        yield place[index], pixels
    yield warnings, None
