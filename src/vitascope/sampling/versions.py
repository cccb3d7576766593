"""The clips of a sampler in several versions: forward and reversed, ordered and shuffled, at three speeds."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias

import numpy as np

from vitascope.core.fields import NOT_NEGATIVE
from vitascope.core.types import Clip, Video
from vitascope.sampling.samplers import Sampler
from vitascope.sampling.timestamps import checked

Question: TypeAlias = Literal["direction", "order", "speed"]
"""What the versions of a clip differ in."""
VERSIONS: Mapping[str, tuple[str, ...]] = {
    "direction": ("forward", "reversed"),
    "order": ("ordered", "shuffled"),
    "speed": ("half speed", "normal speed", "double speed"),
}
"""The versions of a clip by what they differ in, in the order in which they are encoded."""
PARTS = 4
"""Clips of each speed: four of them show the frames that a clip of double speed would leave out."""


@dataclass(frozen=True, slots=True)
class Versions:
    """All clips of `inner` in one version, then all of them in the next, as `VERSIONS` names them.

    Shuffled clips have a random order of their own for every video and clip. For `speed`, `inner` chooses 4 N frames
    in place of N, and every version shows each of them once, in four clips: N neighbors, every other one of 2 N, or
    every fourth of all. Speeds then differ in nothing but the step between frames: neither the frames nor the part of
    the video nor the number of clips tells them apart.
    """

    inner: Sampler
    """The sampler whose clips are shown in several versions."""
    of: Question = "direction"
    """What the versions differ in."""
    seed: Annotated[int, NOT_NEGATIVE] = 0
    """Seed of the orders of shuffled clips."""

    def __post_init__(self) -> None:
        checked(self)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The clips of all versions, as many of each."""
        if self.of == "speed":
            return _at_speeds(self.inner(video, PARTS * frames, rng), frames)
        clips = self.inner(video, frames, rng)
        return [*clips, *(self._shuffled(video, clips) if self.of == "order" else map(_reversed, clips))]

    def _shuffled(self, video: Video, clips: Sequence[Clip]) -> list[Clip]:
        name = f"{os.path.basename(video.path)} {video.start:.6f} {video.end:.6f}"
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode(errors="replace"))])
        return [replace(clip, times=tuple(clip.times[i] for i in _order(len(clip.times), rng))) for clip in clips]


def _reversed(clip: Clip) -> Clip:
    return replace(clip, times=clip.times[::-1])


def _order(frames: int, rng: np.random.Generator) -> list[int]:
    """A random order of frames that is neither the original nor its reverse, where there is another."""
    order = rng.permutation(frames)
    while frames > 2 and abs(np.diff(order)).max() == 1:
        order = rng.permutation(frames)
    return [int(i) for i in order] if frames > 2 else list(range(frames))[::-1]


def _at_speeds(clips: Sequence[Clip], frames: int) -> list[Clip]:
    """The frames of each clip, `PARTS` times as many, at steps of one, two and four, so that each occurs once a speed.

    A clip at step s is one of s phases of one of PARTS / s parts of the time.
    """
    return [
        replace(clip, times=clip.times[part + phase : part + step * frames : step])
        for step in (1, 2, PARTS)
        for clip in clips
        for part in range(0, PARTS * frames, step * frames)
        for phase in range(step)
    ]
