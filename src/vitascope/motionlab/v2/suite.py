"""The clip suites of the second version: the labels of every clip, and rendering to disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitascope.motionlab import making, suite
from vitascope.motionlab.making import RenderJob
from vitascope.motionlab.render import FPS, FRAMES
from vitascope.motionlab.scene import APPEARANCES
from vitascope.motionlab.suite import SPLITS, Shot, Size
from vitascope.motionlab.v2.levels import LEVELS
from vitascope.motionlab.v2.photos import Photos
from vitascope.motionlab.v2.render import render
from vitascope.motionlab.v2.scene import MOTIONS, VERSION, Scene, sample
from vitascope.motionlab.write import write_picture, write_video

CELLS = len(APPEARANCES) * len(MOTIONS)
"""Number of combinations of appearance and motion; each block of as many clips contains every combination once."""
FULL = Size(2 * CELLS, CELLS)
TINY = suite.TINY
SEED = int.from_bytes(b"v2")
"""Seed component that keeps these scenes distinct from those of the first version."""


class Choice(NamedTuple):
    """What a suite is rendered from, beside its size."""

    level: str
    """One of `LEVELS`."""
    seed: int = 0
    photos: Photos | None = None
    """For backgrounds and surfaces; None: patterns."""


def shots(size: Size, seed: int = 0) -> list[Shot]:
    """The clips of a suite, train then test, alike in all levels; every prefix is balanced as in `suite.shots`."""
    return [_shot(split, index, seed) for split in SPLITS for index in range(getattr(size, split))]


def _shot(split: str, index: int, seed: int) -> Shot:
    rng = np.random.default_rng([SEED, VERSION, seed, SPLITS.index(split), 0, index // CELLS])
    appearances, motions = rng.permutation(len(APPEARANCES)), rng.permutation(len(MOTIONS))
    return Shot(split, index, int(appearances[index % len(appearances)]), int(motions[index % len(motions)]))


def scene(shot: Shot, level: str, seed: int = 0) -> Scene:
    """The scene of a clip; all parameters but the labels are independent between clips."""
    rng = np.random.default_rng([SEED, VERSION, seed, SPLITS.index(shot.split), 1, shot.index])
    return sample(APPEARANCES[shot.appearance], MOTIONS[shot.motion], LEVELS[level], rng)


def make(folder: Path, choice: Choice, size: Size = FULL, *, quiet: bool = False) -> None:
    """Render the missing files of a suite into `folder`; see `making.make`."""
    plan = shots(size, choice.seed)
    jobs = [RenderJob((s.video, s.still), partial(_shoot, folder, s, choice)) for s in plan]
    making.make(folder, jobs, choice.seed, marker=f"complete-{size.train}+{size.test}.json", quiet=quiet)


def _shoot(folder: Path, shot: Shot, choice: Choice) -> None:
    frames = render(scene(shot, choice.level, choice.seed), photos=choice.photos)
    write_picture(folder / shot.still, frames[FRAMES // 2])
    write_video(folder / shot.video, frames, FPS)
