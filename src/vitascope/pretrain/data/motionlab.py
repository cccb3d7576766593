"""MotionLab as training data: scenes of its own, rendered once, seen again and again in another order and another way.

Any of the 16 symmetries (backwards or not, a square's eight flips and turns) makes another of MotionLab's motions of a
motion and leaves the look what it was, so a clip turned is a clip that might have been rendered, but for mirror images
of the few outlines that have any. Every passing over the clips shows scenes that look new, at the price of a copy.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Int64, UInt8

from vitascope.core.errors import UserError
from vitascope.core.files import cache
from vitascope.core.text import nearest
from vitascope.motionlab.scene import VERSION
from vitascope.pretrain.data import motionlab_render
from vitascope.pretrain.data.base import ClipSpec, State, check_share
from vitascope.pretrain.data.prefetch import Ahead, ClipItem

SYMMETRIES = 16
KINDS = ("video", "still")
RENDERERS = 16
"""Processes that render at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionLab:
    """The first `clips` scenes of the stream of `seed`, none of which any suite shows; endlessly, in permuted epochs.

    "video" gives clips of two seconds without any label. "still" gives the picture in the middle of each, with the
    number of its appearance as its label: data for an image teacher, and its card has to say so. The motion is never
    given. Opening it renders what is not on the disk yet, some 12 ms of a core a clip of 12 frames.
    """

    clips: int = 65536
    seed: int = 0
    kind: Literal["video", "still"] = "video"
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"motionlab: kind {self.kind!r}{nearest(self.kind, KINDS)}; there are {', '.join(KINDS)}")
        if self.clips < 1 or self.seed < 0:
            raise UserError(f"motionlab: {self.clips} clips of seed {self.seed}; from 1 clip and seed 0 on")

    @property
    def name(self) -> str:
        """What logs call it."""
        return "motionlab" if self.kind == "video" else "motionlab-still"

    @property
    def pretraining_datasets(self) -> tuple[str, ...]:
        """Its scenes are no suite's, but they are of one making."""
        return ("motionlab",)

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> Ahead:
        """Render what is missing, by as many processes as there are cores, and read it in the order of `seed`.

        Reading needs no `workers`. OSError where the disk is too small.
        """
        check_share(rank, world)
        plan = self.plan(spec)
        processes = min(os.cpu_count() or 1, RENDERERS) if len(plan.chunks) > 1 else 0
        chunks = motionlab_render.rendered(plan, workers=max(processes, workers) if processes else 0, quiet=self.quiet)
        items = partial(_items, self, chunks, seed=seed, rank=rank, world=world)
        return Ahead(self.name, items, {"taken": 0}, data=f"{plan.folder.name}+{self.clips}")

    def plan(self, spec: ClipSpec) -> motionlab_render.Plan:
        """Where its clips lie, and what they are."""
        frames = 1 if self.kind == "still" else spec.frames
        name = f"stream-{self.seed}-{frames}x{spec.size}"
        folder = cache().expanduser().absolute() / f"motionlab-{VERSION}" / name
        return motionlab_render.Plan(folder=folder, clips=self.clips, seed=self.seed, frames=frames, size=spec.size)


def order(seed: int, epoch: int, clips: int) -> tuple[Int64[np.ndarray, "c"], Int64[np.ndarray, "c"]]:
    """The clips in the order of an epoch, and how each is turned."""
    rng = np.random.default_rng([motionlab_render.STREAM, seed, epoch])
    return rng.permutation(clips), rng.integers(SYMMETRIES, size=clips)


def turned(clip: UInt8[np.ndarray, "t s s 3"], symmetry: int) -> UInt8[np.ndarray, "t s s 3"]:
    """`clip` as one of the 16 symmetries shows it, by the bits of its number: time, rows, columns, diagonal."""
    way = [slice(None, None, -1 if symmetry >> bit & 1 else 1) for bit in range(3)]
    seen = clip[tuple(way)]
    return np.ascontiguousarray(seen.swapaxes(1, 2) if symmetry & 8 else seen)


def _items(
    source: MotionLab,
    chunks: list[motionlab_render.Pixels],
    state: State,
    _broken: dict[str, str],
    *,
    seed: int,
    rank: int,
    world: int,
) -> Generator[ClipItem, None, None]:
    """From clip `taken` of all ranks' together on, this rank's: every `world`-th of the epochs laid end to end."""
    start: int = state["taken"]
    place = start + (rank - start) % world
    epoch, clips, ways = -1, np.empty(0, np.int64), np.empty(0, np.int64)
    while True:
        if place // source.clips != epoch:
            epoch = place // source.clips
            clips, ways = order(seed, epoch, source.clips)
        index = int(clips[place % source.clips])
        picture = chunks[index // motionlab_render.CHUNK][index % motionlab_render.CHUNK]
        label = motionlab_render.appearance(source.seed, index) if source.kind == "still" else -1
        after = {"taken": place - rank + world}
        yield ClipItem(str(index), after, turned(picture, int(ways[place % source.clips])), label)
        place += world
