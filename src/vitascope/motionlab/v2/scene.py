"""Scenes of the second version as plain data: twins with limbs in a world with depth, a camera, and distractors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from vitascope.core.types import RGB
from vitascope.motionlab import scene as first
from vitascope.motionlab.scene import OBSTACLES, Background, Twins, Wave, backwards, parts_of, reverses, two_colors
from vitascope.motionlab.v2.levels import Level

VERSION = 1
"""Version of the generator; incremented when any pixel or label changes."""
State: TypeAlias = tuple[float, float, float, float, float, float, float]
"""A point on the seven-torus, all coordinates in [0, 1): x and y of the midpoint of the twins (y down), the angle of
the axis between them and their orientation (turns, clockwise), their distance from the camera, the gap between them,
and the phase of their legs."""

_DIAGONAL = math.sqrt(0.5)
ORBIT, SPIN, DEPTH, GAP, STRIDE = 0.75, 1.0, 1.5, 1.8, 2.0
"""Turns of each cyclic coordinate per unit of speed, so that all motions are about equally visible."""
PROGRAMS: dict[str, State] = {
    "still": (0, 0, 0, 0, 0, 0, 0),
    "up": (0, -1, 0, 0, 0, 0, 0),
    "down": (0, 1, 0, 0, 0, 0, 0),
    "left": (-1, 0, 0, 0, 0, 0, 0),
    "right": (1, 0, 0, 0, 0, 0, 0),
    "up-left": (-_DIAGONAL, -_DIAGONAL, 0, 0, 0, 0, 0),
    "down-right": (_DIAGONAL, _DIAGONAL, 0, 0, 0, 0, 0),
    "up-right": (_DIAGONAL, -_DIAGONAL, 0, 0, 0, 0, 0),
    "down-left": (-_DIAGONAL, _DIAGONAL, 0, 0, 0, 0, 0),
    "orbit-clockwise": (0, 0, ORBIT, 0, 0, 0, 0),
    "orbit-counter": (0, 0, -ORBIT, 0, 0, 0, 0),
    "spin-clockwise": (0, 0, 0, SPIN, 0, 0, 0),
    "spin-counter": (0, 0, 0, -SPIN, 0, 0, 0),
    "nearer": (0, 0, 0, 0, -DEPTH, 0, 0),
    "farther": (0, 0, 0, 0, DEPTH, 0, 0),
    "approach": (0, 0, 0, 0, 0, -GAP, 0),
    "leave": (0, 0, 0, 0, 0, GAP, 0),
    "stride-forward": (0, 0, 0, 0, 0, 0, STRIDE),
    "stride-backward": (0, 0, 0, 0, 0, 0, -STRIDE),
}
"""Motion programs, each a direction on the torus. Translation keeps a uniform distribution uniform, so at every time
the state has the same distribution for all programs: a single frame carries no information about the motion."""
MOTIONS = tuple(PROGRAMS)
REVERSE = reverses(PROGRAMS)
"""The program of the reversed clip, for each program."""
FAMILIES: dict[str, tuple[int, ...]] = {
    "translation": (0, 1),
    "orbit": (2,),
    "turning": (3,),
    "depth": (4,),
    "gap": (5,),
    "gait": (6,),
}
"""The coordinates of `State` that change in a family."""
SPEEDS = (0.4, 0.55)
"""Range of the speed along the direction of a program."""
RATES = (0.5, 2.5)
"""Range of the frequency of a hand's shake, Hz."""
PER_FRAME = 12 / 112
"""Frame sides per second of one pixel a frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """How the camera moves; at rest at time 0, the middle of the clip."""

    style: str
    vanishing: tuple[float, float]
    """The vanishing point, where the camera heads, frame sides."""
    waves: tuple[Wave, ...] = ()
    """Shift of the image by a hand's shake."""
    pan: tuple[float, float] = (0.0, 0.0)
    """Shift of the image by turning, frame sides per second."""
    dolly: float = 0.0
    """Speed towards the vanishing point, in distances of the nearest things per second."""

    @property
    def reversed(self) -> Camera:
        """The camera with time reversed."""
        x, y = self.pan
        return replace(self, waves=tuple(wave.reversed for wave in self.waves), pan=(-x, -y), dolly=-self.dolly)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distractor(first.Distractor):
    """A distractor in depth; its radius is that in the image."""

    depth: float
    """Distance from the camera; the nearest things are at 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A tiled plane below the camera that runs to the vanishing point."""

    colors: tuple[RGB, RGB]
    height: float
    """Of the camera above it, in distances of the nearest things."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene(Twins):
    """All parameters of one clip; positions are at time 0, the middle of the clip."""

    state: State
    slant: tuple[float, float]
    """How far coming nearer moves a thing across the image, frame sides from the farthest to the nearest."""
    ground: Ground | None
    camera: Camera
    distractors: tuple[Distractor, ...]
    """Far to near."""
    shutter: float
    """Exposure, frame intervals."""
    photo: tuple[float, float, float, float]
    """Which of the photos, if there are any, and which part of it: column, row, size; all in [0, 1)."""

    @property
    def reversed(self) -> Scene:
        """The scene whose clip is exactly this one reversed."""
        return replace(
            self,
            motion=REVERSE[self.motion],
            camera=self.camera.reversed,
            distractors=tuple(backwards(thing) for thing in self.distractors),
        )


def sample(appearance: str, motion: str, level: Level, rng: np.random.Generator) -> Scene:
    """A random scene with these labels; all random parameters are independent of both, so neither label can leak."""
    shape, texture = parts_of(appearance, motion, MOTIONS)
    x, y, axis, facing, depth, gap, stride = rng.random(7).tolist()
    slant, toward = rng.uniform(0, level.slant), rng.uniform(0, 2 * np.pi)
    distractors = (_distractor(rng) for _ in range(rng.integers(*level.distractors, endpoint=True)))
    hue = rng.random()
    return Scene(
        shape=shape,
        texture=texture,
        motion=motion,
        state=(x, y, axis, facing, depth, gap, stride),
        speed=rng.uniform(*SPEEDS),
        slant=(slant * math.cos(toward), slant * math.sin(toward)),
        colors=_dulled(two_colors(rng, rng.random()), level.contrast),
        background=_background(level, hue, rng),
        ground=_ground(hue, rng) if rng.random() < level.ground else None,
        camera=_camera(level, rng),
        distractors=tuple(sorted(distractors, key=lambda d: -d.depth)),
        shutter=level.shutter,
        photo=(rng.random(), rng.random(), rng.random(), rng.random()),
    )


def _dulled(colors: tuple[RGB, RGB], contrast: float) -> tuple[RGB, RGB]:
    light, dark = (tuple(0.5 + contrast * (value - 0.5) for value in color) for color in colors)
    return (light[0], light[1], light[2]), (dark[0], dark[1], dark[2])


def _camera(level: Level, rng: np.random.Generator) -> Camera:
    """A camera that moves no thing in the image by more than `level.camera_speed`, forwards as likely as backwards."""
    style = str(rng.choice(level.cameras))
    vanishing = (rng.uniform(0.35, 0.65), rng.uniform(0.3, 0.5))
    most = level.camera_speed * PER_FRAME
    share, way = rng.uniform(0.5, 0.95), rng.uniform(0, 2 * np.pi)
    hand = (_wave(most * share * 0.65, rng), _wave(most * share * 0.35, rng))
    if style == "handheld":
        return Camera(style=style, vanishing=vanishing, waves=hand)
    if style == "pan":
        speed = most * share
        return Camera(style=style, vanishing=vanishing, pan=(speed * math.cos(way), speed * math.sin(way)))
    if style == "dolly":
        return Camera(style=style, vanishing=vanishing, dolly=DOLLY * most * share * math.copysign(1, math.sin(way)))
    return Camera(style=style, vanishing=vanishing)


DOLLY = 0.8
"""Distances per second of a dolly that moves the nearest, outermost twin by at most a frame side per second."""


def _wave(speed: float, rng: np.random.Generator) -> Wave:
    """A component with a uniform phase and at most `speed` frame sides per second."""
    rate, phase, way = rng.uniform(*RATES), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
    size = speed / (2 * np.pi * rate)
    x, y = size * math.cos(way), size * math.sin(way)
    return Wave((x * math.cos(phase), y * math.cos(phase)), (x * math.sin(phase), y * math.sin(phase)), rate)


def _background(level: Level, hue: float, rng: np.random.Generator) -> Background:
    light, dark = two_colors(rng, hue)
    return Background(
        kind=str(rng.choice(level.backgrounds)),
        colors=(_toward(dark, 0.45, 0.5), _toward(light, 0.6, 0.45)),
        seed=int(rng.integers(2**32)),
    )


def _ground(hue: float, rng: np.random.Generator) -> Ground:
    light, dark = two_colors(rng, hue + rng.uniform(0.2, 0.8))
    return Ground(
        colors=(_toward(dark, 0.35, 0.55), _toward(light, 0.55, 0.55)),
        height=rng.uniform(0.45, 0.7),
        seed=int(rng.integers(2**32)),
    )


def _toward(color: RGB, gray: float, share: float) -> RGB:
    red, green, blue = (value + share * (gray - value) for value in color)
    return red, green, blue


def _distractor(rng: np.random.Generator) -> Distractor:
    angle, speed, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.55), rng.uniform(1.0, 3.0)
    return Distractor(
        outline=str(rng.choice(OBSTACLES)),
        start=(rng.random(), rng.random()),
        drift=(speed * math.cos(angle), speed * math.sin(angle)),
        facing=rng.random(),
        spin=rng.uniform(-0.5, 0.5),
        radius=rng.uniform(0.12, 0.2) / math.sqrt(depth),
        depth=depth,
        color=_toward(two_colors(rng, rng.random())[0], 0.5, 0.25),
    )
