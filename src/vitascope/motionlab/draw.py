"""Draw antialiased textured shapes onto frames with periodic boundaries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int

from vitascope.core.types import RGB
from vitascope.motionlab.motion import Path

Field: TypeAlias = Float32[np.ndarray, "*at"]
Pixel: TypeAlias = Float32[np.ndarray, "*#at"]
Colors: TypeAlias = Float32[np.ndarray, "*at 3"]
"""Values, the size of a pixel, and colors at points."""
Frames: TypeAlias = Float32[np.ndarray, "t y x 3"]

EXTENT = 1.1
"""Maximum extent of all outlines from their center, radii."""
RIM = 1.0
"""Width of the dark rim of shapes, pixels."""


def _polygon(u: Field, v: Field, sides: int, inner: float) -> Field:
    """Signed distance to a regular polygon with inradius `inner`, one side at the bottom."""
    turns = [2 * math.pi * (k / sides + 0.25) for k in range(sides)]
    distance: Field = np.maximum.reduce([u * math.cos(a) + v * math.sin(a) for a in turns]) - inner
    return distance


def _star(u: Field, v: Field) -> Field:
    """Five-pointed star: the points inside at least four of the five half-planes of a pentagram."""
    turns = [2 * math.pi * (k / 5 + 0.25) for k in range(5)]
    lines = [u * math.cos(a) + v * math.sin(a) for a in turns]
    largest, second = np.maximum(lines[0], lines[1]), np.minimum(lines[0], lines[1])
    for line in lines[2:]:
        second = np.maximum(second, np.minimum(largest, line))
        largest = np.maximum(largest, line)
    distance: Field = second - 0.335
    return distance


def _cross(u: Field, v: Field) -> Field:
    a, b = np.abs(u), np.abs(v)
    distance: Field = np.maximum(np.maximum(a, b) - 0.95, np.minimum(a, b) - 0.34)
    return distance


def _crescent(u: Field, v: Field) -> Field:
    distance: Field = np.maximum(np.hypot(u, v) - 1, 0.72 - np.hypot(u - 0.62, v))
    return distance


def _capsule(u: Field, v: Field) -> Field:
    distance: Field = np.hypot(np.maximum(np.abs(u) - 0.68, 0), v) - 0.32
    return distance


def _pebble(u: Field, v: Field) -> Field:
    distance: Field = np.hypot(u, v) - 0.8 - 0.22 * u * v
    return distance


def _arrow(u: Field, v: Field) -> Field:
    shaft = np.maximum(np.abs(u) - 0.26, np.abs(v - 0.3) - 0.6)
    distance: Field = np.minimum(_polygon(u, v + 0.3, 3, 0.38), shaft)
    return distance


OUTLINES: dict[str, Callable[[Field, Field], Field]] = {
    "disc": lambda u, v: np.hypot(u, v) - 1,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) - 0.74,
    "triangle": lambda u, v: _polygon(u, v, 3, 0.52),
    "star": _star,
    "cross": _cross,
    "crescent": _crescent,
    "ellipse": lambda u, v: (np.hypot(u, v * 2) - 1) * 0.6,
    "capsule": _capsule,
    "pebble": _pebble,
    "hexagon": lambda u, v: _polygon(u, v, 6, 0.82),
    "ring": lambda u, v: np.maximum(np.hypot(u, v) - 1, 0.45 - np.hypot(u, v)),
    "half": lambda u, v: np.maximum(np.hypot(u, v + 0.3) - 1, -v - 0.3),
    "arrow": _arrow,
    "bow": lambda u, v: np.maximum(np.abs(u) - 0.9, np.abs(v) - 0.5 * np.abs(u) - 0.1),
    "trapezoid": lambda u, v: np.maximum(np.abs(v) - 0.65, np.abs(u) - 0.6 - 0.4 * v),
}
"""Signed distance to the outline in radii, negative inside; accurate only near the outline."""


def _saw(turns: Field) -> Field:
    """A triangle wave with period 1 and range -1 to 1; its constant slope gives edges of constant width."""
    wave: Field = np.abs(turns - np.floor(turns) - 0.5) * 4 - 1
    return wave


TEXTURINGS: dict[str, tuple[Callable[[Field, Field], Field], float]] = {
    "stripes": (lambda u, v: _saw(u * 1.8), 7.2),
    "checks": (lambda u, v: _saw(u * 1.1) * _saw(v * 1.1), 3.0),
    "dots": (
        lambda u, v: 0.85 - np.hypot(1 - _saw(u * 1.5), 1 - _saw(v * 1.5)),
        6.0,
    ),
    "rings": (lambda u, v: _saw(np.hypot(u, v) * 1.7), 6.8),
    "zigzag": (lambda u, v: _saw(u * 1.6 + 0.3 * _saw(v * 1.4)), 8.0),
    "lattice": (lambda u, v: np.maximum(_saw(u * 1.4), _saw(v * 1.4)) - 0.4, 5.6),
    "wedges": (lambda u, v: _saw(np.arctan2(v, u) * (3 / np.pi)), 6.0),
    "spiral": (lambda u, v: _saw(np.hypot(u, v) * 1.4 + np.arctan2(v, u) / (2 * np.pi)), 6.2),
}
"""For each texture, a field that is positive in the first color, and its slope per radius at color edges."""


def paint(texture: str, colors: tuple[RGB, RGB], u: Field, v: Field, pixel: Pixel) -> Colors:
    """Colors of a two-color texture; `pixel` is the size of a pixel in radii."""
    field, slope = TEXTURINGS[texture]
    first = np.clip(field(u, v) / (slope * pixel) + 0.5, 0, 1)[..., None]
    one, other = (np.array(c, np.float32) for c in colors)
    painted: Colors = other + first * (one - other)
    return painted


def stamp(frames: Frames, path: Path, outline: str, skin: Callable[[Field, Field, Pixel], Colors]) -> None:
    """Draw an object along its path onto square `frames`, in place, with periodic boundaries.

    `skin(u, v, pixel)` returns its colors at object coordinates in radii, given the size of a pixel in radii.
    """
    side = frames.shape[1]
    radius = path.radius * side
    offsets = np.arange(-int(radius.max() * EXTENT) - 2, int(radius.max() * EXTENT) + 3)
    rows, dy = _window(path.y * side, offsets, side)
    columns, dx = _window(path.x * side, offsets, side)
    dx, dy = (dx / radius[:, None])[:, None, :], (dy / radius[:, None])[:, :, None]
    cos, sin = (f(2 * np.pi * path.facing)[:, None, None] for f in (np.cos, np.sin))
    u, v = (cos * dx + sin * dy).astype(np.float32), (cos * dy - sin * dx).astype(np.float32)
    pixel = (1 / radius).astype(np.float32)[:, None, None]

    inside = -OUTLINES[outline](u, v) / pixel
    cover = np.clip(inside + 0.5, 0, 1)[..., None]
    rim = 0.35 + 0.65 * np.clip(inside + 0.5 - RIM, 0, 1)
    # shading of one side: without it, rotation of a disc with rings would be invisible
    shade = rim * np.clip(0.78 + 0.34 * v, 0.42, 1)
    colors = skin(u, v, pixel) * shade[..., None]
    where = np.arange(len(frames))[:, None, None], rows[:, :, None], columns[:, None, :]
    behind = frames[where]
    frames[where] = behind + cover * (colors - behind)


def _window(
    center: Float64[np.ndarray, "t"], offsets: Int[np.ndarray, "o"], side: int
) -> tuple[Int[np.ndarray, "t o"], Float64[np.ndarray, "t o"]]:
    """Wrapped pixel indices around `center` (pixels), and the distances of the pixel centers from it."""
    origin = np.floor(center)
    pixels = origin[:, None] + offsets
    return pixels.astype(np.intp) % side, pixels + 0.5 - center[:, None]
