"""`decode`: from clips, which are requests, to their pixels, each frame decoded once and each square cut once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from vitascope.core.types import Clip, Crop, Video
from vitascope.video import frame_reader as reading
from vitascope.video import torchcodec_backend
from vitascope.video.crops import Cutter, Picture

Wanted = tuple[int, Crop]
"""A square: which frame, which crop of it."""


def decode(
    video: Video,
    clips: Sequence[Clip],
    size: int,
    resize: Literal["shorter", "square"] = "shorter",
    *,
    warnings: list[str] | None = None,
    backend: Literal["pyav", "torchcodec"] = "pyav",
) -> Iterator[tuple[int, UInt8[np.ndarray, "t y x 3"]]]:
    """`(number of the clip, its pixels)`, each clip as soon as its last frame is decoded.

    The square sides are `size`; `resize` is the Card's habit. The pixel at time t is the frame on display at t. Memory
    holds the squares of the clips under way and never the video. When the last clip has come, `warnings` has what went
    wrong without being fatal. Raises ValueError where nothing can be decoded.
    """
    plan = [[(video.frame_at(t), clip.crop) for t in clip.times] for clip in clips]
    users: dict[Wanted, list[int]] = defaultdict(list)
    for number, squares in enumerate(plan):
        for square in dict.fromkeys(squares):
            users[square].append(number)
    crops: dict[int, list[Crop]] = defaultdict(list)
    for i, crop in users:
        crops[i].append(crop)
    problems = warnings if warnings is not None else []
    if backend == "torchcodec" and video.kind == "file":
        frames, rotation = torchcodec_backend.frames(video, sorted(crops)), 0
    else:
        frames, rotation = reading.frames(video, sorted(crops), problems), video.rotation
    cutter = Cutter(size, resize, rotation)
    cut = ((i, crop, p) for i, frame in frames for crop, p in zip(crops[i], cutter.cut(frame, crops[i]), strict=True))
    yield from _assemble(plan, users, cut)


def _assemble(
    plan: list[list[Wanted]], users: dict[Wanted, list[int]], cut: Iterator[tuple[int, Crop, Picture]]
) -> Iterator[tuple[int, UInt8[np.ndarray, "t y x 3"]]]:
    """Clips as they become complete; a square is dropped when the last clip that shows it is."""
    missing = [len(set(squares)) for squares in plan]
    left = {square: len(numbers) for square, numbers in users.items()}
    held: dict[Wanted, Picture] = {}
    for i, crop, picture in cut:
        held[i, crop] = picture
        for number in users[i, crop]:
            missing[number] -= 1
            if missing[number]:
                continue
            yield number, np.stack([held[square] for square in plan[number]])
            for square in set(plan[number]):
                left[square] -= 1
                if not left[square]:
                    del held[square]
