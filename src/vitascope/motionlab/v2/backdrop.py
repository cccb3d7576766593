"""The world behind the objects: a far wall, and a tiled ground that runs to the vanishing point."""

from __future__ import annotations

import math
from functools import cache, lru_cache, partial
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int

from vitascope.motionlab.v2.motion import WALL, Times, shake, zoom
from vitascope.motionlab.v2.scene import Camera, Ground, Scene

Picture: TypeAlias = Float32[np.ndarray, "3 _ _"]
Planes: TypeAlias = Float32[np.ndarray, "3 t y x"]
"""Colors, one channel after another."""
Tiles: TypeAlias = Float32[np.ndarray, "4 3 n"]
"""Of the ground's texels the colors, what is added to the right, and the same one row below."""
TILES = 64
"""Side of the ground's texture, texels; it repeats every `REPEAT` distances."""
REPEAT = 1.6
FADE = 3.0
"""Distance at which the ground has lost two thirds of its contrast: beyond it a tile is smaller than a pixel."""


def wall_margin(scene: Scene, times: Times, side: int) -> int:
    """Pixels of the wall beyond each edge of the frames that the camera ever sees."""
    moved = np.abs(shake(scene.camera, times)).max() + np.abs(1 / zoom(scene.camera, times, WALL) - 1).max()
    return math.ceil(float(moved) * side) + 2


def behind(scene: Scene, wall: Picture, times: Times, side: int, *, ground: bool = True) -> Planes:
    """Frames without objects, as the camera sees `wall` (with its margin) and the ground, if there is one."""
    margin = (wall.shape[1] - side) // 2
    shift, scale = shake(scene.camera, times) * side, zoom(scene.camera, times, WALL)
    frames = np.empty((3, len(times), side, side), np.float32)
    pixels = np.arange(side) + 0.5
    home = np.array(scene.camera.vanishing) * side
    for number, ((dx, dy), size) in enumerate(zip(shift.tolist(), scale.tolist(), strict=True)):
        if scene.camera.dolly:
            columns, rows = ((pixels - move - at) / size + at + margin for move, at in ((dx, home[0]), (dy, home[1])))
            frames[:, number] = _between(_between(wall, rows, 1), columns, 2)
        else:
            frames[:, number] = _shifted(wall, (margin - dy, margin - dx), side)
    if scene.ground and ground:
        _lay(frames, scene, scene.ground, times)
    return frames


def _between(lines: Picture, at: Float64[np.ndarray, "n"], axis: int) -> Picture:
    """Lines interpolated at positions in pixels, whose centers are at halves."""
    start = np.floor(at - 0.5)
    first = start.astype(np.intp)
    part = (at - 0.5 - start).astype(np.float32).reshape((-1, 1) if axis == 1 else -1)
    one, other = lines.take(first, axis), lines.take(first + 1, axis)
    other -= one
    other *= part
    other += one
    return other


def _shifted(wall: Picture, start: tuple[float, float], side: int) -> Picture:
    """A part of the wall of `side` pixels that starts at a row and a column between two pixels, bilinear."""
    row, column = math.floor(start[0]), math.floor(start[1])
    down, right = start[0] - row, start[1] - column
    rows = wall[:, row : row + side] * (1 - down)
    rows += wall[:, row + 1 : row + side + 1] * down
    part: Picture = rows[..., column : column + side] * (1 - right)
    part += rows[..., column + 1 : column + side + 1] * right
    return part


def _lay(frames: Planes, scene: Scene, ground: Ground, times: Times) -> None:
    """Draw the ground below the horizon, in place."""
    tiles, mean = _tiles(ground), np.array(ground.colors, np.float32).mean(0)[:, None, None]
    look = cache(partial(_look, scene.camera, ground.height, frames.shape[2]))
    for number, (shift, time) in enumerate(zip(shake(scene.camera, times).tolist(), times.tolist(), strict=True)):
        sight = look(*shift)
        texels = _texels(tiles, sight, sight.distance + scene.camera.dolly * time)
        texels -= mean
        texels *= np.exp(-sight.distance / FADE).astype(np.float32)[:, None]
        texels += mean
        frames[:, number, sight.rows] = texels


class _Sight(NamedTuple):
    """Where a camera sees the ground, whatever it has moved ahead."""

    rows: Int[np.ndarray, "r"]
    """Of the frame, below the horizon."""
    distance: Float64[np.ndarray, "r"]
    """Of the ground in them."""
    column: Int[np.ndarray, "r c"]
    """Of the texel seen by a pixel."""
    x: Float32[np.ndarray, "r c"]
    """Place in it, 0 to 1."""


def _look(camera: Camera, height: float, side: int, dx: float, dy: float) -> _Sight:
    places = (np.arange(side) + 0.5) / side
    below = places - camera.vanishing[1] - dy
    rows = np.flatnonzero(below > 0.02)
    distance = height / below[rows]
    across = (places - camera.vanishing[0] - dx)[None, :] * distance[:, None] * (TILES / REPEAT)
    left = np.floor(across)
    return _Sight(rows, distance, left.astype(np.intp) % TILES, (across - left).astype(np.float32))


def _texels(tiles: Tiles, sight: _Sight, along: Float64[np.ndarray, "r"]) -> Picture:
    """The ground's colors at places on it, interpolated between the four corners of a texel."""
    row = along * (TILES / REPEAT)
    top = np.floor(row)
    number = sight.column + (top.astype(np.intp) % TILES * TILES)[:, None]
    y = (row - top).astype(np.float32)[:, None]
    start, right, lower, both = (values.take(number, axis=1) for values in tiles)
    right *= sight.x
    right += start
    both *= sight.x
    both += lower
    both -= right
    both *= y
    both += right
    texels: Picture = both
    return texels


@lru_cache(maxsize=1)
def _tiles(ground: Ground) -> Tiles:
    """One repeat of a ground of flagstones of random tones."""
    rng = np.random.default_rng(ground.seed)
    stones = int(rng.choice((2, 4)))
    tone = np.kron(rng.uniform(0.15, 1.0, (stones, stones)), np.ones((TILES // stones,) * 2))
    tone += rng.normal(0, 0.05, tone.shape)
    joint = np.arange(TILES) % (TILES // stones) < 3
    tone[joint], tone[:, joint] = 0, 0
    one, other = (np.array(c, np.float32) for c in ground.colors)
    one, other = (color[:, None, None] for color in (one, other))
    start = one + np.clip(tone, 0, 1).astype(np.float32) * (other - one)
    right, lower, both = (np.roll(start, (-y, -x), (1, 2)) for y, x in ((0, 1), (1, 0), (1, 1)))
    return np.stack([start, right - start, lower, both - lower]).reshape(4, 3, -1)
