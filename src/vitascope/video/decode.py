"""Decode clips to pixels; each frame is decoded once and each crop made once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

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
    plan = [[(video.frame_at(t), clip.crop) for t in clip.times] for clip in clips]
    users: dict[Square, list[int]] = defaultdict(list)
    for number, squares in enumerate(plan):
        for square in dict.fromkeys(squares):
            users[square].append(number)
    crops: dict[int, list[Crop]] = defaultdict(list)
    for i, crop in users:
        crops[i].append(crop)
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
    yield from _assemble(plan, users, cut)


def _assemble(
    plan: list[list[Square]], users: dict[Square, list[int]], cut: Iterator[tuple[int, Crop, Picture]]
) -> Iterator[tuple[int, UInt8[np.ndarray, "t y x 3"]]]:
    """Yield clips as they become complete; a crop is freed with the last clip that uses it."""
    missing = [len(set(squares)) for squares in plan]
    left = {square: len(numbers) for square, numbers in users.items()}
    pending: dict[Square, Picture] = {}
    for i, crop, picture in cut:
        pending[i, crop] = picture
        for number in users[i, crop]:
            missing[number] -= 1
            if missing[number]:
                continue
            yield number, np.stack([pending[square] for square in plan[number]])
            for square in set(plan[number]):
                left[square] -= 1
                if not left[square]:
                    del pending[square]
