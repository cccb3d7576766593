"""Render scenes of the second version to frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

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
    draw = partial(_drawn, scene, states, side=side, photos=photos, wall=cache(partial(_wall, scene, side, photos)))
    if not scene.shutter:
        return _bytes(draw(times))
    # the middles of both halves of the exposure, in time of the suites: a stream of fewer frames has the same blur
    apart = scene.shutter / FPS / 4
    return _bytes(draw(times - apart), draw(times + apart))


def _drawn(
    scene: Scene,
    states: Float64[np.ndarray, "t 7"],
    times: Times,
    *,
    side: int,
    photos: Photos | None,
    wall: Callable[[int], backdrop.Picture],
) -> paint.Planes:
    """Colors of 0 to 1 at instants `times`, with the twins at `states` on the torus, before a wall with a margin."""
    far = wall(backdrop.wall_margin(scene, times, side))
    canvas = backdrop.behind(scene, far, times, side, ground=photos is None)
    distractors = [motion.distractor_view(scene, thing, times) for thing in scene.distractors]
    twins = motion.pair(scene, states, times)
    surface = photos.part(scene.photo[::-1], PATCH) if photos else None
    for thing, view in zip(scene.distractors, distractors, strict=True):
        paint.stamp(canvas, view, paint.plain(thing.outline, thing.color, surface))
    light, dark = scene.colors
    for part in paint.quarters(twins.cord):
        paint.stamp(canvas, part, paint.cord(part, side, dark), paint.CORD + 1)
    for view, colors in zip(twins[:2], ((light, dark), (dark, light)), strict=True):
        paint.stamp(canvas, view, paint.twin((scene.shape, scene.texture), colors, states[:, 6], surface))
    return canvas


def _wall(scene: Scene, side: int, photos: Photos | None, margin: int) -> backdrop.Picture:
    """The far wall, with a margin for the camera's motion."""
    if photos is None:
        return patterns.planes(scene.background, side, margin)
    return np.ascontiguousarray(photos.part(scene.photo, side + 2 * margin).transpose(2, 0, 1))


def _bytes(*colors: paint.Planes) -> UInt8[np.ndarray, "t y x 3"]:
    """The mean of colors as bytes."""
    frames = np.empty((*colors[0].shape[1:], 3), np.uint8)
    for channel, planes in enumerate(zip(*colors, strict=True)):
        plane = planes[0] if len(planes) == 1 else sum(planes[1:], planes[0]) / len(planes)
        plane = np.clip(plane, 0, 1)
        plane *= 255
        plane += 0.5
        frames[..., channel] = plane
    return frames
