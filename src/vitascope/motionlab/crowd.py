"""Videos of several actors, each with its own look and motion, that enter and leave the frame.

Actors live on a torus larger than the frame. As in `scene`, their state is uniformly distributed at every time whatever
the current motion, so that a single frame carries no information about it; looks and motions are independent. Motions
change halfway between keyframes, so that one second around a keyframe shows a single motion of every actor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from vitascope.core.actors import Actor, box
from vitascope.core.types import RGB
from vitascope.metrics.boxes import areas
from vitascope.motionlab import backdrop, making, motion
from vitascope.motionlab.draw import OUTLINES, paint, stamp
from vitascope.motionlab.making import RenderJob
from vitascope.motionlab.render import CHUNK, FPS, SIDE, plain_color, shaken
from vitascope.motionlab.scene import PROGRAMS, VERSION, Scene, sample, two_colors
from vitascope.motionlab.suite import SPLITS, Size
from vitascope.motionlab.write import write_video

LOOKS = tuple(
    f"{shape}-{texture}" for shape in ("square", "triangle", "star", "cross") for texture in ("stripes", "checks")
)
MOVES = ("up", "down", "left", "right", "spin-clockwise", "spin-counter", "grow", "shrink")
CLASSES = (*LOOKS, *MOVES)
"""Half of the classes are told by looks alone, half by motion alone; every actor has one of each."""
WORLD = 1.5
"""Side of the torus, frame sides; the frame is its center."""
RADII = (0.11, 0.2)
"""Minimum and maximum radius of an actor, frame sides; interpolated geometrically."""
CROWD = (4, 9)
"""Range of the number of actors of a video, the last excluded; about half of them are in the frame at a time."""
LENGTHS = (10, 61)
"""Range of the duration of a video, whole seconds, the last excluded."""
SPELL = (2, 6)
"""Range of the duration of a motion, whole seconds, the last excluded."""
VISIBLE, COVERED = 0.5, 0.5
"""An actor is annotated if at least half of its box is in the frame, and boxes in front of it cover less than half."""
FULL, TINY = Size(48, 24), Size(6, 3)
"""Numbers of videos of the full and the tiny suite."""
RATE = int(FPS)
"""Frames from one keyframe to the next."""


@dataclass(frozen=True, slots=True)
class Spell:
    """An interval of whole seconds with one motion of an actor."""

    motion: str
    seconds: int
    speed: float
    """Frame sides, turns, or ranges of the size, per second."""


@dataclass(frozen=True, slots=True)
class Walker:
    """An actor: its look, its state half a second before the video, and its motions."""

    look: str
    colors: tuple[RGB, RGB]
    state: tuple[float, float, float, float]
    """x and y (world sides), orientation (turns) and size, all in [0, 1)."""
    spells: tuple[Spell, ...]


@dataclass(frozen=True, slots=True)
class CrowdVideo:
    """One video of the suite."""

    split: str
    index: int
    seconds: int
    scene: Scene
    """Background, camera and distractors; its twins are not drawn."""
    walkers: tuple[Walker, ...]
    """The actors, drawn in this order."""

    @property
    def id(self) -> str:
        """An id that does not depend on the suite size, such as `detect/train/000012`."""
        return f"detect/{self.split}/{self.index:06d}"

    @property
    def video(self) -> str:
        """Path within the folder of the suite."""
        return f"{self.split}/{self.index:06d}.mp4"

    @property
    def keyframes(self) -> range:
        """The annotated times, seconds: all whole ones except the ends."""
        return range(1, self.seconds)


def crowd_videos(size: Size, seed: int = 0) -> list[CrowdVideo]:
    """The videos of a suite, train then test; a smaller suite is a prefix of a larger one."""
    return [_video(split, index, seed) for split in SPLITS for index in range(getattr(size, split))]


def _video(split: str, index: int, seed: int) -> CrowdVideo:
    rng = np.random.default_rng([VERSION, seed, SPLITS.index(split), 4, index])  # 0 to 3 are used by other suites
    scene, seconds = sample("disc-dots", "still", rng), int(rng.integers(*LENGTHS))
    walkers = tuple(_walker(seconds, rng) for _ in range(rng.integers(*CROWD)))
    return CrowdVideo(split, index, seconds, scene, walkers)


def _walker(seconds: int, rng: np.random.Generator) -> Walker:
    x, y, facing, size = rng.random(4).tolist()
    return Walker(
        str(rng.choice(LOOKS)), two_colors(rng, rng.random()), (x, y, facing, size), tuple(_spells(seconds + 1, rng))
    )


def _spells(seconds: int, rng: np.random.Generator) -> Iterator[Spell]:
    """Motions, each another than the one before, until `seconds` are full."""
    last = ""
    while seconds > 0:
        last = str(rng.choice([m for m in MOVES if m != last]))
        spell = Spell(last, int(rng.integers(*SPELL)), rng.uniform(0.3, 0.55))
        seconds -= spell.seconds
        yield spell


def motions(walker: Walker) -> list[str]:
    """The motion of an actor around each whole second: entry k from k - 0.5 to k + 0.5 seconds."""
    return [spell.motion for spell in walker.spells for _ in range(spell.seconds)]


def path(video: CrowdVideo, walker: Walker) -> motion.Path:
    """Position on the torus (world sides), orientation and radius (world sides) at every frame, with camera shake."""
    steps = np.repeat(
        [_direction(s.motion) * s.speed for s in walker.spells], [s.seconds * RATE for s in walker.spells], axis=0
    )
    frames = slice(RATE // 2, RATE // 2 + video.seconds * RATE)
    x, y, facing, size = ((np.array(walker.state) + np.cumsum(steps / FPS, axis=0)[frames]) % 1.0).T
    radius = RADII[0] * (RADII[1] / RADII[0]) ** size / WORLD
    return shaken(motion.Path(x, y, facing, radius), motion.shake(video.scene, _times(video)))


def _direction(name: str) -> Float64[np.ndarray, "4"]:
    """Direction of a motion in x and y (world sides), orientation and size."""
    x, y, _, facing, size, _ = PROGRAMS[name]
    return np.array([x / WORLD, y / WORLD, facing, size])


def _times(video: CrowdVideo) -> Float64[np.ndarray, "t"]:
    return motion.clock(video.seconds * RATE, FPS)


@cache
def _outline(shape: str) -> Float64[np.ndarray, "p 2"]:
    """Points of the edge of a shape of radius 1."""
    line = np.linspace(-1.2, 1.2, 481, dtype=np.float32)
    u, v = np.meshgrid(line, line)
    edge = np.abs(OUTLINES[shape](u[None], v[None]))[0] < 0.01
    points: Float64[np.ndarray, "p 2"] = np.stack([u[edge], v[edge]], -1).astype(np.float64)
    return points


def boxes(video: CrowdVideo, walker: Walker, frames: slice | list[int]) -> Float64[np.ndarray, "t 4"]:
    """The boxes of an actor at `frames`, fractions of the frame; they may lie outside it."""
    way, points = path(video, walker), _outline(walker.look.partition("-")[0])
    x, y = (((p[frames] % 1.0) - 0.5) * WORLD + 0.5 for p in (way.x, way.y))
    angle, radius = 2 * np.pi * way.facing[frames], way.radius[frames] * WORLD
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    right, down = cos * points[:, 0] - sin * points[:, 1], sin * points[:, 0] + cos * points[:, 1]
    sides = [x + radius * right.min(1), y + radius * down.min(1), x + radius * right.max(1), y + radius * down.max(1)]
    return np.stack(sides, 1)


def actors(video: CrowdVideo, frames: Sequence[int] | None = None) -> list[Actor]:
    """The annotated actors at some frames, by default at all keyframes, in order of time."""
    chosen = [k * RATE for k in video.keyframes] if frames is None else list(frames)
    every = np.stack([boxes(video, walker, chosen) for walker in video.walkers], 1)
    moving = [motions(walker) for walker in video.walkers]
    return [
        Actor(frame / FPS, box(_clipped(at)[i].tolist()), _labels(video.walkers[i].look, moving[i][second(frame)]), i)
        for frame, at in zip(chosen, every, strict=True)
        for i in np.flatnonzero(annotated(at)).tolist()
    ]


def second(frame: int) -> int:
    """The whole second around which a frame lies."""
    return (frame + RATE // 2) // RATE


def window(keyframe: int) -> range:
    """The frames of the second around a keyframe, in which no motion changes."""
    return range(keyframe * RATE - RATE // 2, keyframe * RATE + RATE // 2)


def _labels(look: str, moving: str) -> tuple[int, int]:
    return CLASSES.index(look), CLASSES.index(moving)


def annotated(at: Float64[np.ndarray, "n 4"]) -> Bool[np.ndarray, "n"]:
    """Which of the boxes of one frame, drawn in this order, are visible enough to be annotated."""
    seen = _clipped(at)
    inside = areas(seen) >= VISIBLE * areas(at)
    covered = np.array([sum(_overlap(seen[i], front) for front in seen[i + 1 :]) for i in range(len(at))])
    return np.asarray(inside & (covered < COVERED * areas(seen)))


def _clipped(boxes: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 4"]:
    """The parts of the boxes within the frame; boxes outside it have no area."""
    return np.asarray(np.clip(boxes, 0.0, 1.0))


def _overlap(one: Float64[np.ndarray, "4"], other: Float64[np.ndarray, "4"]) -> float:
    """Area that two boxes share."""
    return float(np.prod(np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0.0)))


def draw(video: CrowdVideo, side: int = SIDE) -> UInt8[np.ndarray, "t y x 3"]:
    """The frames of a video."""
    times, world = _times(video), round(side * WORLD)
    shake, ways = motion.shake(video.scene, times), [path(video, walker) for walker in video.walkers]
    wide = backdrop.picture(video.scene.background, world, int(np.ceil(np.abs(shake).max() * world)) + 1)
    first = (world - side) // 2
    frames = np.empty((len(times), side, side, 3), np.uint8)
    for at in (slice(start, start + CHUNK) for start in range(0, len(times), CHUNK)):
        canvas = backdrop.view(wide, shake[at] * world, world)
        for thing in video.scene.distractors:
            stamp(
                canvas,
                shaken(motion.wander(thing, times[at]), shake[at]),
                thing.outline,
                partial(plain_color, thing.color),
            )
        for walker, way in zip(video.walkers, ways, strict=True):
            shape, texture = walker.look.split("-")
            stamp(canvas, _part(way, at), shape, partial(paint, texture, walker.colors))
        frames[at] = (canvas[:, first : first + side, first : first + side] * 255 + 0.5).astype(np.uint8)
    return frames


def _part(way: motion.Path, at: slice) -> motion.Path:
    return motion.Path(way.x[at], way.y[at], way.facing[at], way.radius[at])


def make(folder: Path, size: Size, seed: int = 0, *, quiet: bool = False) -> None:
    """Render the missing files of the suite into `folder`; see `making.make`."""
    jobs = [RenderJob((video.video,), partial(_shoot, folder, video)) for video in crowd_videos(size, seed)]
    making.make(folder, jobs, seed, marker=f"complete-{size.train}+{size.test}.json", quiet=quiet)


def _shoot(folder: Path, video: CrowdVideo) -> None:
    write_video(folder / video.video, draw(video), FPS)
