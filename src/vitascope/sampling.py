"""Samplers: from a video and a frame count to the clips to look at. Pure arithmetic on seconds."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from vitascope.types import Clip, Video


@runtime_checkable
class Sampler(Protocol):
    """Implementations are frozen dataclasses: equal fields, equal plans. Without a generator nothing is drawn."""

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The clips of `frames` instants each that this sampler wants of `video`, within its span."""
        ...
