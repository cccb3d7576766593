"""The clip suite: the labels of every clip, and rendering to disk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vitascope.motionlab import making
from vitascope.motionlab.making import RenderJob
from vitascope.motionlab.render import FPS, FRAMES, render
from vitascope.motionlab.scene import APPEARANCES, MOTIONS, VERSION, Scene, sample
from vitascope.motionlab.write import write_picture, write_video

SPLITS = ("train", "test")
CELLS = len(APPEARANCES) * len(MOTIONS)
"""Number of combinations of appearance and motion; each block of as many clips contains every combination once."""


@dataclass(frozen=True, slots=True)
class Size:
    """Number of clips or videos per split; a smaller suite is a prefix of a larger one."""

    train: int
    test: int


FULL = Size(2 * CELLS, CELLS)
TINY = Size(4 * len(APPEARANCES), 2 * len(APPEARANCES))


@dataclass(frozen=True, slots=True)
class Shot:
    """One clip of the suite and its middle frame; labels index `APPEARANCES` and `MOTIONS`."""

    split: str
    index: int
    appearance: int
    motion: int

    @property
    def id(self) -> str:
        """An id that does not depend on the suite size, such as `train/000123`."""
        return f"{self.split}/{self.index:06d}"

    @property
    def video(self) -> str:
        """Path of the clip within the folder of the suite."""
        return f"{self.id}.mp4"

    @property
    def still(self) -> str:
        """Path of the middle frame within the folder of the suite."""
        return f"{self.id}.png"


def shots(size: Size, seed: int = 0) -> list[Shot]:
    """The clips of a suite, train then test.

    The numbers of appearances and motions are coprime, so iterating over both in parallel covers every combination once
    in `CELLS` clips (Chinese remainder theorem), and any prefix is balanced in each label to within one clip.
    """
    return [_shot(split, index, seed) for split in SPLITS for index in range(getattr(size, split))]


def _shot(split: str, index: int, seed: int) -> Shot:
    rng = np.random.default_rng([VERSION, seed, SPLITS.index(split), 0, index // CELLS])
    appearances, motions = rng.permutation(len(APPEARANCES)), rng.permutation(len(MOTIONS))
    return Shot(split, index, int(appearances[index % len(appearances)]), int(motions[index % len(motions)]))


def scene(shot: Shot, seed: int = 0) -> Scene:
    """The scene of a clip; all parameters but the labels are independent between clips."""
    rng = np.random.default_rng([VERSION, seed, SPLITS.index(shot.split), 1, shot.index])
    return sample(APPEARANCES[shot.appearance], MOTIONS[shot.motion], rng)


def make(folder: Path, size: Size = FULL, seed: int = 0, *, quiet: bool = False) -> None:
    """Render the missing files of the suite into `folder`; see `making.make`."""
    jobs = [RenderJob((s.video, s.still), partial(_shoot, folder, s, seed=seed)) for s in shots(size, seed)]
    making.make(folder, jobs, seed, marker=f"complete-{size.train}+{size.test}.json", quiet=quiet)


def _shoot(folder: Path, shot: Shot, *, seed: int) -> None:
    frames = render(scene(shot, seed))
    write_picture(folder / shot.still, frames[FRAMES // 2])
    write_video(folder / shot.video, frames, FPS)
