"""Scenes of MotionLab as plain data: two identical objects (twins) with one motion program, and distractors."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import RGB

VERSION = 1
"""Version of the generator; incremented when any pixel or label changes."""

SHAPES = ("disc", "square", "triangle", "star", "cross", "crescent")
TEXTURES = ("stripes", "checks", "dots", "rings")
APPEARANCES = tuple(f"{shape}-{texture}" for shape in SHAPES for texture in TEXTURES)

State: TypeAlias = tuple[float, float, float, float, float, float]
"""A point on the six-torus, all coordinates in [0, 1): x and y of the midpoint of the twins (frame sides, y down), the
angle of the axis between them and their orientation (turns, clockwise), their size and the gap between them."""


def reverses(programs: Mapping[str, tuple[float, ...]]) -> dict[str, str]:
    """For each of some directions on a torus the name of the opposite one, itself if it is zero."""
    return {
        name: next(other for other, way in programs.items() if all(a == -b for a, b in zip(way, own, strict=True)))
        for name, own in programs.items()
    }


_DIAGONAL = math.sqrt(0.5)
PROGRAMS: dict[str, State] = {
    "still": (0, 0, 0, 0, 0, 0),
    "up": (0, -1, 0, 0, 0, 0),
    "down": (0, 1, 0, 0, 0, 0),
    "left": (-1, 0, 0, 0, 0, 0),
    "right": (1, 0, 0, 0, 0, 0),
    "up-left": (-_DIAGONAL, -_DIAGONAL, 0, 0, 0, 0),
    "down-right": (_DIAGONAL, _DIAGONAL, 0, 0, 0, 0),
    "up-right": (_DIAGONAL, -_DIAGONAL, 0, 0, 0, 0),
    "down-left": (-_DIAGONAL, _DIAGONAL, 0, 0, 0, 0),
    "orbit-clockwise": (0, 0, 1, 0, 0, 0),
    "orbit-counter": (0, 0, -1, 0, 0, 0),
    "spin-clockwise": (0, 0, 0, 1, 0, 0),
    "spin-counter": (0, 0, 0, -1, 0, 0),
    "grow": (0, 0, 0, 0, 1, 0),
    "shrink": (0, 0, 0, 0, -1, 0),
    "approach": (0, 0, 0, 0, 0, -1),
    "leave": (0, 0, 0, 0, 0, 1),
}
"""Motion programs, each a direction on the torus. Translation keeps a uniform distribution uniform, so at every time
the state has the same distribution for all programs: a single frame carries no information about the motion."""
MOTIONS = tuple(PROGRAMS)
REVERSE = reverses(PROGRAMS)
"""The program of the reversed clip, for each program."""
MOTION_GROUPS = {
    "reversible": tuple(name for name in MOTIONS if REVERSE[name] != name),
    "translations": tuple(name for name, direction in PROGRAMS.items() if any(direction[:2])),
    "rotations": tuple(name for name, direction in PROGRAMS.items() if any(direction[2:4])),
    "scalings": tuple(name for name, direction in PROGRAMS.items() if direction[4]),
    "distances": tuple(name for name, direction in PROGRAMS.items() if direction[5]),
}
"""Families of motions: all that reverse to another, and those in which position, angle, size or gap changes."""

OBSTACLES = ("ellipse", "capsule", "pebble")
"""Outlines of distractors, disjoint from `SHAPES`."""
BACKGROUNDS = ("gradient", "clouds", "weave", "grain")


@dataclass(frozen=True, slots=True)
class Wave:
    """A component of camera shake: `even` * cos(2 pi `rate` t) + `odd` * sin(2 pi `rate` t), frame sides."""

    even: tuple[float, float]
    odd: tuple[float, float]
    rate: float
    """Frequency, Hz."""

    @property
    def reversed(self) -> Wave:
        """The wave with time reversed."""
        return replace(self, odd=(-self.odd[0], -self.odd[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Distractor:
    """A uniformly colored object whose motion is independent of the labels."""

    outline: str
    start: tuple[float, float]
    """Position at the middle of the clip, frame sides."""
    drift: tuple[float, float]
    """Velocity, frame sides per second."""
    facing: float
    """Orientation at the middle of the clip, turns."""
    spin: float
    """Angular velocity, turns per second."""
    radius: float
    """Radius, frame sides."""
    color: RGB


Thing = TypeVar("Thing", bound=Distractor)


def backwards(thing: Thing) -> Thing:
    """The distractor with time reversed."""
    return replace(thing, drift=(-thing.drift[0], -thing.drift[1]), spin=-thing.spin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """A background: its kind, two colors and the seed of its pattern."""

    kind: str
    colors: tuple[RGB, RGB]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """What scenes of every version say of the twins, and what is behind them."""

    shape: str
    texture: str
    motion: str
    speed: float
    """Speed along the direction of the program, turns per second."""
    colors: tuple[RGB, RGB]
    """Light and dark color of one twin; swapped for the other."""
    background: Background


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene(Twins):
    """All parameters of one clip; positions are at time 0, the middle of the clip."""

    state: State
    camera: tuple[Wave, ...]
    distractors: tuple[Distractor, ...]

    @property
    def reversed(self) -> Scene:
        """The scene whose clip is exactly this one reversed."""
        return replace(
            self,
            motion=REVERSE[self.motion],
            camera=tuple(wave.reversed for wave in self.camera),
            distractors=tuple(backwards(thing) for thing in self.distractors),
        )


def parts_of(appearance: str, motion: str, motions: Collection[str] = MOTIONS) -> tuple[str, str]:
    """Shape and texture of an appearance; refuses unknown ones, and motions that are not in `motions`."""
    for label, classes in ((appearance, APPEARANCES), (motion, motions)):
        if label not in classes:
            raise UserError(f"{label!r} is not one of {', '.join(classes)}{nearest(label, classes)}")
    shape, texture = appearance.split("-")
    return shape, texture


def sample(appearance: str, motion: str, rng: np.random.Generator) -> Scene:
    """A random scene with these labels; all random parameters are independent of both, so neither label can leak."""
    shape, texture = parts_of(appearance, motion)
    hue = rng.random()
    x, y, axis, facing, size, gap = rng.random(6).tolist()
    return Scene(
        shape=shape,
        texture=texture,
        motion=motion,
        state=(x, y, axis, facing, size, gap),
        speed=rng.uniform(0.3, 0.55),
        colors=two_colors(rng, hue),
        background=_background(rng),
        camera=(_wave(rng, 0.03, (0.3, 1.0)), _wave(rng, 0.012, (1.0, 3.0))),
        distractors=tuple(_distractor(rng) for _ in range(rng.integers(3, 6))),
    )


def two_colors(rng: np.random.Generator, hue: float) -> tuple[RGB, RGB]:
    """A light and a dark color of an object."""
    return _color(rng, hue, (0.35, 0.95), (0.85, 1.0)), _color(rng, hue + 0.4, (0.5, 1.0), (0.12, 0.4))


def _color(rng: np.random.Generator, hue: float, saturation: tuple[float, float], value: tuple[float, float]) -> RGB:
    return colorsys.hsv_to_rgb((hue + rng.normal(0, 0.06)) % 1, rng.uniform(*saturation), rng.uniform(*value))


def _wave(rng: np.random.Generator, largest: float, rates: tuple[float, float]) -> Wave:
    """A component with uniform phases, so that camera shake is stationary and time-reversible in distribution."""
    size, phase = rng.uniform(0, largest, 2), rng.uniform(0, 2 * np.pi, 2)
    even, odd = size * np.cos(phase), size * np.sin(phase)
    return Wave((even[0].item(), even[1].item()), (odd[0].item(), odd[1].item()), rng.uniform(*rates))


def _background(rng: np.random.Generator) -> Background:
    hue = rng.random()
    return Background(
        kind=str(rng.choice(BACKGROUNDS)),
        colors=(
            _color(rng, hue, (0.1, 0.5), (0.3, 0.55)),
            _color(rng, hue + rng.normal(0, 0.15), (0.1, 0.5), (0.5, 0.8)),
        ),
        seed=int(rng.integers(2**32)),
    )


def _distractor(rng: np.random.Generator) -> Distractor:
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.55)
    return Distractor(
        outline=str(rng.choice(OBSTACLES)),
        start=(rng.random(), rng.random()),
        drift=(speed * math.cos(angle), speed * math.sin(angle)),
        facing=rng.random(),
        spin=rng.uniform(-0.5, 0.5),
        radius=rng.uniform(0.06, 0.14),
        color=_color(rng, rng.random(), (0.4, 0.85), (0.4, 0.95)),
    )
