"""Render scenes to frames."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from jaxtyping import Float64, UInt8

from vitascope.core.types import RGB
from vitascope.motionlab import backdrop, motion
from vitascope.motionlab.draw import Field, Frames, Pixel, paint, stamp
from vitascope.motionlab.motion import Path
from vitascope.motionlab.scene import Scene

SIDE = 112
"""Height and width of a frame, pixels."""
FRAMES = 24
"""Frames per clip."""
FPS = 12.0
"""Frame rate, frames per second."""
CHUNK = 128
"""Maximum number of frames drawn at once, which bounds the memory for long videos."""


def render(scene: Scene, frames: int = FRAMES, *, side: int = SIDE, fps: float = FPS) -> UInt8[np.ndarray, "t y x 3"]:
    """The RGB frames of a scene. `render(scene.reversed)` equals `render(scene)[::-1]` bit for bit."""
    times = motion.clock(frames, fps)
    return draw(scene, motion.states(scene, times), times, side=side)


def draw(
    scene: Scene, states: Float64[np.ndarray, "t 6"], times: Float64[np.ndarray, "t"], *, side: int = SIDE
) -> UInt8[np.ndarray, "t y x 3"]:
    """The frames of a scene at `times` (seconds from its middle), with the twins at `states` on the torus."""
    shake = motion.shake(scene, times)
    margin = math.ceil(np.abs(shake).max() * side) + 1
    wide = backdrop.picture(scene.background, side, margin)
    frames = np.empty((len(times), side, side, 3), np.uint8)
    for start in range(0, len(times), CHUNK):
        at = slice(start, start + CHUNK)
        canvas = backdrop.view(wide, shake[at] * side, side)
        frames[at] = _drawn(canvas, scene, states[at], times[at], shake[at])
    return frames


def _drawn(
    canvas: Frames,
    scene: Scene,
    states: Float64[np.ndarray, "t 6"],
    times: Float64[np.ndarray, "t"],
    shake: Float64[np.ndarray, "t 2"],
) -> UInt8[np.ndarray, "t y x 3"]:
    """Draw distractors and twins onto the backgrounds in `canvas`, which is overwritten."""
    for thing in scene.distractors:
        stamp(canvas, shaken(motion.wander(thing, times), shake), thing.outline, partial(plain_color, thing.color))
    light, dark = scene.colors
    for path, colors in zip(motion.twin_paths(states), ((light, dark), (dark, light)), strict=True):
        stamp(canvas, shaken(path, shake), scene.shape, partial(paint, scene.texture, colors))
    canvas *= 255
    canvas += 0.5
    return canvas.astype(np.uint8)


def shaken(path: Path, shake: Float64[np.ndarray, "t 2"]) -> Path:
    """The path as seen by a shaking camera."""
    return Path(path.x + shake[:, 0], path.y + shake[:, 1], path.facing, path.radius)


def plain_color(color: RGB, u: Field, v: Field, pixel: Pixel) -> Frames:
    """A uniform color."""
    return np.broadcast_to(np.array(color, np.float32), (*u.shape, 3))
