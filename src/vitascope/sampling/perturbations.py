"""Samplers that perturb the clips of another: reversed, shuffled, frozen, slowed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.types import Clip, Video
from vitascope.sampling.augmentations import MOMENTS
from vitascope.sampling.samplers import Sampler
from vitascope.sampling.timestamps import check_word


@dataclass(frozen=True, slots=True)
class Reversed:
    """The clips of `inner` played backwards."""

    inner: Sampler

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """As many clips as `inner` gives."""
        return [replace(clip, times=clip.times[::-1]) for clip in self.inner(video, frames, rng)]


@dataclass(frozen=True, slots=True)
class Shuffled:
    """The clips of `inner`, their instants in one order fixed by `seed`; never the given order from two frames on."""

    inner: Sampler
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"shuffled: the seed is a whole number from 0, not {self.seed!r}")

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """As many clips as `inner` gives."""
        clips = self.inner(video, frames, rng)
        fixed = np.random.default_rng(self.seed)
        order = fixed.permutation(frames)
        while frames > 1 and (np.diff(order) == 1).all():
            order = fixed.permutation(frames)
        return [replace(clip, times=tuple(clip.times[i] for i in order)) for clip in clips]


@dataclass(frozen=True, slots=True)
class Frozen:
    """The clips of `inner` with one instant held throughout: the `middle` one (number N / 2) or the `first`."""

    inner: Sampler
    at: str = "middle"

    def __post_init__(self) -> None:
        check_word("frozen moment", self.at, MOMENTS)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """As many clips as `inner` gives."""
        held = 0 if self.at == "first" else frames // 2
        return [replace(clip, times=(clip.times[held],) * frames) for clip in self.inner(video, frames, rng)]


@dataclass(frozen=True, slots=True)
class Slowed:
    """The clips of `inner`, instants drawn together about their middle: what moves, moves `factor` times as slowly."""

    inner: Sampler
    factor: float | int = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.factor < math.inf:
            raise UserError(f"slowed: the factor is a number from 1, not {self.factor!r}")
        object.__setattr__(self, "factor", float(self.factor))

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """As many clips as `inner` gives."""
        return [replace(clip, times=self._slow(clip.times)) for clip in self.inner(video, frames, rng)]

    def _slow(self, times: tuple[float, ...]) -> tuple[float, ...]:
        middle = (min(times) + max(times)) / 2
        return tuple(middle + (t - middle) / self.factor for t in times)
