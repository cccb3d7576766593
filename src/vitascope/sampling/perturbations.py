"""Samplers that perturb the clips of another sampler: reversed, shuffled, frozen and slowed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np

from vitascope.core.fields import NOT_NEGATIVE, Bounds
from vitascope.core.types import Clip, Video
from vitascope.sampling.samplers import Sampler
from vitascope.sampling.timestamps import checked


@dataclass(frozen=True, slots=True)
class Reversed:
    """The clips of `inner` played backwards."""

    inner: Sampler
    """The sampler whose clips are reversed."""

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The reversed clips of `inner`."""
        return [replace(clip, times=clip.times[::-1]) for clip in self.inner(video, frames, rng)]


@dataclass(frozen=True, slots=True)
class Shuffled:
    """The clips of `inner` with their frames in a random order fixed by `seed`, never the original one."""

    inner: Sampler
    """The sampler whose frames are shuffled."""
    seed: Annotated[int, NOT_NEGATIVE] = 0
    """Seed of the order."""

    def __post_init__(self) -> None:
        checked(self)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The shuffled clips of `inner`."""
        clips = self.inner(video, frames, rng)
        fixed = np.random.default_rng(self.seed)
        order = fixed.permutation(frames)
        while frames > 1 and (np.diff(order) == 1).all():
            order = fixed.permutation(frames)
        return [replace(clip, times=tuple(clip.times[i] for i in order)) for clip in clips]


@dataclass(frozen=True, slots=True)
class Frozen:
    """The clips of `inner` with all frames replaced by the `middle` (index N // 2) or the `first` one."""

    inner: Sampler
    """The sampler whose clips are frozen."""
    at: Literal["middle", "first"] = "middle"
    """Which frame of a clip is held."""

    def __post_init__(self) -> None:
        checked(self)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The frozen clips of `inner`."""
        held = 0 if self.at == "first" else frames // 2
        return [replace(clip, times=(clip.times[held],) * frames) for clip in self.inner(video, frames, rng)]


@dataclass(frozen=True, slots=True)
class Slowed:
    """The clips of `inner` in slow motion: time stamps contracted around their middle by `factor`."""

    inner: Sampler
    """The sampler whose clips are slowed."""
    factor: Annotated[float | int, Bounds(1, math.inf, open_high=True)] = 2.0
    """How many times as slowly things move."""

    def __post_init__(self) -> None:
        checked(self, "factor")

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The slowed clips of `inner`."""
        return [replace(clip, times=self._slow(clip.times)) for clip in self.inner(video, frames, rng)]

    def _slow(self, times: tuple[float, ...]) -> tuple[float, ...]:
        middle = (min(times) + max(times)) / 2
        return tuple(middle + (t - middle) / self.factor for t in times)
