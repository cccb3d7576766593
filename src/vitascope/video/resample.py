"""Resizing as in Pillow (antialiased) and OpenCV (not antialiased), for any window of the result."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8
from PIL import Image

from vitascope.core.pixel_transform import CropRounding, Filter

Window = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the resized image."""
Numbers = npt.NDArray[np.float64]
SHARPNESS = -0.75
"""Coefficient of the cubic filter without antialiasing, that of OpenCV and PyTorch; Pillow's is -0.5."""


def shorter(width: int, height: int, short: int) -> tuple[int, int]:
    """Width and height after the short side is resized to `short`; the long side is rounded down."""
    if width < height:
        return short, short * height // width
    return short * width // height, short


def square(
    width: int, height: int, size: int, *, index: int = 0, count: int = 1, rounding: CropRounding = "even"
) -> Window:
    """Square crop `index` of `count`, evenly spaced along the long side; a single one is the center crop."""
    halves: Callable[[float], int] = math.floor if rounding == "down" else round
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
    """`window` of `picture` resized to `width` x `height` pixels.

    With `antialias` the filter is widened by the scale when shrinking, as in Pillow; without it, it reads the pixels
    next to the sampled point, as in OpenCV. Only the part of the image inside the window is read, so a 160:1 image
    costs no more than its square crop.
    """
    window = window or (0, 0, width, height)
    if filter == "nearest" or (antialias and filter != "bilinear"):
        return _pillow(picture, width, height, window, filter)
    left, top, right, bottom = window
    rows, down = _taps(picture.shape[0], height, (top, bottom), filter, antialias)
    columns, across = _taps(picture.shape[1], width, (left, right), filter, antialias)
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


def _pillow(
    picture: npt.NDArray[np.uint8], width: int, height: int, window: Window, filter: Filter
) -> npt.NDArray[np.uint8]:
    """The window by Pillow, whose `box` is the source of the window."""
    x, y = picture.shape[1] / width, picture.shape[0] / height
    left, top, right, bottom = window
    box = (left * x, top * y, min(right * x, picture.shape[1]), min(bottom * y, picture.shape[0]))
    kind = Image.Resampling[filter.upper()]
    small = Image.fromarray(picture).resize((right - left, bottom - top), kind, box)
    return np.asarray(small)


def _taps(
    source: int, target: int, part: tuple[int, int], filter: Filter, antialias: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Source pixels and weights for the output pixels in `part` of a side resized from `source` to `target`.

    Antialiased, pixels outside the image have no weight (Pillow); otherwise the edge is repeated (OpenCV).
    """
    scale = source / target
    width = max(scale, 1.0) if antialias else 1.0
    reach = width * (2 if filter == "bicubic" else 1)
    center = (np.arange(*part) + 0.5) * scale
    start = np.floor(center - reach + 0.5).astype(np.int64)
    taps = start[:, None] + np.arange(math.ceil(2 * reach) + 1)
    distance = np.abs(taps + 0.5 - center[:, None]) / width
    weight = _cubic(distance) if filter == "bicubic" else np.maximum(0.0, 1.0 - distance)
    if antialias:
        weight[(taps < 0) | (taps >= source)] = 0.0
    weight /= weight.sum(1, keepdims=True)
    return np.clip(taps, 0, source - 1), weight.astype(np.float32)


def _cubic(x: Numbers) -> Numbers:
    """Cubic convolution (Keys, 1981) at distances `x` in pixels."""
    a = SHARPNESS
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    weights: Numbers = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return weights
