"""The suite on disk: which clip has which labels, and rendering those that are not there yet."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock

from vitascope import files
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
    """Render what is not in `folder` yet: nothing when the suite is whole, the rest when a run was cut short.

    Two processes at once are safe: the second waits for the first. OSError when the folder cannot be written.
    """
    plan = shots(size, seed)
    marker = folder / f"complete-{size.train}+{size.test}.json"
    known = _read(marker, seed)
    if known and all(_there(folder, name, known) for name in known):
        return
    try:
        for split in SPLITS:
            (folder / split).mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for torn in folder.glob("*/.*"):
                torn.unlink()
            _fill(folder, plan, known or _read(marker, seed), seed, quiet)
            _mark(marker, plan, seed)
    except OSError as error:
        raise OSError(
            f"{folder}: cannot write MotionLab there ({error.strerror or error}); "
            "free some space or set VITASCOPE_CACHE to another folder, then run again"
        ) from error


def _fill(folder: Path, plan: list[Shot], known: Mapping[str, int], seed: int, quiet: bool) -> None:
    """Render in threads (numpy and the codec let go of the interpreter), stopping at the first failure or Ctrl-C."""
    todo = [s for s in plan if not (_there(folder, s.video, known) and _there(folder, s.still, known))]
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))
    try:
        work = pool.map(partial(_shoot, folder, seed=seed), todo)
        if quiet or not sys.stderr.isatty():
            if todo and not quiet:
                print(f"MotionLab: rendering {len(todo)} of {len(plan)} clips into {folder}", file=sys.stderr)
            list(work)
        else:
            from rich.console import Console
            from rich.progress import track

            list(track(work, "MotionLab: rendering clips", len(todo), console=Console(stderr=True), transient=True))
    finally:
        pool.shutdown(cancel_futures=True)


def _shoot(folder: Path, shot: Shot, *, seed: int) -> None:
    frames = render(scene(shot, seed))
    write_picture(folder / shot.still, frames[FRAMES // 2])
    write_video(folder / shot.video, frames, FPS)


def _there(folder: Path, name: str, known: Mapping[str, int]) -> bool:
    """Whether a file is there, whole as far as its size tells."""
    try:
        size = (folder / name).stat().st_size
    except FileNotFoundError:
        return False
    return size == known.get(name, size) and size > 0


def _read(marker: Path, seed: int) -> dict[str, int]:
    """File sizes of a suite that was once whole; nothing if the marker is absent, broken or another suite's."""
    try:
        data = json.loads(marker.read_text(encoding="utf-8"))
        return dict(data["files"]) if (data["version"], data["seed"]) == (VERSION, seed) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _mark(marker: Path, plan: list[Shot], seed: int) -> None:
    """Say that the suite is whole: version, seed, a digest of all bytes, and each file's size."""
    names = [name for shot in plan for name in (shot.video, shot.still)]
    total, sizes = hashlib.blake2b(digest_size=16), {}
    for name in names:
        content = (marker.parent / name).read_bytes()
        sizes[name] = len(content)
        total.update(content)
    data = {"version": VERSION, "seed": seed, "digest": total.hexdigest(), "files": sizes}
    files.write(marker, json.dumps(data).encode())
