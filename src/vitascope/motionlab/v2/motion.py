"""Where everything of a scene is at any time, and where the camera sees it: closed forms, exactly reversible."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from vitascope.motionlab.v2.scene import PROGRAMS, Camera, Distractor, Scene

PERIOD = 1.0
"""Side of the torus at rest, frame sides: what leaves at one edge comes in at the other."""
FARTHEST = 1.75
"""Distance of the farthest twin; the nearest is at 1."""
RADIUS = 0.17
"""Radius of a twin at distance 1, frame sides; legs included."""
GAPS = (0.35, 0.65)
"""Least and most distance between the centers of the twins, frame sides: at least 2 `RADIUS`, also around the torus."""
PACE = 1.3
"""Frame sides per second of a thing at distance 1, for each unit of speed."""
WALL = 6.0
"""Distance of the background."""

Times = Float64[np.ndarray, "t"]


@dataclass(frozen=True, slots=True)
class View:
    """Where the camera sees an object over time."""

    x: Times
    y: Times
    """Center, frame sides to the right and downwards."""
    facing: Times
    """Orientation, turns clockwise."""
    radius: Times
    """Radius, frame sides."""
    period: Times
    """Side of the torus, frame sides: there are copies at this distance."""


class Pair(NamedTuple):
    """The twins and the cord between them, whose radius is half of its length."""

    one: View
    other: View
    cord: View


def states(scene: Scene, times: Times) -> Float64[np.ndarray, "t 7"]:
    """The state of the scene on the seven-torus at `times` (seconds from the middle of the clip)."""
    direction = np.array(PROGRAMS[scene.motion], np.float64)
    direction[:2] *= PACE / PERIOD / _distance(scene.state[4])  # what is farther away crosses the image slower
    path: Float64[np.ndarray, "t 7"] = np.array(scene.state) + times[:, None] * (scene.speed * direction)
    return path % 1.0


def _distance(depth: float | Times) -> float | Times:
    return 1 + (FARTHEST - 1) * depth


def pair(scene: Scene, states: Float64[np.ndarray, "t 7"], times: Times) -> Pair:
    """The twins and their cord with the given states, as the camera sees them at `times`."""
    x, y, axis, facing, depth, gap, _ = states.T
    distance = np.asarray(_distance(depth))
    nearness = (1 / distance - 1 / FARTHEST) / (1 - 1 / FARTHEST) - 0.5
    reach = (GAPS[0] + (GAPS[1] - GAPS[0]) * gap) / 2
    middle = x * PERIOD + scene.slant[0] * nearness, y * PERIOD + scene.slant[1] * nearness
    across, down = reach * np.cos(2 * np.pi * axis), reach * np.sin(2 * np.pi * axis)
    see = partial(_seen, scene.camera, times, distance)
    return Pair(
        see((middle[0] - across, middle[1] - down), (facing, RADIUS / distance)),
        see((middle[0] + across, middle[1] + down), (facing, RADIUS / distance)),
        see(middle, (axis, reach)),
    )


def distractor_view(scene: Scene, thing: Distractor, times: Times) -> View:
    """A distractor as the camera sees it at `times`."""
    at = thing.start[0] + times * thing.drift[0], thing.start[1] + times * thing.drift[1]
    turned = thing.facing + times * thing.spin, np.full(len(times), thing.radius)
    return _seen(scene.camera, times, np.full(len(times), thing.depth), at, turned)


def _seen(camera: Camera, times: Times, distance: Times, at: tuple[Times, Times], turned: tuple[Times, Times]) -> View:
    """The view of an object at `distance` that a camera at rest sees `at` a place, with an orientation and a radius."""
    scale, shift = zoom(camera, times, distance), shake(camera, times)
    (x, y), (facing, radius) = at, turned
    home_x, home_y = camera.vanishing
    x, y = x % PERIOD, y % PERIOD
    return View(
        home_x + (x - home_x) * scale + shift[:, 0],
        home_y + (y - home_y) * scale + shift[:, 1],
        facing,
        radius * scale,
        PERIOD * scale,
    )


def zoom(camera: Camera, times: Times, distance: float | Times) -> Times:
    """How much larger a thing at `distance` appears than to a camera at rest, in perspective: 1 / distance."""
    scale: Times = distance / (distance - camera.dolly * times)
    return scale


def shake(camera: Camera, times: Times) -> Float64[np.ndarray, "t 2"]:
    """Shift of the image, frame sides to the right and downwards."""
    shift: Float64[np.ndarray, "t 2"] = times[:, None] * np.array(camera.pan)
    for wave in camera.waves:
        angle = (2 * np.pi * wave.rate) * times
        shift = shift + np.cos(angle)[:, None] * np.array(wave.even) + np.sin(angle)[:, None] * np.array(wave.odd)
    return shift
