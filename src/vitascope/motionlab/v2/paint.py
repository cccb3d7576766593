"""Draw objects and their copies around the torus onto frames with a margin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int

from vitascope.core.types import RGB
from vitascope.motionlab.draw import EXTENT, OUTLINES, TEXTURINGS, Field, Frames, Pixel
from vitascope.motionlab.v2 import creature
from vitascope.motionlab.v2.motion import View

Surface: TypeAlias = Float32[np.ndarray, "s s 3"]
Index: TypeAlias = Int[np.ndarray, "n"]
Layers: TypeAlias = Iterator[tuple[Frames, Field]]
"""Colors and cover, back to front."""
Skin: TypeAlias = Callable[[Field, Field, Pixel, Index], Layers]
"""The layers of an object at its coordinates in radii, given the size of a pixel in radii and the numbers of the
frames."""
ROUGH = 0.8
"""How much a photo's lightness changes that of a twin's colors."""
CORD = 0.9
"""Half of the thickness of a cord, pixels."""
RIM = 1.0
"""Width of the dark rim of shapes, pixels."""


def stamp(canvas: Frames, margin: int, view: View, skin: Skin) -> None:
    """Draw an object, in place, onto frames with `margin` more pixels on every edge than are seen."""
    side = canvas.shape[1] - 2 * margin
    x, y, radius, period = (value * side for value in (view.x, view.y, view.radius, view.period))
    reach = radius * EXTENT + 1
    for right, down in product((-1, 0, 1), repeat=2):
        at_x, at_y = x + right * period, y + down * period
        near = np.maximum(np.abs(at_x - side / 2), np.abs(at_y - side / 2)) < side / 2 + reach
        frames = np.flatnonzero(near)
        if len(frames):
            center = at_x[frames] + margin, at_y[frames] + margin
            _stamp(canvas, frames, center, (view.facing[frames], radius[frames]), skin)


def margin_for(views: list[View], side: int) -> int:
    """The margin that the windows of objects at the edge of frames need, pixels."""
    return max((2 * math.ceil(view.radius.max() * side * EXTENT) + 5 for view in views), default=0)


def _stamp(
    canvas: Frames,
    frames: Index,
    center: tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]],
    turned: tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]],
    skin: Skin,
) -> None:
    facing, radius = turned
    reach = int(radius.max() * EXTENT) + 2
    offsets = np.arange(-reach, reach + 1)
    first_x, first_y = (np.floor(value) for value in center)
    dx = ((offsets + (first_x + 0.5 - center[0])[:, None]) / radius[:, None])[:, None, :]
    dy = ((offsets + (first_y + 0.5 - center[1])[:, None]) / radius[:, None])[:, :, None]
    cos, sin = (f(2 * np.pi * facing)[:, None, None] for f in (np.cos, np.sin))
    u, v = (cos * dx + sin * dy).astype(np.float32), (cos * dy - sin * dx).astype(np.float32)
    pixel = (1 / radius).astype(np.float32)[:, None, None]
    corners = zip(frames.tolist(), first_x.astype(int) - reach, first_y.astype(int) - reach, strict=True)
    windows = [canvas[frame, top : top + len(offsets), left : left + len(offsets)] for frame, left, top in corners]
    drawn = np.stack(windows)
    for colors, cover in skin(u, v, pixel, frames):
        drawn += cover[..., None] * (colors - drawn)
    for window, colors in zip(windows, drawn, strict=True):
        window[:] = colors


def plain(outline: str, color: RGB, surface: Surface | None = None) -> Skin:
    """A uniformly colored object, or one with the surface of a photo."""

    def skin(u: Field, v: Field, pixel: Pixel, frames: Index) -> Layers:
        cover, shade = _solid(OUTLINES[outline](u, v), v, pixel)
        tone = np.array(color, np.float32) if surface is None else _texels(surface, u, v)
        yield shade[..., None] * tone, cover

    return skin


def twin(
    look: tuple[str, str], colors: tuple[RGB, RGB], stride: Float64[np.ndarray, "t"], surface: Surface | None = None
) -> Skin:
    """A creature with a body of a shape and texture, one light and one dark leg.

    `stride` is the phase of its legs in every frame; the lightness of a photo's `surface` roughens its colors.
    """
    shape, texture = look

    def skin(u: Field, v: Field, pixel: Pixel, frames: Index) -> Layers:
        for leg, color in zip(creature.legs(stride[frames]), colors, strict=True):
            cover, shade = _solid(creature.leg_distance(u, v, leg), v, pixel)
            yield shade[..., None] * np.array(color, np.float32), cover
        across, down = creature.body_coordinates(u, v)
        cover, shade = _solid(creature.body_distance(shape, across, down), down, pixel)
        if surface is not None:
            shade = shade * (1 + ROUGH * (_texels(surface, across, down).mean(-1) - 0.5))
        yield shade[..., None] * _painted(texture, colors, (across, down), pixel / np.float32(creature.BODY)), cover

    return skin


def quarters(view: View) -> Iterator[View]:
    """A long object in four parts, whose windows together are a quarter as large."""
    radius, angle = view.radius / 4, 2 * np.pi * view.facing
    for part in (-3, -1, 1, 3):
        x, y = view.x + part * radius * np.cos(angle), view.y + part * radius * np.sin(angle)
        yield View(x, y, view.facing, radius, view.period)


def _texels(surface: Surface, u: Field, v: Field) -> Frames:
    """The photo's colors where it is wrapped around an object, once from edge to edge."""
    side = len(surface)
    column, row = (np.clip((value / 2.2 + 0.5) * side, 0, side - 1).astype(np.intp) for value in (u, v))
    return surface.reshape(-1, 3).take(row * side + column, axis=0)


def cord(view: View, side: int, color: RGB) -> Skin:
    """A cord, or part of one, from end to end of an object: it shows which twins belong together around the torus."""
    thick = (CORD / (view.radius * side)).astype(np.float32)

    def skin(u: Field, v: Field, pixel: Pixel, frames: Index) -> Layers:
        beyond = np.maximum(np.abs(u) - 1, 0)
        distance = np.sqrt(beyond * beyond + v * v) - thick[frames, None, None]
        yield np.broadcast_to(np.array(color, np.float32), (*u.shape, 3)), np.clip(0.5 - distance / pixel, 0, 1)

    return skin


def _painted(texture: str, colors: tuple[RGB, RGB], at: tuple[Field, Field], pixel: Pixel) -> Frames:
    """Colors of a two-color texture; `pixel` is the size of a pixel in radii of the body."""
    field, slope = TEXTURINGS[texture]
    first = np.clip(field(*at) / (slope * pixel) + 0.5, 0, 1)[..., None]
    one, other = (np.array(c, np.float32) for c in colors)
    painted: Frames = other + first * (one - other)
    return painted


def _solid(distance: Field, down: Field, pixel: Pixel) -> tuple[Field, Field]:
    """Cover and shade of an outline: antialiased, with a dark rim, lit from below its own head."""
    inside = -distance / pixel
    cover: Field = np.clip(inside + 0.5, 0, 1)
    rim = 0.35 + 0.65 * np.clip(inside + 0.5 - RIM, 0, 1)
    # shading of one side: without it, rotation of a disc with rings would be invisible
    shade: Field = rim * np.clip(0.78 + 0.34 * down, 0.42, 1)
    return cover, shade
