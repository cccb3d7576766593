"""Render scenes of the second version to frames."""

from __future__ import annotations

from functools import partial

import numpy as np
from jaxtyping import Float64, UInt8

from vitascope.motionlab import backdrop as patterns
from vitascope.motionlab import motion as first
from vitascope.motionlab.render import FPS, FRAMES, SIDE
from vitascope.motionlab.v2 import backdrop, motion, paint
from vitascope.motionlab.v2.motion import Times
from vitascope.motionlab.v2.photos import PATCH, Photos
from vitascope.motionlab.v2.scene import Scene


def render(
    scene: Scene, frames: int = FRAMES, *, side: int = SIDE, fps: float = FPS, photos: Photos | None = None
) -> UInt8[np.ndarray, "t y x 3"]:
    """The RGB frames of a scene, with photos for background and surfaces if there are any.

    `render(scene.reversed)` equals `render(scene)[::-1]` bit for bit. With a shutter, a frame is the mean of two
    instants around its time, at which camera and distractors are where they are then. The twins' own motion is that of
    the frame's time in both: its blur would tell the motion in a single frame.
    """
    times = first.clock(frames, fps)
    states = motion.states(scene, times)
    draw = partial(_drawn, scene, states, side=side, photos=photos)
    if not scene.shutter:
        return _bytes(draw(times))
    # the middles of both halves of the exposure, in time of the suites: a stream of fewer frames has the same blur
    apart = scene.shutter / FPS / 4
    return _bytes((draw(times - apart) + draw(times + apart)) / 2)


def _drawn(
    scene: Scene, states: Float64[np.ndarray, "t 7"], times: Times, *, side: int, photos: Photos | None
) -> paint.Planes:
    """Colors of 0 to 1 at instants `times`, with the twins at `states` on the torus."""
    distractors = [motion.distractor_view(scene, thing, times) for thing in scene.distractors]
    twins = motion.pair(scene, states, times)
    canvas = backdrop.behind(scene, _wall(scene, times, side, photos), times, side, ground=photos is None)
    surface = photos.part(scene.photo[::-1], PATCH) if photos else None
    for thing, view in zip(scene.distractors, distractors, strict=True):
        paint.stamp(canvas, view, paint.plain(thing.outline, thing.color, surface))
    light, dark = scene.colors
    for part in paint.quarters(twins.cord):
        paint.stamp(canvas, part, paint.cord(part, side, dark), paint.CORD + 1)
    for view, colors in zip(twins[:2], ((light, dark), (dark, light)), strict=True):
        paint.stamp(canvas, view, paint.twin((scene.shape, scene.texture), colors, states[:, 6], surface))
    return canvas


def _wall(scene: Scene, times: Times, side: int, photos: Photos | None) -> backdrop.Picture:
    """The far wall, with a margin for the camera's motion."""
    margin = backdrop.wall_margin(scene, times, side)
    if photos is None:
        return patterns.planes(scene.background, side, margin)
    return np.ascontiguousarray(photos.part(scene.photo, side + 2 * margin).transpose(2, 0, 1))


def _bytes(colors: paint.Planes) -> UInt8[np.ndarray, "t y x 3"]:
    rounded: UInt8[np.ndarray, "3 t y x"] = (np.clip(colors, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(rounded.transpose(1, 2, 3, 0))
