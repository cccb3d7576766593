"""Decode clips to pixels; each frame is decoded once and each crop made once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

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
Frames = Iterator[tuple[int, Any, Cutter]]
"""Frames with their indices, and what cuts them."""


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
) -> Iterator[tuple[int, UInt8[np.ndarray, "t y x 3"]]]:
    """Yield `(clip index, pixels)`, each clip as soon as its last frame is decoded.

    Crops are squares of `size` pixels; `transform` is `Card.pixels`, or only its `resize`. The frame for time t is the
    one displayed at t. Only the crops of unfinished clips are in memory, never the whole video. Non-fatal problems are
    appended to `warnings` at the end. Raises UserError if nothing can be decoded.
    """
    plan = Plan.of(video, clips)
    problems = warnings if warnings is not None else []
    how = PixelTransform.of(transform)
    frames = _pyav if how.decoder == "pyav" or video.kind != "file" else _torchcodec
    cut = (
        (i, crop, picture)
        for i, frame, cutter in frames(video, plan, size, how, problems)
        for crop, picture in zip(plan.crops[i], cutter.cut(frame, plan.crops[i]), strict=True)
    )
    yield from assemble(plan, cut)


def _pyav(video: Video, plan: Plan, size: int, how: PixelTransform, warnings: list[str], *, done: int = 0) -> Frames:
    """Yield the needed frames from number `done` on."""
    cutter = Cutter(size, how, Orientation(video.rotation, video.mirrored))
    yield from ((i, frame, cutter) for i, frame in reading.frames(video, sorted(plan.crops)[done:], warnings))


def _torchcodec(video: Video, plan: Plan, size: int, how: PixelTransform, warnings: list[str]) -> Frames:
    """Yield the needed frames, of which PyAV decodes those from the first that TorchCodec does not decode."""
    cutter, done = Cutter(size, how, STORED), 0
    try:
        for i, frame in torchcodec_backend.frames(video, sorted(plan.crops), warnings, gpu=how.decoder == "nvdec"):
            yield i, frame, cutter
            done += 1
    except torchcodec_backend.RefusedError as error:
        warnings.append(f"decoded by PyAV{' from where TorchCodec ends' * bool(done)}: {error}")
        yield from _pyav(video, plan, size, how, warnings, done=done)


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
