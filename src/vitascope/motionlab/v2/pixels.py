"""Which pixels an object and its copies around the torus may touch, and where they are on the object.

Only these are drawn: an object's window is mostly empty, and copies are mostly outside of the frame.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int

from vitascope.motionlab.draw import EXTENT
from vitascope.motionlab.v2.motion import View

Index: TypeAlias = Int[np.ndarray, "_"]
AROUND = 2.0
"""How far the antialiased edge of an object may reach beyond its radius, pixels: the tip of a star 1.6."""


class Pixels(NamedTuple):
    """Pixels of frames; none twice, since copies of an object are farther apart than they are wide."""

    at: Index
    """Numbers of the pixels in all frames, row by row."""
    frame: Index
    """Numbers of their frames."""
    u: Float32[np.ndarray, "n"]
    v: Float32[np.ndarray, "n"]
    """Their coordinates in radii, right and down of an upright object's center."""
    pixel: Float32[np.ndarray, "n"]
    """Side of a pixel in radii."""

    def some(self, which: Index) -> Pixels:
        """Those of these numbers."""
        return Pixels(*(values.take(which) for values in self))


class _Copies(NamedTuple):
    """The copies of an object that frames show, with centers and sizes in pixels."""

    frame: Index
    x: Float64[np.ndarray, "n"]
    y: Float64[np.ndarray, "n"]
    facing: Float64[np.ndarray, "n"]
    radius: Float64[np.ndarray, "n"]
    window: Index
    """Pixels left, right, above and below the one with the center."""


def touched(view: View, side: int, width: float | None = None) -> Pixels:
    """The pixels of frames of `side` pixels within the extent of an object.

    Of a long one along its u axis, only those within `width` pixels of that.
    """
    copies = _copies(view, side)
    corner_x, corner_y = (np.floor(center).astype(np.intp) for center in (copies.x, copies.y))
    cos, sin = (f(2 * np.pi * copies.facing) for f in (np.cos, np.sin))
    top, bottom = np.maximum(corner_y - copies.window, 0), np.minimum(corner_y + copies.window, side - 1)
    copy, row = _ranges(top, bottom)
    left, right = _chords(copies, (cos, sin), width, copy, row)
    left = np.maximum(left, np.maximum(corner_x - copies.window, 0)[copy])
    right = np.minimum(right, np.minimum(corner_x + copies.window, side - 1)[copy])
    line, column = _ranges(left, right)
    # both coordinates are sums of a term of the column, here in a table, and one of the row
    most = int(copies.window.max(initial=0))
    offsets = np.arange(-most, most + 1)
    dx = (offsets + (corner_x + 0.5 - copies.x)[:, None]) / copies.radius[:, None]
    dy = ((row - corner_y[copy]) + (corner_y + 0.5 - copies.y)[copy]) / copies.radius[copy]
    cell = (copy * len(offsets) + most - corner_x[copy]).take(line) + column
    u = (cos[:, None] * dx).take(cell) + (sin[copy] * dy).take(line)
    v = (cos[copy] * dy).take(line) - (sin[:, None] * dx).take(cell)
    return Pixels(
        ((copies.frame[copy] * side + row) * side).take(line) + column,
        copies.frame[copy].take(line),
        u.astype(np.float32),
        v.astype(np.float32),
        (1 / copies.radius).astype(np.float32)[copy].take(line),
    )


def _copies(view: View, side: int) -> _Copies:
    x, y, radius, period = (value * side for value in (view.x, view.y, view.radius, view.period))
    away = np.array([-1, 0, 1])[:, None]
    at_x, at_y = x + away * period, y + away * period
    from_middle = np.maximum(np.abs(at_y - side / 2)[:, None], np.abs(at_x - side / 2))
    near = from_middle < side / 2 + (radius * EXTENT + 1)
    down, right, frame = near.nonzero()
    # as wide as the largest of a copy's windows
    window = (np.where(near, radius, 0).max(-1) * EXTENT).astype(np.intp) + 2
    return _Copies(frame, at_x[right, frame], at_y[down, frame], view.facing[frame], radius[frame], window[down, right])


def _chords(
    copies: _Copies,
    turned: tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]],
    width: float | None,
    copy: Index,
    row: Index,
) -> tuple[Index, Index]:
    """First and last column of rows through copies."""
    down, radius = row + 0.5 - copies.y[copy], copies.radius[copy] + AROUND
    half = np.sqrt(np.maximum(radius * radius - down * down, 0))
    first, last = -half, half
    if width is not None:
        cos, sin = (values[copy] for values in turned)
        # a line through the center: |cos * down - sin * across| <= width; along a row, steep ones are cut
        steep = np.maximum(np.abs(sin), 1e-6)
        middle = cos * down * np.where(sin < 0, -1, 1)
        first, last = np.maximum(first, (middle - width) / steep), np.minimum(last, (middle + width) / steep)
    center = copies.x[copy] - 0.5
    return np.ceil(center + first).astype(np.intp), np.floor(center + last).astype(np.intp)


def _ranges(first: Index, last: Index) -> tuple[Index, Index]:
    """All whole numbers from `first` to `last` of each pair, after the number of the pair."""
    counts = np.maximum(last - first + 1, 0)
    pair = np.repeat(np.arange(len(counts)), counts)
    return pair, np.arange(len(pair)) + (first - np.cumsum(counts) + counts).take(pair)
