"""Long videos: one look throughout, moving by one program after another, with stillness between.

The point on the torus goes on from where the last program left it, and starts anywhere: at every instant it is
distributed alike whatever is being done, so a single frame of a long video tells as little of the motion as one of a
clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64

from vitascope.motionlab import making
from vitascope.motionlab.making import RenderJob
from vitascope.motionlab.motion import clock
from vitascope.motionlab.render import FPS, draw
from vitascope.motionlab.scene import APPEARANCES, MOTIONS, PROGRAMS, VERSION, Scene, sample
from vitascope.motionlab.suite import SPLITS, Size
from vitascope.motionlab.write import write_video

Suite: TypeAlias = Literal["localize", "segment"]
STILL = "still"
ACTIONS = tuple(m for m in MOTIONS if m != STILL)
"""What is to be found in time: sixteen programs."""
PROCEDURE: tuple[tuple[tuple[str, ...], int, int], ...] = (
    (("right",), 1, 1),
    (("orbit-clockwise",), 0, 1),
    (("up", "down"), 2, 4),
    (("grow",), 1, 1),
    (("spin-clockwise", "spin-counter"), 0, 2),
    (("shrink",), 1, 1),
    (("down",), 0, 1),
    (("approach", "leave"), 1, 2),
    (("left",), 1, 1),
)
"""The grammar of a procedure: at each place one of some actions, so many times at least and at most."""
STEPS = (STILL, *sorted({action for actions, _, _ in PROCEDURE for action in actions}))
"""The classes of its frames."""
LENGTHS = (30.0, 90.0)
"""Seconds of a video in which actions are to be found."""
ACTION, GAP = (2.0, 6.0), (1.0, 5.0)
"""Seconds of an action there, and of the stillness before it."""
STEP, PAUSE, ENDS = (1.5, 5.0), (0.5, 2.0), (1.0, 3.0)
"""Seconds of a step of a procedure, of the pause after every other one, and of what comes before and after all."""
FULL, TINY = Size(40, 20), Size(6, 3)


class MotionSpan(NamedTuple):
    """Some frames in which one program runs."""

    motion: str
    frames: int
    speed: float
    """Turns per second."""


@dataclass(frozen=True, slots=True)
class Take:
    """One long video of a suite."""

    suite: Suite
    split: str
    index: int
    scene: Scene
    """How it looks, where it starts; its own motion does not matter."""
    stretches: tuple[MotionSpan, ...]

    @property
    def id(self) -> str:
        """Stable whatever the size: `localize/train/000012`."""
        return f"{self.suite}/{self.split}/{self.index:06d}"

    @property
    def video(self) -> str:
        """Where it lies in the suite's folder."""
        return f"{self.split}/{self.index:06d}.mp4"

    @property
    def frames(self) -> int:
        """Its length."""
        return sum(s.frames for s in self.stretches)


def takes(suite: Suite, size: Size, seed: int = 0) -> list[Take]:
    """The videos of a suite, train then test; a smaller suite is the beginning of a larger one."""
    return [_take(suite, split, index, seed) for split in SPLITS for index in range(getattr(size, split))]


def _take(suite: Suite, split: str, index: int, seed: int) -> Take:
    number = 2 + ("localize", "segment").index(suite)  # 0 and 1 are of the clips: see `suite`
    rng = np.random.default_rng([VERSION, seed, SPLITS.index(split), number, index])
    scene = sample(str(rng.choice(APPEARANCES)), STILL, rng)
    stretches = tuple(_apart(rng) if suite == "localize" else _procedure(rng))
    return Take(suite, split, index, scene, stretches)


def _stretch(motion: str, seconds: tuple[float, float], rng: np.random.Generator) -> MotionSpan:
    return MotionSpan(motion, round(rng.uniform(*seconds) * FPS), rng.uniform(0.3, 0.55))


def _apart(rng: np.random.Generator) -> Iterator[MotionSpan]:
    """Different actions, each after stillness, until the video is full."""
    left = round(rng.uniform(*LENGTHS) * FPS)
    for action in rng.permutation(ACTIONS).tolist():
        gap, done = _stretch(STILL, GAP, rng), _stretch(action, ACTION, rng)
        if gap.frames + done.frames >= left:
            break
        left -= gap.frames + done.frames
        yield from (gap, done)
    yield MotionSpan(STILL, left, 0.0)


def _procedure(rng: np.random.Generator) -> Iterator[MotionSpan]:
    """The places of the grammar in order; every other step is followed by a pause."""
    yield _stretch(STILL, ENDS, rng)
    for actions, least, most in PROCEDURE:
        for _ in range(rng.integers(least, most + 1)):
            yield _stretch(str(rng.choice(actions)), STEP, rng)
            if rng.random() < 0.5:
                yield _stretch(STILL, PAUSE, rng)
    yield _stretch(STILL, ENDS, rng)


def states(take: Take) -> Float64[np.ndarray, "t 6"]:
    """The point on the torus at every frame; from each to the next it goes as the stretch of the later one says."""
    ways = np.array([np.array(PROGRAMS[s.motion]) * s.speed for s in take.stretches])
    moved = np.cumsum(np.repeat(ways, [s.frames for s in take.stretches], axis=0) / FPS, axis=0)
    walked: Float64[np.ndarray, "t 6"] = (np.array(take.scene.state) + moved) % 1.0
    return walked


def make(folder: Path, suite: Suite, size: Size, seed: int = 0, *, quiet: bool = False) -> None:
    """Render what is not in `folder` yet; see `making.make`."""
    jobs = [RenderJob((take.video,), partial(_shoot, folder, take)) for take in takes(suite, size, seed)]
    making.make(folder, jobs, seed, marker=f"complete-{size.train}+{size.test}.json", quiet=quiet)


def _shoot(folder: Path, take: Take) -> None:
    write_video(folder / take.video, draw(take.scene, states(take), clock(take.frames, FPS)), FPS)
