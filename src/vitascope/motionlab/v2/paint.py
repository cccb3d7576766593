"""Draw objects and their copies around the torus onto frames.

Colors are planes, one channel after another: numpy is many times slower on pixels of three values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, Float64

from vitascope.core.types import RGB
from vitascope.motionlab.draw import EXTENT, OUTLINES, TEXTURINGS, Field, Pixel
from vitascope.motionlab.v2 import creature
from vitascope.motionlab.v2.motion import View
from vitascope.motionlab.v2.pixels import AROUND, Index, Pixels, touched

Planes: TypeAlias = Float32[np.ndarray, "3 t y x"]
Surface: TypeAlias = Float32[np.ndarray, "s s 3"]
Colors: TypeAlias = Float32[np.ndarray, "3 n"]
Layers: TypeAlias = Iterator[tuple[Index | None, Colors, Field]]
"""Which of the pixels (all if None), their colors and cover, back to front."""
Skin: TypeAlias = Callable[[Pixels], Layers]
"""The layers of an object at pixels."""
ROUGH = 0.8
"""How much a photo's lightness changes that of a twin's colors."""
CORD = 0.9
"""Half of the thickness of a cord, pixels."""
RIM = 1.0
"""Width of the dark rim of shapes, pixels."""


def stamp(canvas: Planes, view: View, skin: Skin, width: float | None = None) -> None:
    """Draw an object onto frames, in place; of a long one, only what is within `width` pixels of its axis."""
    pixels = touched(view, canvas.shape[2], width)
    flat = canvas.reshape(3, -1)
    drawn = flat.take(pixels.at, axis=1)
    for which, colors, cover in skin(pixels):
        if which is None:
            drawn += cover * (colors - drawn)
            continue
        behind = drawn.take(which, axis=1)
        for plane, values in zip(drawn, behind + cover * (colors - behind), strict=True):
            plane[which] = values
    for plane, values in zip(flat, drawn, strict=True):
        plane[pixels.at] = values


def plain(outline: str, color: RGB, surface: Surface | None = None) -> Skin:
    """A uniformly colored object, or one with the surface of a photo."""

    planes = None if surface is None else _planes(surface)

    def skin(pixels: Pixels) -> Layers:
        u, v = pixels.u, pixels.v
        cover, shade = _solid(OUTLINES[outline](u, v), v, pixels.pixel)
        yield None, shade * (_column(color) if planes is None else _texels(planes, u, v)), cover

    return skin


def twin(
    look: tuple[str, str], colors: tuple[RGB, RGB], stride: Float64[np.ndarray, "t"], surface: Surface | None = None
) -> Skin:
    """A creature with a body of a shape and texture, one light and one dark leg.

    `stride` is the phase of its legs in every frame; the lightness of a photo's `surface` roughens its colors.
    """
    shape, texture = look

    both, planes = creature.legs(stride), None if surface is None else _planes(surface)

    def skin(pixels: Pixels) -> Layers:
        below = np.flatnonzero(pixels.v > creature.LEGS - pixels.pixel)
        _, frame, u, v, pixel = pixels.some(below)
        for leg, color in zip(both, colors, strict=True):
            cover, shade = _solid(creature.leg_distance(u, v, frame, leg), v, pixel)
            yield below, shade * _column(color), cover
        across, down = creature.body_coordinates(pixels.u, pixels.v)
        reach = EXTENT + AROUND / creature.BODY * pixels.pixel
        above = np.flatnonzero(across * across + down * down < reach * reach)
        pixel, across, down = pixels.pixel.take(above), across.take(above), down.take(above)
        cover, shade = _solid(creature.body_distance(shape, across, down), down, pixel)
        if planes is not None:
            red, green, blue = _texels(planes, across, down)
            shade = shade * (1 + ROUGH * ((red + green + blue) / 3 - 0.5))
        tone = _painted(texture, colors, (across, down), pixel / np.float32(creature.BODY))
        yield above, shade * tone, cover

    return skin


def quarters(view: View) -> Iterator[View]:
    """A long object in four parts."""
    radius, angle = view.radius / 4, 2 * np.pi * view.facing
    for part in (-3, -1, 1, 3):
        x, y = view.x + part * radius * np.cos(angle), view.y + part * radius * np.sin(angle)
        yield View(x, y, view.facing, radius, view.period)


def _column(color: RGB) -> Float32[np.ndarray, "3 1"]:
    return np.array(color, np.float32)[:, None]


def _planes(surface: Surface) -> Float32[np.ndarray, "3 s s"]:
    return np.ascontiguousarray(surface.transpose(2, 0, 1))


def _texels(surface: Float32[np.ndarray, "3 s s"], u: Field, v: Field) -> Colors:
    """The photo's colors where it is wrapped around an object, once from edge to edge."""
    side = surface.shape[1]
    column, row = (np.clip((value / 2.2 + 0.5) * side, 0, side - 1).astype(np.intp) for value in (u, v))
    texels: Colors = surface.reshape(3, -1).take(row * side + column, axis=1)
    return texels


def cord(view: View, side: int, color: RGB) -> Skin:
    """A cord, or part of one, from end to end of an object: it shows which twins belong together around the torus."""
    thick = (CORD / (view.radius * side)).astype(np.float32)

    def skin(pixels: Pixels) -> Layers:
        beyond = np.maximum(np.abs(pixels.u) - 1, 0)
        distance = np.sqrt(beyond * beyond + pixels.v * pixels.v) - thick[pixels.frame]
        cover = np.clip(0.5 - distance / pixels.pixel, 0, 1)
        yield None, np.broadcast_to(_column(color), (3, len(cover))), cover

    return skin


def _painted(texture: str, colors: tuple[RGB, RGB], at: tuple[Field, Field], pixel: Pixel) -> Colors:
    """Colors of a two-color texture; `pixel` is the size of a pixel in radii of the body."""
    field, slope = TEXTURINGS[texture]
    first = np.clip(field(*at) / (slope * pixel) + 0.5, 0, 1)
    one, other = (_column(color) for color in colors)
    painted: Colors = other + first * (one - other)
    return painted


def _solid(distance: Field, down: Field, pixel: Pixel) -> tuple[Field, Field]:
    """Cover and shade of an outline: antialiased, with a dark rim, lit from below its own head."""
    inside = -distance / pixel
    cover: Field = np.clip(inside + 0.5, 0, 1)
    rim = 0.35 + 0.65 * np.clip(inside + 0.5 - RIM, 0, 1)
    # shading of one side: without it, rotation of a disc with rings would be invisible
    shade: Field = rim * np.clip(0.78 + 0.34 * down, 0.42, 1)
    return cover, shade
