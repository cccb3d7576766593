"""Resampling filters as banded matrices: what each output pixel of a side takes from the pixels of the source."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from vitascope.core.pixel_transform import Filter

Floats: TypeAlias = npt.NDArray[np.float64]
Plane: TypeAlias = npt.NDArray[np.float32]
BLOCK = 32
"""Output pixels per matrix: few enough that most of it is not zero, enough that a product of matrices is fast."""


def _triangle(x: Floats) -> Floats:
    weights: Floats = np.maximum(1 - np.abs(x), 0)
    return weights


def _hamming(x: Floats) -> Floats:
    return np.where(np.abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0)


def _cubic(x: Floats, a: float) -> Floats:
    """Keys' cubic convolution (1981), with slope `a` at 1."""
    x = np.abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, a * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: Floats) -> Floats:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


KERNELS: dict[tuple[Filter, bool], tuple[float, Callable[[Floats], Floats]]] = {
    ("bilinear", True): (1, _triangle),
    ("hamming", True): (1, _hamming),
    ("bicubic", True): (2, lambda x: _cubic(x, -0.5)),
    ("lanczos", True): (3, _lanczos),
    ("bilinear", False): (1, _triangle),
    ("bicubic", False): (2, lambda x: _cubic(x, -0.75)),
}
"""Reach in pixels and weight by distance, of a filter with antialiasing (Pillow's) or without (OpenCV's, torch's)."""


class Side(NamedTuple):
    """One side of a resized picture: output pixels `first` to `last` of `target`, made from `source` pixels.

    If only `stored` pixels are stored, those of chroma, the source is what linear interpolation makes of them; they are
    `shift` of a stored pixel before the places where they would cover the source evenly.
    """

    source: int
    target: int
    first: int
    last: int
    stored: int = 0
    shift: float = 0.0


class Band(NamedTuple):
    """Output pixels `out` (counted from the first) are source pixels `taken` times `weights` (taken x out)."""

    out: slice
    taken: slice
    weights: Plane


@lru_cache(maxsize=64)
def bands(side: Side, filter: Filter, antialias: bool) -> tuple[Band, ...]:
    """The matrices for one side, edges repeated without antialiasing, cut off with it."""
    reach, kernel = KERNELS[filter, antialias]
    scale = side.source / side.target
    wide = max(scale, 1.0) if antialias else 1.0
    center = (np.arange(side.first, side.last) + 0.5) * scale
    start = np.floor(center - reach * wide).astype(np.int64)
    taps = start[:, None] + np.arange(math.ceil(2 * reach * wide) + 2)
    weights = kernel((taps + 0.5 - center[:, None]) / wide)
    if antialias:
        weights[(taps < 0) | (taps >= side.source)] = 0
    weights /= weights.sum(1, keepdims=True)
    taps = np.clip(taps, 0, side.source - 1)
    if side.stored not in (0, side.source):
        taps, weights = _interpolated(side, taps, weights)
    return tuple(_band(i, taps[i : i + BLOCK], weights[i : i + BLOCK]) for i in range(0, len(taps), BLOCK))


def _interpolated(side: Side, taps: npt.NDArray[np.int64], weights: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """The stored pixels and their weights, twice as many as those of the source."""
    place = (taps + 0.5) * (side.stored / side.source) - 0.5 + side.shift
    before = np.floor(place).astype(np.int64)
    pair = np.clip(np.concatenate([before, before + 1], 1), 0, side.stored - 1)
    return pair, np.concatenate([weights * (before + 1 - place), weights * (place - before)], 1)


def _band(first: int, taps: npt.NDArray[np.int64], weights: Floats) -> Band:
    low, high = int(taps.min()), int(taps.max()) + 1
    matrix = np.zeros((high - low, len(taps)))
    np.add.at(matrix, (taps - low, np.arange(len(taps))[:, None]), weights)
    return Band(slice(first, first + len(taps)), slice(low, high), matrix.astype(np.float32))


def filtered(plane: npt.NDArray[Any], rows: Sequence[Band], columns: Sequence[Band], *, stepwise: bool) -> Plane:
    """`plane` resampled along its rows, then its columns; only the part that the matrices take is read.

    `stepwise` rounds and clips to 0 to 255 in between, as Pillow does.
    """
    left, right = columns[0].taken.start, columns[-1].taken.stop
    low, high = rows[0].taken.start, rows[-1].taken.stop
    part = plane[low:high, left:right].astype(np.float32)
    wide = np.empty((high - low, columns[-1].out.stop), np.float32)
    for band in columns:
        wide[:, band.out] = part[:, band.taken.start - left : band.taken.stop - left] @ band.weights
    if stepwise:
        np.clip(np.floor(wide + 0.5, out=wide), 0, 255, out=wide)
    tall = np.empty((rows[-1].out.stop, wide.shape[1]), np.float32)
    for band in rows:
        tall[band.out] = band.weights.T @ wide[band.taken.start - low : band.taken.stop - low]
    return tall
