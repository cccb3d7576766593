"""Decode clips to pixels; each frame is decoded once and each crop made once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from vitascope.core.pixel_transform import PixelTransform, Resize
from vitascope.core.types import Clip, Crop, Video
from vitascope.video import frame_reader as reading
from vitascope.video import torchcodec_backend
from vitascope.video.crops import Cutter
from vitascope.video.orientation import STORED, Orientation, Picture

Square = tuple[int, Crop]
"""Frame index and crop."""


class Plan(NamedTuple):
    """Which squares clips consist of."""

    clips: list[list[Square]]
    """The squares of each clip, in order of its times."""
    users: dict[Square, list[int]]
    """The clips that a square is part of, ascending."""
    crops: dict[int, list[Crop]]
    """The crops of each frame that is needed."""

    @classmethod
    def of(cls, video: Video, clips: Sequence[Clip]) -> Plan:
        """The squares of clips of a video."""
        plan = cls([[(video.frame_at(t), clip.crop) for t in clip.times] for clip in clips], {}, {})
        for number, squares in enumerate(plan.clips):
            for square in dict.fromkeys(squares):
                plan.users.setdefault(square, []).append(number)
        for i, crop in plan.users:
            plan.crops.setdefault(i, []).append(crop)
        return plan


def decode(
    video: Video,
    clips: Sequence[Clip],
    size: int,
    transform: PixelTransform | Resize = "shorter",
    *,
    warnings: list[str] | None = None,
    backend: Literal["pyav", "torchcodec"] = "pyav",
) -> Iterator[tuple[int, UInt8[np.ndarray, "t y x 3"]]]:
    """Yield `(clip index, pixels)`, each clip as soon as its last frame is decoded.

    Crops are squares of `size` pixels; `transform` is `Card.pixels`, or only its `resize`. The frame for time t is the
    one displayed at t. Only the crops of unfinished clips are in memory, never the whole video. Non-fatal problems are
    appended to `warnings` at the end. Raises UserError if nothing can be decoded.
    """
    plan = Plan.of(video, clips)
    crops = plan.crops
    problems = warnings if warnings is not None else []
    if backend == "torchcodec" and video.kind == "file":
        frames, orientation = torchcodec_backend.frames(video, sorted(crops)), STORED
    else:
        frames, orientation = (
            reading.frames(video, sorted(crops), problems),
            Orientation(video.rotation, video.mirrored),
        )
    cutter = Cutter(size, transform, orientation)
    cut = ((i, crop, p) for i, frame in frames for crop, p in zip(crops[i], cutter.cut(frame, crops[i]), strict=True))
    yield from assemble(plan, cut)


def assemble(
    plan: Plan, cut: Iterator[tuple[int, Crop, Picture]]
) -> Iterator[tuple[int, UInt8[np.ndarray, "t y x 3"]]]:
    """Yield clips as they become complete; a crop is freed with the last clip that uses it."""
    missing = [len(set(squares)) for squares in plan.clips]
    left = {square: len(numbers) for square, numbers in plan.users.items()}
    pending: dict[Square, Picture] = {}
    for i, crop, picture in cut:
        pending[i, crop] = picture
        for number in plan.users[i, crop]:
            missing[number] -= 1
            if missing[number]:
                continue
            yield number, np.stack([pending[square] for square in plan.clips[number]])
            for square in set(plan.clips[number]):
                left[square] -= 1
                if not left[square]:
                    del pending[square]
