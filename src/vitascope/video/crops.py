"""Resize and crop decoded frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from vitascope.core.pixel_transform import PixelTransform, Resize
from vitascope.core.types import Crop
from vitascope.video.orientation import STORED, Orientation, Picture, oriented
from vitascope.video.planes import Shift, chroma_shift, planar, planes_of, resized
from vitascope.video.resample import resize, shorter, square

EXACT = (
    Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
"""Flags with which the scaler's single step from YUV to small RGB equals conversion plus antialiased resize, within
half a gray level on average; without the last three flags the error is one to five levels."""
WEIGHTED = ("bilinear", "hamming", "bicubic", "lanczos")
"""Filters that take a mean of pixels, and so are the same before and after the linear step from YUV to RGB."""
LONGEST = 4
"""Largest aspect ratio up to which the whole frame is resized, then cropped; longer frames would fill the memory."""


class Cutter:
    """Crops squares of `size` pixels from decoded frames, turned for display.

    `transform` is that of a card, or only its `resize`: a center crop keeps the aspect ratio ("shorter") or squashes
    the whole frame ("square"). `usual` is the orientation of the first frame; frames whose display matrix has another
    angle are turned by that.
    """

    def __init__(self, size: int, transform: PixelTransform | Resize, usual: Orientation = STORED) -> None:
        self.size, self.orientation = size, usual
        self.by_angle = {usual.angle: usual}
        self.transform = PixelTransform.of(transform)
        self.scaler = VideoReformatter()
        self.shifts: dict[str, Shift] = {}

    def cut(self, frame: Any, crops: list[Crop]) -> list[Picture]:
        """All crops of one frame, sharing the resized frames."""
        cache: dict[tuple[int, int], Picture] = {}
        angle = -frame.rotation % 360
        if angle not in self.by_angle:  # once per angle: PyAV frees a frame whose side data were read only by chance
            self.by_angle[angle] = oriented(frame)
        self.orientation = self.by_angle[angle]
        return [self._square(frame, crop, cache) for crop in crops]

    def _square(self, frame: Any, crop: Crop, cache: dict[tuple[int, int], Picture]) -> Picture:
        if crop.box:
            square = self._box(self._whole(frame, (frame.width, frame.height), cache), crop.box)
        else:
            square = self._window(frame, crop, cache)
        return np.ascontiguousarray(square[:, ::-1] if crop.flip else square)

    def _window(self, frame: Any, crop: Crop, cache: dict[tuple[int, int], Picture]) -> Picture:
        """The result of resizing, then cropping, computed in the cheaper order."""
        stored = (frame.width, frame.height)
        width, height = stored[::-1] if self.orientation.sideways else stored
        short, how = self._short(crop), self.transform
        squash = how.resize == "square" and crop.count == 1
        small = (short, short) if squash else shorter(width, height, short)
        window = square(*small, self.size, index=crop.index, count=crop.count, rounding=how.crop_rounding)
        if how.default_filter and (squash or max(small) <= LONGEST * short):
            left, top, right, bottom = window
            return self._whole(frame, small[::-1] if self.orientation.sideways else small, cache)[
                top:bottom, left:right
            ]
        if not how.default_filter and how.filter in WEIGHTED and planar(frame):
            planes = planes_of(frame, self.orientation, self._shift(frame))
            return self._rgb(resized(frame, planes, small, window, how))
        whole = self._whole(frame, stored, cache)
        return resize(whole, *small, window=window, filter=how.filter, antialias=how.antialias)

    def _shift(self, frame: Any) -> Shift:
        """Where chroma is in frames of this format."""
        kind = frame.format.name
        if kind not in self.shifts:
            self.shifts[kind] = chroma_shift(frame, EXACT)
        return self.shifts[kind]

    def _short(self, crop: Crop) -> int:
        """Pixels of the short side of the resized frame; a center crop of no other scale has the transform's."""
        if crop.count == 1 and crop.scale == 1.0:
            return self.transform.short_side(self.size)
        short = int(self.size * crop.scale + 1e-6)
        assert short >= self.size, f"a crop of {self.size} pixels from a side of {short}"
        return short

    def _whole(self, frame: Any, size: tuple[int, int], cache: dict[tuple[int, int], Picture]) -> Picture:
        """The whole frame as displayed; `size` is the width and height before it is turned."""
        if size not in cache:
            cache[size] = self.orientation.turn(self._rgb(frame, size))
        return cache[size]

    def _rgb(self, frame: Any, size: tuple[int, int] | None = None) -> Picture:
        """A frame as RGB, resized to `size` if that is given."""
        # the input has the matrix and range of the frame; the RGB output is always full range
        width, height = size or (frame.width, frame.height)
        rgb = self.scaler.reformat(frame, width, height, "rgb24", interpolation=EXACT, threads=1)
        return np.asarray(rgb.to_ndarray(), np.uint8)

    def _box(self, picture: Picture, box: tuple[float, float, float, float]) -> Picture:
        """A box of the displayed frame, at least one pixel, resized to the square without keeping its aspect ratio."""
        height, width = picture.shape[:2]
        left, right = _edges(box[0], box[2], width)
        top, bottom = _edges(box[1], box[3], height)
        how = self.transform
        return resize(picture[top:bottom, left:right], self.size, self.size, filter=how.filter, antialias=how.antialias)


def _edges(low: float, high: float, length: int) -> tuple[int, int]:
    """First and last + 1 pixel of an interval of a side, clamped and not empty."""
    first = min(max(round(low * length), 0), length - 1)
    return first, min(max(round(high * length), first + 1), length)
