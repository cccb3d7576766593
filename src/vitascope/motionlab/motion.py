"""Positions of all objects of a scene as closed forms of time, exactly reversible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from vitascope.motionlab.scene import PROGRAMS, Distractor, Scene

RADII = (0.1, 0.2)
"""Minimum and maximum radius of the twins, frame sides; interpolated geometrically."""
GAPS = (0.2, 0.48)
"""Minimum and maximum distance between the centers of the twins, frame sides."""


@dataclass(frozen=True, slots=True)
class Path:
    """Position, orientation and size of an object over time."""

    x: Float64[np.ndarray, "t"]
    """Center, frame sides to the right."""
    y: Float64[np.ndarray, "t"]
    """Center, frame sides downwards."""
    facing: Float64[np.ndarray, "t"]
    """Orientation, turns clockwise."""
    radius: Float64[np.ndarray, "t"]
    """Radius, frame sides."""


def clock(frames: int, fps: float) -> Float64[np.ndarray, "t"]:
    """Time of each frame relative to the middle of the clip, seconds; symmetric, so that clips reverse exactly."""
    return (np.arange(frames) - (frames - 1) / 2) / fps


def states(scene: Scene, times: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t 6"]:
    """The state of the scene on the six-torus (`scene.State`) at `times` (seconds from the middle of the clip)."""
    direction = np.array(PROGRAMS[scene.motion])
    path: Float64[np.ndarray, "t 6"] = np.array(scene.state) + times[:, None] * (scene.speed * direction)
    return path % 1.0


def shake(scene: Scene, times: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t 2"]:
    """Shift of the image by camera shake, frame sides to the right and downwards."""
    shift = np.zeros((len(times), 2))
    for wave in scene.camera:
        angle = (2 * np.pi * wave.rate) * times
        shift += np.cos(angle)[:, None] * np.array(wave.even) + np.sin(angle)[:, None] * np.array(wave.odd)
    return shift


def twin_paths(states: Float64[np.ndarray, "t 6"]) -> tuple[Path, Path]:
    """Paths of the twins with the given states on the torus, without camera shake."""
    x, y, axis, facing, size, gap = states.T
    radius = RADII[0] * (RADII[1] / RADII[0]) ** size
    reach = (GAPS[0] + (GAPS[1] - GAPS[0]) * gap) / 2
    dx, dy = reach * np.cos(2 * np.pi * axis), reach * np.sin(2 * np.pi * axis)
    return Path(x - dx, y - dy, facing, radius), Path(x + dx, y + dy, facing, radius)


def wander(thing: Distractor, times: Float64[np.ndarray, "t"]) -> Path:
    """Path of a distractor, without camera shake."""
    return Path(
        thing.start[0] + times * thing.drift[0],
        thing.start[1] + times * thing.drift[1],
        thing.facing + times * thing.spin,
        np.full(len(times), thing.radius),
    )
