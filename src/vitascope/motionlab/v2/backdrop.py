"""The world behind the objects: a far wall, and a tiled ground that runs to the vanishing point."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32, Float64

from vitascope.motionlab import backdrop
from vitascope.motionlab.draw import Frames
from vitascope.motionlab.v2.motion import WALL, Times, shake, zoom
from vitascope.motionlab.v2.scene import Ground, Scene

Picture = Float32[np.ndarray, "h w 3"]
TILES = 64
"""Side of the ground's texture, texels; it repeats every `REPEAT` distances."""
REPEAT = 1.6
FADE = 3.0
"""Distance at which the ground has lost two thirds of its contrast: beyond it a tile is smaller than a pixel."""


def wall_margin(scene: Scene, times: Times, side: int) -> int:
    """Pixels of the wall beyond each edge of the frames that the camera ever sees."""
    moved = np.abs(shake(scene.camera, times)).max() + np.abs(1 / zoom(scene.camera, times, WALL) - 1).max()
    return math.ceil(float(moved) * side) + 2


def behind(scene: Scene, wall: Picture, times: Times, side: int, *, ground: bool = True) -> Frames:
    """Frames without objects, as the camera sees `wall` (with its margin) and the ground, if there is one."""
    margin = (wall.shape[0] - side) // 2
    shift, scale = shake(scene.camera, times) * side, zoom(scene.camera, times, WALL)
    frames = np.empty((len(times), side, side, 3), np.float32)
    pixels = np.arange(side) + 0.5
    home = np.array(scene.camera.vanishing) * side
    moving = bool(scene.camera.dolly)
    if not moving:
        frames[:] = backdrop.view(wall, shift, side)
    for frame, (dx, dy), size in zip(frames, shift.tolist(), scale.tolist(), strict=True):
        if moving:
            columns, rows = ((pixels - move - at) / size + at + margin for move, at in ((dx, home[0]), (dy, home[1])))
            frame[:] = _between(_between(wall, rows).swapaxes(0, 1), columns).swapaxes(0, 1)
    if scene.ground and ground:
        _lay(frames, scene, scene.ground, times)
    return frames


def _between(lines: Float32[np.ndarray, "a b 3"], at: Float64[np.ndarray, "n"]) -> Float32[np.ndarray, "n b 3"]:
    """Lines interpolated at positions in pixels, whose centers are at halves."""
    start = np.floor(at - 0.5)
    first = start.astype(np.intp)
    part = (at - 0.5 - start).astype(np.float32)[:, None, None]
    one, other = lines.take(first, axis=0), lines.take(first + 1, axis=0)
    between: Float32[np.ndarray, "n b 3"] = one + part * (other - one)
    return between


def _lay(frames: Frames, scene: Scene, ground: Ground, times: Times) -> None:
    """Draw the ground below the horizon, in place."""
    side, tiles = frames.shape[1], _tiles(ground)
    camera, mean = scene.camera, np.array(ground.colors, np.float32).mean(0)
    places = (np.arange(side) + 0.5) / side
    for frame, (dx, dy), time in zip(frames, shake(camera, times).tolist(), times.tolist(), strict=True):
        below = places - camera.vanishing[1] - dy
        rows = np.flatnonzero(below > 0.02)
        distance = ground.height / below[rows]
        across = (places - camera.vanishing[0] - dx)[None, :] * distance[:, None]
        along = distance + camera.dolly * time
        texels = _texels(tiles, across, along)
        clear = np.exp(-distance / FADE).astype(np.float32)[:, None, None]
        frame[rows] = mean + clear * (texels - mean)


def _texels(
    corners: Float32[np.ndarray, "4 n 3"], across: Float64[np.ndarray, "r c"], along: Float64[np.ndarray, "r"]
) -> Float32[np.ndarray, "r c 3"]:
    """The ground's colors at places on it, interpolated between the four corners of a texel."""
    column, row = across * (TILES / REPEAT), along * (TILES / REPEAT)
    left, top = np.floor(column), np.floor(row)
    number = left.astype(np.intp) % TILES + (top.astype(np.intp) % TILES * TILES)[:, None]
    x, y = (column - left).astype(np.float32)[..., None], (row - top).astype(np.float32)[:, None, None]
    one, right, lower, both = (corner.take(number, axis=0) for corner in corners)
    upper, below = one + x * (right - one), lower + x * (both - lower)
    texels: Float32[np.ndarray, "r c 3"] = upper + y * (below - upper)
    return texels


def _tiles(ground: Ground) -> Float32[np.ndarray, "4 n 3"]:
    """One repeat of a ground of flagstones of random tones: of every texel itself, its right, lower, and both."""
    rng = np.random.default_rng(ground.seed)
    stones = int(rng.choice((2, 4)))
    tone = np.kron(rng.uniform(0.15, 1.0, (stones, stones)), np.ones((TILES // stones,) * 2))
    tone += rng.normal(0, 0.05, tone.shape)
    joint = np.arange(TILES) % (TILES // stones) < 3
    tone[joint], tone[:, joint] = 0, 0
    one, other = (np.array(c, np.float32) for c in ground.colors)
    tiles = one + np.clip(tone, 0, 1).astype(np.float32)[..., None] * (other - one)
    around = [np.roll(tiles, (-down, -right), (0, 1)) for down in (0, 1) for right in (0, 1)]
    return np.stack(around).reshape(4, -1, 3)
