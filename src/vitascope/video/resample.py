"""Resizing as in Pillow (antialiased) and OpenCV (not antialiased), for any window of the result."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8
from PIL import Image

from vitascope.core.pixel_transform import CropRounding, Filter
from vitascope.video.filters import Side, bands, filtered

Window = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the resized image."""
Pixels = npt.NDArray[np.uint8]
HALVES: dict[CropRounding, Callable[[float], int]] = {"even": round, "down": math.floor, "up": math.ceil}


def shorter(width: int, height: int, short: int) -> tuple[int, int]:
    """Width and height after the short side is resized to `short`; the long side is rounded down."""
    if width < height:
        return short, short * height // width
    return short * width // height, short


def square(
    width: int, height: int, size: int, *, index: int = 0, count: int = 1, rounding: CropRounding = "even"
) -> Window:
    """Square crop `index` of `count`, evenly spaced along the long side; a single one is the center crop."""
    halves = HALVES[rounding]
    long = max(width, height) - size
    along = halves(long / 2) if count == 1 else index * (long // (count - 1))
    across = halves((min(width, height) - size) / 2)
    left, top = (along, across) if width >= height else (across, along)
    return left, top, left + size, top + size


def resize(
    picture: UInt8[np.ndarray, "y x 3"],
    width: int,
    height: int,
    *,
    window: Window | None = None,
    filter: Filter = "bilinear",
    antialias: bool = True,
) -> UInt8[np.ndarray, "h w 3"]:
    """`window` of `picture` resized to `width` x `height` pixels, as by Pillow or, not antialiased, by OpenCV.

    Only the part of the image inside the window is read, so a 160:1 image costs no more than its square crop.
    """
    window = window or (0, 0, width, height)
    if filter in ("nearest", "box"):
        return _pillow(picture, width, height, window, filter)
    if filter == "bilinear" and antialias:
        return _widened(picture, width, height, window)
    return _filtered(picture, (width, height), window, filter, antialias)


def _widened(picture: Pixels, width: int, height: int, window: Window) -> Pixels:
    """The window by a triangle filter as wide as a pixel of the result."""
    left, top, right, bottom = window
    rows, down = _taps(picture.shape[0], height, top, bottom)
    columns, across = _taps(picture.shape[1], width, left, right)
    low, high = int(columns.min()), int(columns.max()) + 1
    part = picture[:, low:high]
    tall = np.zeros((bottom - top, *part.shape[1:]), np.float32)
    for k in range(rows.shape[1]):
        tall += part[rows[:, k]] * down[:, k, None, None]
    wide = np.zeros((bottom - top, right - left, 3), np.float32)
    for k in range(columns.shape[1]):
        wide += tall[:, columns[:, k] - low] * across[:, k, None]
    rounded: Pixels = np.clip(wide + 0.5, 0, 255).astype(np.uint8)
    return rounded


def _taps(source: int, target: int, first: int, last: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Source pixels and weights for output pixels `first` to `last` of a side resized from `source` to `target`."""
    scale = source / target
    reach = max(scale, 1.0)
    center = (np.arange(first, last) + 0.5) * scale
    start = np.floor(center - reach + 0.5).astype(np.int64)
    taps = start[:, None] + np.arange(math.ceil(2 * reach) + 1)
    weight = np.maximum(0.0, 1.0 - np.abs(taps + 0.5 - center[:, None]) / reach)
    weight[(taps < 0) | (taps >= source)] = 0.0
    weight /= weight.sum(1, keepdims=True)
    return np.clip(taps, 0, source - 1), weight.astype(np.float32)


def _filtered(picture: Pixels, size: tuple[int, int], window: Window, filter: Filter, antialias: bool) -> Pixels:
    """The window of a picture of `size` by matrices, channel by channel."""
    left, top, right, bottom = window
    rows = bands(Side(picture.shape[0], size[1], top, bottom), filter, antialias)
    columns = bands(Side(picture.shape[1], size[0], left, right), filter, antialias)
    channels = [filtered(picture[..., c], rows, columns, stepwise=antialias) for c in range(3)]
    rounded: Pixels = np.clip(np.stack(channels, -1) + 0.5, 0, 255).astype(np.uint8)
    return rounded


def _pillow(picture: Pixels, width: int, height: int, window: Window, filter: Filter) -> Pixels:
    """The window by Pillow, whose filters without weights jump to another pixel on a rounding error."""
    image = Image.fromarray(picture)
    return np.array(image.resize((width, height), Image.Resampling[filter.upper()]).crop(window))
