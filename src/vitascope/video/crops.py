"""From one decoded frame to the squares that clips want of it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from vitascope.core.types import Crop
from vitascope.video.resample import resize, shorter, square

Picture = npt.NDArray[np.uint8]
"""Rows x columns x RGB."""
EXACT = (
    Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
"""With these the scaler's one step from YUV to small RGB is a conversion followed by an antialiased resize, within half
a gray level on average; without the last three it is off by one to five."""
LONGEST = 4
"""Up to this aspect the whole frame is resized and then cut; a longer one is cut first, or it would fill the memory."""


class Cutter:
    """Cuts squares of `size` pixels out of decoded frames, turned by `rotation` degrees clockwise.

    `habit` is the Card's: a plain center crop keeps the aspect ("shorter") or squashes the whole frame ("square").
    """

    def __init__(self, size: int, habit: Literal["shorter", "square"], rotation: int) -> None:
        self.size, self.habit, self.turns = size, habit, rotation // 90
        self.scaler = VideoReformatter()

    def cut(self, frame: Any, crops: list[Crop]) -> list[Picture]:
        """The squares of one frame, work shared between them."""
        cache: dict[tuple[int, int], Picture] = {}
        return [self._square(frame, crop, cache) for crop in crops]

    def _square(self, frame: Any, crop: Crop, cache: dict[tuple[int, int], Picture]) -> Picture:
        if crop.box:
            found = self._box(self._whole(frame, (frame.width, frame.height), cache), crop.box)
        else:
            found = self._window(frame, crop, cache)
        return np.ascontiguousarray(found[:, ::-1] if crop.flip else found)

    def _window(self, frame: Any, crop: Crop, cache: dict[tuple[int, int], Picture]) -> Picture:
        """Resize, then cut: the order of the field, in whichever order is cheaper."""
        stored = (frame.width, frame.height)
        width, height = stored[::-1] if self.turns % 2 else stored
        short = int(self.size * crop.scale + 1e-6)
        assert short >= self.size, f"a crop of {self.size} pixels from a side of {short}"
        squash = self.habit == "square" and crop.count == 1
        small = (short, short) if squash else shorter(width, height, short)
        window = square(*small, self.size, index=crop.index, count=crop.count)
        if squash or max(small) <= LONGEST * short:
            left, top, right, bottom = window
            return self._whole(frame, small[::-1] if self.turns % 2 else small, cache)[top:bottom, left:right]
        return resize(self._whole(frame, stored, cache), *small, window=window)

    def _whole(self, frame: Any, size: tuple[int, int], cache: dict[tuple[int, int], Picture]) -> Picture:
        """The whole frame as displayed; `size` is the width and height before it is turned."""
        if size not in cache:
            # The frame's own matrix and range go in; RGB out is full range whatever the frame was.
            small = self.scaler.reformat(frame, *size, "rgb24", interpolation=EXACT, threads=1)
            cache[size] = np.rot90(small.to_ndarray(), -self.turns)
        return cache[size]

    def _box(self, picture: Picture, box: tuple[float, float, float, float]) -> Picture:
        """A box of the displayed frame, at least one pixel, resized to the square as it is."""
        height, width = picture.shape[:2]
        left, right = _edges(box[0], box[2], width)
        top, bottom = _edges(box[1], box[3], height)
        return resize(picture[top:bottom, left:right], self.size, self.size)


def _edges(low: float, high: float, length: int) -> tuple[int, int]:
    """A stretch of a side as whole pixels, within the side and not empty."""
    first = min(max(round(low * length), 0), length - 1)
    return first, min(max(round(high * length), first + 1), length)
