"""Actors at keyframes: the ground truth and the predictions of spatio-temporal localization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom as fractions of the displayed frame, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Actor:
    """An annotated person or object at one time, with all its classes."""

    time: float
    """Seconds from the first frame of the video."""
    box: Box
    labels: tuple[int, ...]
    """Indices of the classes, ascending."""
    track: int = -1
    """Number of the actor within its video; -1 if unknown."""


@dataclass(frozen=True, slots=True)
class Keyframes:
    """The annotated times of an example, with or without actors, and the actors at these times."""

    times: tuple[float, ...]
    """Seconds from the first frame of the video, ascending."""
    actors: tuple[Actor, ...]

    @property
    def labels(self) -> list[int]:
        """The classes of all actors."""
        return [label for actor in self.actors for label in actor.labels]


class Detections(NamedTuple):
    """Predicted actors of an example: one row for every query at every annotated time."""

    times: Float64[np.ndarray, "n"]
    """Seconds from the first frame of the video."""
    boxes: Float32[np.ndarray, "n 4"]
    """Left, top, right and bottom, 0 to 1."""
    presence: Float32[np.ndarray, "n"]
    """Probability that there is an actor."""
    scores: Float32[np.ndarray, "n c"]
    """Probability of an actor of each class."""


NO_DETECTIONS = Detections(
    np.zeros(0), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 0), np.float32)
)
"""The prediction for an example that cannot be read."""


def box(values: Sequence[float]) -> Box:
    """Four numbers as a box."""
    left, top, right, bottom = (float(v) for v in values)
    return left, top, right, bottom
