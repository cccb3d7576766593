"""The twins' body plan: a textured body on two legs of two limbs, whose knees bend as they swing forward."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from vitascope.motionlab.draw import OUTLINES, Field

BODY, LIFT = 0.66, 0.26
"""Radius of the body and its center above the creature's, creature radii; all of a creature is within one radius."""
HIP = (0.22, 0.16)
"""Right and down of the center."""
THIGH, SHIN, THICK = 0.32, 0.30, 0.085
LEGS = HIP[1] - THICK
"""Where legs begin, down of the center: hips are above knees, and knees above feet."""
SWING, BEND, KNEE_LAG = 0.095, 0.19, 0.22
"""Most swing of the hip to either side and most bend of the knee, and how much the knee is late: turns."""


class Leg(NamedTuple):
    """A leg over time: points in creature radii, right and down."""

    hip: Float64[np.ndarray, "t 2"]
    knee: Float64[np.ndarray, "t 2"]
    foot: Float64[np.ndarray, "t 2"]


def legs(stride: Float64[np.ndarray, "t"]) -> tuple[Leg, Leg]:
    """Both legs at a phase of the stride (turns), half a turn apart; a stride backwards is the reverse."""
    return _leg(stride, -HIP[0]), _leg(stride + 0.5, HIP[0])


def _leg(phase: Float64[np.ndarray, "t"], right: float) -> Leg:
    thigh = SWING * np.sin(2 * np.pi * phase)
    bend = BEND * (0.5 + 0.5 * np.sin(2 * np.pi * (phase + KNEE_LAG)))
    hip = np.broadcast_to(np.array([right, HIP[1]]), (len(phase), 2))
    knee = hip + THIGH * _down(thigh)
    return Leg(hip, knee, knee + SHIN * _down(thigh - bend))


def _down(angle: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t 2"]:
    """Unit vectors that point down, turned to the right by `angle` turns."""
    return np.stack([np.sin(2 * np.pi * angle), np.cos(2 * np.pi * angle)], axis=1)


def leg_distance(u: Field, v: Field, frame: Int[np.ndarray, "*#at"], leg: Leg) -> Field:
    """Signed distance to the outline of a leg, creature radii, from coordinates in frames of these numbers."""
    at = u, v, frame
    nearest: Field = np.minimum(_limb(at, leg.hip, leg.knee), _limb(at, leg.knee, leg.foot))
    return nearest - np.float32(THICK)


def _limb(
    at: tuple[Field, Field, Int[np.ndarray, "*#at"]], start: Float64[np.ndarray, "t 2"], end: Float64[np.ndarray, "t 2"]
) -> Field:
    """Distance to a line."""
    u, v, frame = at
    (left, top), (width, height) = start.astype(np.float32).T, (end - start).astype(np.float32).T
    x, y, dx, dy, square = (
        values.take(frame) for values in (left, top, width, height, width * width + height * height)
    )
    right, below = u - x, v - y
    along = np.clip((right * dx + below * dy) / square, 0, 1)
    across, down = right - along * dx, below - along * dy
    distance: Field = np.sqrt(across * across + down * down)
    return distance


def body_coordinates(u: Field, v: Field) -> tuple[Field, Field]:
    """Coordinates in radii of the body."""
    return u / np.float32(BODY), (v + np.float32(LIFT)) / np.float32(BODY)


def body_distance(shape: str, u: Field, v: Field) -> Field:
    """Signed distance to the outline of the body, creature radii, from coordinates of the body."""
    return OUTLINES[shape](u, v) * np.float32(BODY)
