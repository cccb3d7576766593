"""True motion in the image: where the camera sees points of the twins and of the far wall in every frame.

An observer with perfect optical flow has these tracks and no more: neither labels nor states. `read_motion` tells the
motion from them, which proves that the motion of a clip can be told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from vitascope.motionlab import motion as first
from vitascope.motionlab.render import FPS, FRAMES
from vitascope.motionlab.v2 import creature, motion
from vitascope.motionlab.v2.motion import Times, View
from vitascope.motionlab.v2.scene import DEPTH, GAP, MOTIONS, ORBIT, PROGRAMS, SPEEDS, SPIN, Scene

BODY_POINTS = ((0.0, 0.0), (0.4, 0.0), (0.0, 0.4), (-0.4, 0.0), (0.0, -0.4))
"""In creature radii: the center, and four around it."""
WALL_POINTS = ((0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8))
"""In frame sides, at the middle of the clip."""
COORDINATES = ("right", "down", "axis", "facing", "size", "gap", "stride")
"""The kinds of motion, in the order of a state's coordinates."""
SHIFTS = tuple(m for m in MOTIONS if any(PROGRAMS[m][:2]))
SLOWEST = SPEEDS[0] / FPS
LEAST = {
    "shift": SLOWEST * motion.PACE / motion.FARTHEST,
    "gap": SLOWEST * GAP * (motion.GAPS[1] - motion.GAPS[0]),
    "axis": SLOWEST * ORBIT * 2 * np.pi,
    "facing": SLOWEST * SPIN * 2 * np.pi,
    "size": SLOWEST * DEPTH * (motion.FARTHEST - 1) / motion.FARTHEST,
    "stride": 0.03,
}
"""The least median rate per frame that a program has, by kind of motion (`rates`)."""
Points = Float64[np.ndarray, "t _ 2"]


@dataclass(frozen=True, slots=True)
class Tracks:
    """Places over time, frame sides to the right and downwards."""

    bodies: tuple[Points, Points]
    """`BODY_POINTS` of each twin."""
    feet: tuple[Points, Points]
    """Both feet of each twin."""
    cord: Points
    """The ends of the cord between the twins."""
    wall: Points


def tracks(scene: Scene, frames: int = FRAMES, fps: float = FPS) -> Tracks:
    """The true tracks of a scene's clip."""
    times = first.clock(frames, fps)
    states = motion.states(scene, times)
    one, other, cord = motion.pair(scene, states, times)
    feet = np.stack([leg.foot for leg in creature.legs(states[:, 6])], axis=1)
    body = np.broadcast_to(np.array(BODY_POINTS), (frames, len(BODY_POINTS), 2))
    ends = np.broadcast_to(np.array(((-1.0, 0.0), (1.0, 0.0))), (frames, 2, 2))
    return Tracks(
        (_seen(body, one), _seen(body, other)),
        (_seen(feet, one), _seen(feet, other)),
        _seen(ends, cord),
        _wall(scene, times),
    )


def _seen(points: Points, view: View) -> Points:
    """Points of an object, in its radii, as they are seen."""
    cos, sin = np.cos(2 * np.pi * view.facing)[:, None], np.sin(2 * np.pi * view.facing)[:, None]
    (u, v), radius = np.moveaxis(points, 2, 0), view.radius[:, None]
    return np.stack([view.x[:, None] + radius * (cos * u - sin * v), view.y[:, None] + radius * (sin * u + cos * v)], 2)


def _wall(scene: Scene, times: Times) -> Points:
    home, scale = np.array(scene.camera.vanishing), motion.zoom(scene.camera, times, motion.WALL)
    shift = motion.shake(scene.camera, times)[:, None]
    points: Points = home + (np.array(WALL_POINTS) - home) * scale[:, None, None] + shift
    return points


def rates(seen: Tracks) -> dict[str, float]:
    """The kinds of motion in tracks, each as its median rate per frame; jumps around the torus are outvoted.

    Shift of the twins against the wall and length of the cord, in frame sides; turns of the cord and of the bodies, in
    radians; growth of the bodies, as a logarithm; area that the feet encircle, in squared arms of the body.
    """
    wall = np.diff(seen.wall.mean(1), axis=0)
    shift = np.mean([np.median(np.diff(body[:, 0], axis=0) - wall, axis=0) for body in seen.bodies], axis=0)
    cord = seen.cord[:, 1] - seen.cord[:, 0]
    arms = np.concatenate([body[:, 1:] - body[:, :1] for body in seen.bodies], axis=1)
    return {
        "right": float(shift[0]),
        "down": float(shift[1]),
        "gap": float(np.median(np.diff(np.hypot(*cord.T)))),
        "axis": _turning(cord),
        "facing": _turning(arms),
        "size": float(np.median(np.diff(np.log(np.hypot(*arms.T)), axis=1))),
        "stride": float(np.median([_circling(*pair) for pair in zip(seen.bodies, seen.feet, strict=True)])),
    }


def _turning(arrows: Float64[np.ndarray, "t *p 2"]) -> float:
    return float(np.median(np.diff(np.unwrap(np.arctan2(arrows[..., 1], arrows[..., 0]), axis=0), axis=0)))


def read_motion(seen: Tracks) -> str:
    """The motion program in tracks: that of the kind of motion which is largest, by the least that programs have."""
    found = rates(seen)
    shift = np.hypot(found["right"], found["down"])
    sizes = {kind: abs(found[kind]) / least for kind, least in LEAST.items() if kind != "shift"}
    sizes["shift"] = shift / LEAST["shift"]
    kind = max(sizes, key=lambda k: sizes[k])
    if sizes[kind] < 0.5:
        return "still"
    if kind == "shift":
        return max(SHIFTS, key=lambda m: PROGRAMS[m][0] * found["right"] + PROGRAMS[m][1] * found["down"])
    coordinate = COORDINATES.index(kind)
    sign = -1 if kind == "size" else 1  # what grows has less and less distance
    return next(m for m in MOTIONS if PROGRAMS[m][coordinate] * sign * found[kind] > 0)


def _circling(body: Points, feet: Points) -> float:
    """Twice the area that the feet encircle per frame on the body, seen with its orientation and size taken out."""
    right, down = body[:, 1] - body[:, 0], body[:, 2] - body[:, 0]
    size = (right**2).sum(1)
    relative = feet - body[:, :1]
    u = (relative * right[:, None]).sum(2) / size[:, None]
    v = (relative * down[:, None]).sum(2) / size[:, None]
    u, v = u - u.mean(0), v - v.mean(0)
    return float(np.median(u[:-1] * np.diff(v, axis=0) - v[:-1] * np.diff(u, axis=0)))
