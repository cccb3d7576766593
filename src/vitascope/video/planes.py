"""Frames in YUV resampled plane by plane before they become RGB, which costs less than a full-size RGB picture.

Both steps are linear, so their order does not matter but for rounding: chroma is interpolated to the size of luma as by
FFmpeg's scaler and then filtered, with one matrix for both.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.reformatter import VideoReformatter

from vitascope.core.pixel_transform import PixelTransform
from vitascope.video.filters import Side, bands, filtered
from vitascope.video.orientation import Orientation
from vitascope.video.resample import Window

Shift = tuple[float, float]
"""How far chroma is to the left of luma and above it, in pixels of chroma."""
PLANAR = re.compile(r"yuvj?4\d\dp(?P<depth>9|10|12|14|16)?(le)?$")
"""Pixel formats of three planes that NumPy reads as they are."""
DEEP = "yuv444p16le"
FULL_RANGE = 2
PROBE = 64
"""Side of the frame on which the place of chroma is measured, pixels."""
NEUTRAL = 2**15
"""Value of no color with 16 bits."""


class Planes(NamedTuple):
    """Luma and two planes of chroma, turned for display, the largest value in them, and where chroma is."""

    arrays: tuple[npt.NDArray[Any], ...]
    top: int
    shift: Shift


def planar(frame: VideoFrame) -> bool:
    """Whether a frame consists of three planes of YUV that NumPy reads as they are."""
    return bool(PLANAR.match(frame.format.name))


def planes_of(frame: VideoFrame, orientation: Orientation, shift: Shift) -> Planes:
    """The planes of a planar frame, turned; `shift` is where chroma is in the stored one."""
    arrays = tuple(orientation.turn(a) for a in _arrays(frame))
    return Planes(arrays, 2 ** _depth(frame) - 1, _turned(shift, orientation))


def resized(
    frame: VideoFrame, planes: Planes, size: tuple[int, int], window: Window, how: PixelTransform
) -> VideoFrame:
    """`window` of the frame resized to `size` (width, height), in YUV of 16 bits with chroma as large as luma."""
    left, top, right, bottom = window
    height, width = planes.arrays[0].shape
    small = np.empty((bottom - top, right - left, 3), np.float32)
    for c, plane in enumerate(planes.arrays):
        rows = Side(height, size[1], top, bottom, plane.shape[0], planes.shift[1])
        columns = Side(width, size[0], left, right, plane.shape[1], planes.shift[0])
        down, across = (bands(side, how.filter, how.antialias) for side in (rows, columns))
        small[..., c] = filtered(plane, down, across, stepwise=False)
    deep = np.clip(small, 0, planes.top) * (65536 // (planes.top + 1)) + 0.5
    out = VideoFrame.from_ndarray(deep.astype(np.uint16), DEEP)
    out.colorspace = frame.colorspace
    out.color_range = FULL_RANGE if frame.format.name.startswith("yuvj") else frame.color_range
    return out


def chroma_shift(frame: VideoFrame, interpolation: int) -> Shift:
    """Where FFmpeg's scaler takes the chroma of frames like this one to be, measured on a ramp: PyAV does not say."""
    side = PROBE if frame.width != PROBE else 2 * PROBE  # a frame of the same size would be returned itself
    ramp = VideoReformatter().reformat(frame, side, side, frame.format.name, threads=1)
    ramp.make_writable()
    middle = 2 ** (_depth(frame) - 1)
    _, blue, red = _arrays(ramp)
    blue[:] = middle + np.arange(blue.shape[1]) - blue.shape[1] // 2
    red[:] = (middle + np.arange(red.shape[0]) - red.shape[0] // 2)[:, None]
    full = _arrays(VideoReformatter().reformat(ramp, side, side, DEEP, interpolation=interpolation, threads=1))
    return _shift(full[1].mean(0), blue.shape[1]), _shift(full[2].mean(1), red.shape[0])


def _shift(values: npt.NDArray[np.float64], stored: int) -> float:
    """The shift, in eighths of a stored pixel, of a ramp that is neutral at the middle one of `stored` pixels."""
    inner = slice(len(values) // 4, 3 * len(values) // 4)
    slope, height = np.polyfit(np.arange(len(values))[inner], values[inner] - NEUTRAL, 1)
    place = (0.5 - height / slope) * stored / len(values) - 0.5
    return round(8 * float(stored // 2 - place)) / 8


def _depth(frame: VideoFrame) -> int:
    """Bits of a value in a planar frame."""
    form = PLANAR.match(frame.format.name)
    return int((form and form["depth"]) or 8)


def _arrays(frame: VideoFrame) -> list[npt.NDArray[Any]]:
    """The planes of a planar frame, not copied."""
    kind: Any = np.dtype("<u2" if _depth(frame) > 8 else "u1")
    planes: Any = frame.planes
    rows = [np.frombuffer(p, np.uint8)[: p.height * p.line_size].reshape(p.height, -1).view(kind) for p in planes]
    return [array[:, : plane.width] for array, plane in zip(rows, planes, strict=True)]


def _turned(shift: Shift, orientation: Orientation) -> Shift:
    """A shift of the stored frame in the frame as displayed."""
    y, x = (orientation.turn(index) for index in np.mgrid[:2, :2])
    along = [(x[to] - x[0, 0]) * shift[0] + (y[to] - y[0, 0]) * shift[1] for to in ((0, 1), (1, 0))]
    return float(along[0]), float(along[1])
