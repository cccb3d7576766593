"""Random samplers for training: clips, crops and repeatable draws."""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np

from vitascope.core.actors import Box
from vitascope.core.errors import UserError
from vitascope.core.fields import ABOVE_ZERO, AT_LEAST_ONE, FINITE, NOT_NEGATIVE, Bounds
from vitascope.core.types import LATER, Clip, Crop, Video
from vitascope.sampling.samplers import Sampler, SamplerWrapper
from vitascope.sampling.timestamps import (
    centers,
    checked,
    indexed,
    sampled_span,
    strided,
)


@dataclass(frozen=True, slots=True)
class RandomClip:
    """One window at a random position, for training: frames `stride` apart, or spread over `window` seconds.

    Without a generator the window is centered. If the video is shorter than the window, the last frame is repeated
    (`stride`) or the frames are spread over the whole video (`window`). With `fit`, frames are then less than `stride`
    apart instead: `spacing` says how far.
    """

    stride: Annotated[int, AT_LEAST_ONE] = 4
    """Frames from one sampled frame to the next, where there is no `window`."""
    window: Annotated[float | int | None, FINITE] = None
    """Length of the clip, seconds; none: as many frames as the encoder takes, `stride` apart."""
    fit: bool = field(default=False, metadata=LATER)
    """In videos too short for frames `stride` apart, take them less far apart instead of repeating the last one."""

    def __post_init__(self) -> None:
        checked(self, "window")

    def spacing(self, video: Video, frames: int) -> float:
        """Frames from one sampled frame to the next with `fit`: the largest whole number that leaves at least two starts.

        Below 1 in videos of fewer frames than are sampled, some of which are then repeated, evenly; 0 with a `window`.
        """
        n = len(video.visible())
        if self.window is not None or n >= frames * self.stride or frames == 1:
            return float(self.stride if self.window is None else 0)
        return float(min(self.stride, (n - 2) // (frames - 1))) if n > frames else n / frames

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """A list of one clip."""
        start, end = sampled_span(video, frames)
        if self.fit and self.window is None and frames > 1 and len(video.visible()) < frames * self.stride:
            return [self._fitted(video, frames, rng)]
        if self.window is not None:
            room = max(end - start - self.window, 0.0)
            begin = start + room * (0.5 if rng is None else float(rng.random()))
            span = (begin, min(begin + self.window, end))
            return [Clip(centers(video, span, frames), span)]
        slack = max(len(video.visible()) - frames * self.stride, 0)
        first = slack // 2 if rng is None else int(rng.integers(slack + 1))
        return [strided(video, first, frames, self.stride)]

    def _fitted(self, video: Video, frames: int, rng: np.random.Generator | None) -> Clip:
        n, spacing = len(video.visible()), self.spacing(video, frames)
        if n <= frames:
            return indexed(video, [int((i + 0.5) * n / frames) for i in range(frames)], (0, n))
        slack = n - 1 - (frames - 1) * int(spacing)
        return strided(video, slack // 2 if rng is None else int(rng.integers(slack + 1)), frames, int(spacing))


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """The clips of `inner` with a random resized crop each, for training; all frames of a clip share one box.

    The box covers a fraction of the frame's area within `scale` at an aspect ratio within `ratio` (log-uniform), and
    with `flip` is mirrored with probability 0.5. Without a generator the clips of `inner` are returned unchanged.
    """

    inner: Sampler
    """The sampler whose clips are cropped."""
    scale: Annotated[tuple[float, float], ABOVE_ZERO] = (0.3, 1.0)
    """Least and largest share of the frame's area that the box covers."""
    ratio: Annotated[tuple[float, float], Bounds(0, 100, open_low=True)] = (0.75, 4 / 3)
    """Least and largest width of the box over its height."""
    flip: bool = False
    """Mirror half of the clips."""

    def __post_init__(self) -> None:
        checked(self, "scale", "ratio")
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if low > high:
                raise UserError(f"randomcrop: {name} = {low:g}..{high:g} must be low..high, the smaller number first")

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The clips of `inner` with random crops."""
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
        """The largest centered box with an allowed aspect ratio: the fallback if no draw fits the frame."""
        ratio = min(max(aspect, self.ratio[0]), self.ratio[1]) / aspect
        wide, high = min(ratio, 1.0), min(1 / ratio, 1.0)
        return ((1 - wide) / 2, (1 - high) / 2, (1 + wide) / 2, (1 + high) / 2)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Reproducible augmentation: `count` random draws of `inner` per video, starting with number `first`.

    Each draw has its own generator, seeded by `seed`, the number of the draw, the file name and the span, so that a
    draw is the same whether it is stored in advance or made in its epoch. With `count` 0 every epoch has a new draw,
    and a call returns one.
    """

    inner: Sampler
    """The sampler that draws."""
    count: Annotated[int, NOT_NEGATIVE] = 1
    """Draws of a video, which take turns; 0: another one at every reading, without end."""
    seed: Annotated[int, NOT_NEGATIVE] = 0
    """Seed of the draws."""
    first: Annotated[int, NOT_NEGATIVE] = 0
    """Number of the first draw."""

    def __post_init__(self) -> None:
        checked(self)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The clips of all draws in order; `rng` is ignored."""
        video_seed = zlib.crc32(
            f"{os.path.basename(video.path)} {video.start:.6f} {video.end:.6f}".encode(errors="replace")
        )
        numbers = range(self.first, self.first + max(self.count, 1))
        return [
            clip
            for n in numbers
            for clip in self.inner(video, frames, np.random.default_rng([self.seed, n, video_seed]))
        ]

    def at(self, number: int) -> Drawn:
        """The single draw of epoch `number`; draws repeat after `count` epochs unless it is 0."""
        return replace(self, count=1, first=self.first + (number % self.count if self.count else number))


def fitted(sampler: Sampler) -> Sampler:
    """`sampler` with every `RandomClip` inside it, at any depth, made to `fit` short videos."""
    if isinstance(sampler, RandomClip):
        return replace(sampler, fit=True)
    if not isinstance(sampler, SamplerWrapper):
        return sampler
    outer: Any = sampler  # a frozen dataclass with an inner sampler
    changed: Sampler = replace(outer, inner=fitted(outer.inner))
    return changed


def random_clip(sampler: Sampler) -> RandomClip | None:
    """The `RandomClip` inside `sampler`, at any depth, or None."""
    if isinstance(sampler, RandomClip):
        return sampler
    return random_clip(sampler.inner) if isinstance(sampler, SamplerWrapper) else None


def find_drawn(sampler: Sampler) -> Drawn | None:
    """The `Drawn` sampler inside `sampler`, at any depth, or None."""
    if isinstance(sampler, Drawn):
        return sampler
    return find_drawn(sampler.inner) if isinstance(sampler, SamplerWrapper) else None


def at_epoch(sampler: Sampler, number: int) -> Sampler:
    """`sampler` restricted to the draw of epoch `number`, at any depth."""
    if isinstance(sampler, Drawn):
        return sampler.at(number)
    if find_drawn(sampler) is None:
        return sampler
    outer: Any = sampler  # a frozen dataclass with an inner sampler
    restricted: Sampler = replace(outer, inner=at_epoch(outer.inner, number))
    return restricted
