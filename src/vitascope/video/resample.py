"""Antialiased bilinear resizing as in Pillow and torchvision, for any window of the result."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8

Window = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the resized image."""


def shorter(width: int, height: int, short: int) -> tuple[int, int]:
    """Width and height after the short side is resized to `short`; the long side is rounded down."""
    if width < height:
        return short, short * height // width
    return short * width // height, short


def square(width: int, height: int, size: int, *, index: int = 0, count: int = 1) -> Window:
    """Square crop `index` of `count`, evenly spaced along the long side; a single one is the center crop."""
    long = max(width, height) - size
    along = round(long / 2) if count == 1 else index * (long // (count - 1))
    across = round((min(width, height) - size) / 2)
    left, top = (along, across) if width >= height else (across, along)
    return left, top, left + size, top + size


def resize(
    picture: UInt8[np.ndarray, "y x 3"], width: int, height: int, *, window: Window | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """`window` of `picture` resized to `width` x `height` pixels.

    Bilinear with a triangle filter, widened by the scale when shrinking (antialiasing). Only the part of the image
    inside the window is read, so a 160:1 image costs no more than its square crop.
    """
    left, top, right, bottom = window or (0, 0, width, height)
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
    rounded: npt.NDArray[np.uint8] = np.clip(wide + 0.5, 0, 255).astype(np.uint8)
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
