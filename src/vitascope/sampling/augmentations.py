"""The samplers that draw, for training, and those that alter what another looks at: order, speed, moment, number."""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.types import Box, Clip, Crop, Video
from vitascope.sampling.samplers import Sampler
from vitascope.sampling.timestamps import (
    centers,
    check_counts,
    check_range,
    check_seconds,
    looked_at,
    strided,
)

MOMENTS = ("middle", "first")


@dataclass(frozen=True, slots=True)
class RandomClip:
    """One window drawn anywhere in the span, for training: frames `stride` apart, or spread over `window` seconds.

    Without a generator: the window in the middle. A video shorter than the window is seen from its start, its last
    frame held (`stride`), or over all of it (`window`).
    """

    stride: int = 4
    window: float | int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "stride")
        check_seconds(self, "window")

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """One clip."""
        start, end = looked_at(video, frames)
        if self.window is not None:
            room = max(end - start - self.window, 0.0)
            begin = start + room * (0.5 if rng is None else float(rng.random()))
            span = (begin, min(begin + self.window, end))
            return [Clip(centers(video, span, frames), span)]
        slack = max(len(video.visible()) - frames * self.stride, 0)
        first = slack // 2 if rng is None else int(rng.integers(slack + 1))
        return [strided(video, first, frames, self.stride)]


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """The clips of `inner` through a random resized crop each, for training: one box for all frames of a clip.

    The box covers a share of the frame within `scale`, with width / height within `ratio` (log-uniform), and is
    mirrored half of the time where `flip`. Without a generator: the clips as `inner` gives them.
    """

    inner: Sampler
    scale: tuple[float, float] = (0.3, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: bool = False

    def __post_init__(self) -> None:
        check_range(self, "scale", 1.0)
        check_range(self, "ratio", 100.0)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """As many clips as `inner` gives."""
        clips = self.inner(video, frames, rng)
        if rng is None:
            return clips
        return [replace(clip, crop=self._draw(video.width / video.height, rng)) for clip in clips]

    def _draw(self, aspect: float, rng: np.random.Generator) -> Crop:
        box = (0.0, 0.0, 1.0, 1.0)
        for _ in range(10):
            area = rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]))) / aspect
            wide, high = math.sqrt(area * ratio), math.sqrt(area / ratio)
            if wide <= 1 and high <= 1:
                left, top = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
                box = (left, top, min(left + wide, 1.0), min(top + high, 1.0))
                break
        else:
            box = self._largest(aspect)
        return Crop(box=box, flip=self.flip and bool(rng.random() < 0.5))

    def _largest(self, aspect: float) -> Box:
        """The largest centered box with an allowed ratio: what is left when no draw fits the frame."""
        ratio = min(max(aspect, self.ratio[0]), self.ratio[1]) / aspect
        wide, high = min(ratio, 1.0), min(1 / ratio, 1.0)
        return ((1 - wide) / 2, (1 - high) / 2, (1 + wide) / 2, (1 + high) / 2)


@dataclass(frozen=True, slots=True)
class Drawn:
    """`count` draws of `inner` a video, number `first` on, each from a generator of its own: augmentation that repeats.

    The generator depends on `seed`, on the number of the draw, and on the file's name and span, so a draw is the same
    whether it is stored with others or made when its epoch comes. Without end (`count` 0) the call gives one draw.
    """

    inner: Sampler
    count: int = 1
    seed: int = 0
    first: int = 0

    def __post_init__(self) -> None:
        for name in ("count", "seed", "first"):
            if getattr(self, name) < 0:
                raise UserError(f"drawn: {name} is a whole number from 0, not {getattr(self, name)!r}")

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The clips of every draw, draw by draw; a generator given is not used."""
        which = zlib.crc32(f"{os.path.basename(video.path)} {video.start:.6f} {video.end:.6f}".encode(errors="replace"))
        numbers = range(self.first, self.first + max(self.count, 1))
        return [
            clip for n in numbers for clip in self.inner(video, frames, np.random.default_rng([self.seed, n, which]))
        ]

    def at(self, number: int) -> Drawn:
        """Only the draw that pass `number` over the data sees: they take turns, or never end."""
        return replace(self, count=1, first=self.first + (number % self.count if self.count else number))


def drawing(sampler: Sampler) -> Drawn | None:
    """What draws in `sampler`, however it is altered; None where nothing does."""
    if isinstance(sampler, Drawn):
        return sampler
    inner = getattr(sampler, "inner", None)
    return None if inner is None else drawing(inner)


def at_pass(sampler: Sampler, number: int) -> Sampler:
    """`sampler` as pass `number` over the data sees it: with only the draw of that pass, however it is altered."""
    if isinstance(sampler, Drawn):
        return sampler.at(number)
    if drawing(sampler) is None:
        return sampler
    altered: Any = sampler  # a frozen dataclass with an inner sampler
    found: Sampler = replace(altered, inner=at_pass(altered.inner, number))
    return found
