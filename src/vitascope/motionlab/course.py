"""Long videos: one appearance throughout, a sequence of motion programs with pauses between.

The state on the torus starts at a random point and continues where the previous program ended. At every time it is
uniformly distributed whatever the current program, so a single frame carries no information about the motion.
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
"""The sixteen action classes of the localization suite."""
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
"""The grammar of a procedure: for each step, the possible actions and the minimum and maximum number of repetitions."""
STEPS = (STILL, *sorted({action for actions, _, _ in PROCEDURE for action in actions}))
"""The frame classes of the segmentation suite."""
LENGTHS = (30.0, 90.0)
"""Minimum and maximum duration of a localization video, seconds."""
ACTION, GAP = (2.0, 6.0), (1.0, 5.0)
"""Range of the duration of an action and of the pause before it, seconds."""
STEP, PAUSE, ENDS = (1.5, 5.0), (0.5, 2.0), (1.0, 3.0)
"""Range of the duration of a step, of a pause between steps, and of the pauses at both ends, seconds."""
FULL, TINY = Size(40, 20), Size(6, 3)
"""Numbers of videos of the full and the tiny suites."""


class MotionSpan(NamedTuple):
    """An interval of a video with one motion program."""

    motion: str
    """Name of the program."""
    frames: int
    """Length, frames."""
    speed: float
    """Speed, turns per second."""


@dataclass(frozen=True, slots=True)
class Take:
    """One long video of a suite."""

    suite: Suite
    split: str
    index: int
    scene: Scene
    """Appearance and initial state; its `motion` is not used."""
    stretches: tuple[MotionSpan, ...]

    @property
    def id(self) -> str:
        """An id that does not depend on the suite size, such as `localize/train/000012`."""
        return f"{self.suite}/{self.split}/{self.index:06d}"

    @property
    def video(self) -> str:
        """Path within the folder of the suite."""
        return f"{self.split}/{self.index:06d}.mp4"

    @property
    def frames(self) -> int:
        """Length, frames."""
        return sum(s.frames for s in self.stretches)


def takes(suite: Suite, size: Size, seed: int = 0) -> list[Take]:
    """The videos of a suite, train then test; a smaller suite is a prefix of a larger one."""
    return [_take(suite, split, index, seed) for split in SPLITS for index in range(getattr(size, split))]


def _take(suite: Suite, split: str, index: int, seed: int) -> Take:
    number = 2 + ("localize", "segment").index(suite)  # 0 and 1 are used by `suite`
    rng = np.random.default_rng([VERSION, seed, SPLITS.index(split), number, index])
    scene = sample(str(rng.choice(APPEARANCES)), STILL, rng)
    stretches = tuple(_separate_actions(rng) if suite == "localize" else _procedure(rng))
    return Take(suite, split, index, scene, stretches)


def _stretch(motion: str, seconds: tuple[float, float], rng: np.random.Generator) -> MotionSpan:
    return MotionSpan(motion, round(rng.uniform(*seconds) * FPS), rng.uniform(0.3, 0.55))


def _separate_actions(rng: np.random.Generator) -> Iterator[MotionSpan]:
    """Distinct actions, each after a pause, until the video is full."""
    left = round(rng.uniform(*LENGTHS) * FPS)
    for action in rng.permutation(ACTIONS).tolist():
        gap, span = _stretch(STILL, GAP, rng), _stretch(action, ACTION, rng)
        if gap.frames + span.frames >= left:
            break
        left -= gap.frames + span.frames
        yield from (gap, span)
    yield MotionSpan(STILL, left, 0.0)


def _procedure(rng: np.random.Generator) -> Iterator[MotionSpan]:
    """Steps drawn from the grammar in order, each followed by a pause with probability 0.5."""
    yield _stretch(STILL, ENDS, rng)
    for actions, minimum, maximum in PROCEDURE:
        for _ in range(rng.integers(minimum, maximum + 1)):
            yield _stretch(str(rng.choice(actions)), STEP, rng)
            if rng.random() < 0.5:
                yield _stretch(STILL, PAUSE, rng)
    yield _stretch(STILL, ENDS, rng)


def states(take: Take) -> Float64[np.ndarray, "t 6"]:
    """The state on the torus at every frame; each frame is reached by the motion of its own interval."""
    directions = np.array([np.array(PROGRAMS[s.motion]) * s.speed for s in take.stretches])
    offsets = np.cumsum(np.repeat(directions, [s.frames for s in take.stretches], axis=0) / FPS, axis=0)
    path: Float64[np.ndarray, "t 6"] = (np.array(take.scene.state) + offsets) % 1.0
    return path


def make(folder: Path, suite: Suite, size: Size, seed: int = 0, *, quiet: bool = False) -> None:
    """Render the missing files of the suite into `folder`; see `making.make`."""
    jobs = [RenderJob((take.video,), partial(_shoot, folder, take)) for take in takes(suite, size, seed)]
    making.make(folder, jobs, seed, marker=f"complete-{size.train}+{size.test}.json", quiet=quiet)


def _shoot(folder: Path, take: Take) -> None:
    write_video(folder / take.video, draw(take.scene, states(take), clock(take.frames, FPS)), FPS)
