"""Where everything in a scene is at given times: closed forms of time, the same forwards and backwards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from vitascope.motionlab.scene import PROGRAMS, Distractor, Scene

RADII = (0.1, 0.2)
"""Smallest and largest radius of a twin, frame sides; growth is geometric between them."""
GAPS = (0.2, 0.48)
"""Smallest and largest distance of the twins' centers, frame sides."""


@dataclass(frozen=True, slots=True)
class Path:
    """A thing over time: its center in frame sides (y down), its facing in turns (clockwise), its radius."""

    x: Float64[np.ndarray, "t"]
    y: Float64[np.ndarray, "t"]
    facing: Float64[np.ndarray, "t"]
    radius: Float64[np.ndarray, "t"]


def clock(frames: int, fps: float) -> Float64[np.ndarray, "t"]:
    """Seconds of each frame from the middle of the clip: symmetric, so that a clip can be turned round exactly."""
    return (np.arange(frames) - (frames - 1) / 2) / fps


def states(scene: Scene, times: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t 6"]:
    """The scene's point on the six-torus (`scene.State`) at `times` seconds from the middle of the clip."""
    way = np.array(PROGRAMS[scene.motion])
    moved: Float64[np.ndarray, "t 6"] = np.array(scene.state) + times[:, None] * (scene.speed * way)
    return moved % 1.0


def shake(scene: Scene, times: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t 2"]:
    """How far the camera's swing shifts the whole picture right and down, frame sides."""
    shift = np.zeros((len(times), 2))
    for wave in scene.camera:
        angle = (2 * np.pi * wave.rate) * times
        shift += np.cos(angle)[:, None] * np.array(wave.even) + np.sin(angle)[:, None] * np.array(wave.odd)
    return shift


def twins(scene: Scene, times: Float64[np.ndarray, "t"]) -> tuple[Path, Path]:
    """The two labeled things, before the camera's shake."""
    return pair(states(scene, times))


def pair(states: Float64[np.ndarray, "t 6"]) -> tuple[Path, Path]:
    """The two things at points of the torus."""
    x, y, axis, facing, size, gap = states.T
    radius = RADII[0] * (RADII[1] / RADII[0]) ** size
    reach = (GAPS[0] + (GAPS[1] - GAPS[0]) * gap) / 2
    dx, dy = reach * np.cos(2 * np.pi * axis), reach * np.sin(2 * np.pi * axis)
    return Path(x - dx, y - dy, facing, radius), Path(x + dx, y + dy, facing, radius)


def wander(thing: Distractor, times: Float64[np.ndarray, "t"]) -> Path:
    """A distractor, before the camera's shake."""
    return Path(
        thing.start[0] + times * thing.drift[0],
        thing.start[1] + times * thing.drift[1],
        thing.facing + times * thing.spin,
        np.full(len(times), thing.radius),
    )
