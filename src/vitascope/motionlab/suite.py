"""The suite on disk: which clip has which labels, and rendering those that are not there yet."""

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
"""Combinations of an appearance and a motion: every so many clips hold each of them exactly once."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many clips; a smaller suite is the beginning of a larger one."""

    train: int
    test: int


FULL = Size(2 * CELLS, CELLS)
TINY = Size(4 * len(APPEARANCES), 2 * len(APPEARANCES))


@dataclass(frozen=True, slots=True)
class Shot:
    """One clip of the suite, and the still taken from its middle; labels index `APPEARANCES` and `MOTIONS`."""

    split: str
    index: int
    appearance: int
    motion: int

    @property
    def id(self) -> str:
        """Stable whatever the size: `train/000123`."""
        return f"{self.split}/{self.index:06d}"

    @property
    def video(self) -> str:
        """Where the clip lies in the suite's folder."""
        return f"{self.id}.mp4"

    @property
    def still(self) -> str:
        """Where the picture lies in the suite's folder."""
        return f"{self.id}.png"


def shots(size: Size, seed: int = 0) -> list[Shot]:
    """The clips of a suite, train then test.

    The counts of the labels are coprime, so going through both in step meets every combination once in `CELLS` clips
    (the Chinese remainder theorem), and any beginning of the list is balanced in each label to within one clip.
    """
    return [_shot(split, index, seed) for split in SPLITS for index in range(getattr(size, split))]


def _shot(split: str, index: int, seed: int) -> Shot:
    rng = np.random.default_rng([VERSION, seed, SPLITS.index(split), 0, index // CELLS])
    looks, ways = rng.permutation(len(APPEARANCES)), rng.permutation(len(MOTIONS))
    return Shot(split, index, int(looks[index % len(looks)]), int(ways[index % len(ways)]))


def scene(shot: Shot, seed: int = 0) -> Scene:
    """What a clip of the suite shows; no two clips share anything but labels."""
    rng = np.random.default_rng([VERSION, seed, SPLITS.index(shot.split), 1, shot.index])
    return sample(APPEARANCES[shot.appearance], MOTIONS[shot.motion], rng)


def make(folder: Path, size: Size = FULL, seed: int = 0, *, quiet: bool = False) -> None:
    """Render what is not in `folder` yet; see `making.make`."""
    jobs = [RenderJob((s.video, s.still), partial(_shoot, folder, s, seed=seed)) for s in shots(size, seed)]
    making.make(folder, jobs, seed, marker=f"complete-{size.train}+{size.test}.json", quiet=quiet)


def _shoot(folder: Path, shot: Shot, *, seed: int) -> None:
    frames = render(scene(shot, seed))
    write_picture(folder / shot.still, frames[FRAMES // 2])
    write_video(folder / shot.video, frames, FPS)
