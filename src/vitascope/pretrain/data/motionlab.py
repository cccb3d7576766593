"""MotionLab as training data: scenes outside all suites, rendered once and augmented by 16 symmetries in every epoch.

Each of the 16 symmetries (time reversal, and the eight flips and rotations of a square) maps MotionLab's motions onto
one another and leaves the appearance unchanged. A transformed clip could thus have been rendered itself, except for
mirror images of the few chiral outlines. Every epoch shows new clips at the cost of a copy.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Int64, UInt8

from vitascope.core.errors import UserError
from vitascope.core.files import cache
from vitascope.core.text import nearest
from vitascope.core.types import LATER
from vitascope.motionlab.scene import APPEARANCES, PROGRAMS, VERSION
from vitascope.motionlab.v2 import scene as v2
from vitascope.motionlab.v2.levels import LEVELS
from vitascope.pretrain.data import motionlab_render
from vitascope.pretrain.data.base import ClipSpec, State, check_rank
from vitascope.pretrain.data.prefetch import ClipItem, PrefetchReader

SYMMETRIES = 16
UPRIGHT = 0b0101
"""Those that reverse time and mirror left to right, which leave a ground below."""
KINDS = ("video", "still")
RENDERERS = 16
"""Maximum number of rendering processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionLab:
    """The first `clips` scenes of the stream of `seed`, disjoint from all suites, in endless shuffled epochs.

    "video" yields unlabeled clips of two seconds. "still" yields the middle frame of each, labeled with the index of
    its appearance: data for an image teacher, whose card must disclose the labels. Motion labels are never available.
    Opening the source renders the clips not yet on disk, about 12 ms of one core per clip of 12 frames.

    `without` names appearances and motions of which no scene is shown, so that they are new to whatever is trained.
    Motions that the symmetries map onto one another are left out together. `level` is one of the second version's
    levels (easy, medium, hard), whose clips are only reversed and mirrored left to right: its world has a ground.
    """

    clips: int = 65536
    seed: int = 0
    kind: Literal["video", "still"] = "video"
    quiet: bool = False
    without: tuple[str, ...] = field(default=(), metadata=LATER)
    level: str = field(default="", metadata=LATER)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"motionlab: kind {self.kind!r}{nearest(self.kind, KINDS)}; use {' or '.join(KINDS)}")
        if self.clips < 1 or self.seed < 0:
            raise UserError(f"motionlab: {self.clips} clips of seed {self.seed}; from 1 clip and seed 0 on")
        if self.level and self.level not in LEVELS:
            raise UserError(f"motionlab: level {self.level!r}{nearest(self.level, LEVELS)}; use {', '.join(LEVELS)}")
        _check_left_out(self.without, v2.PROGRAMS if self.level else PROGRAMS)

    @property
    def version(self) -> str:
        """Name of the suites of the same generator."""
        return "motionlab2" if self.level else "motionlab"

    @property
    def name(self) -> str:
        """Name in logs."""
        return self.version if self.kind == "video" else f"{self.version}-still"

    @property
    def pretraining_datasets(self) -> tuple[str, ...]:
        """("motionlab",): the scenes differ from those of the suites but come from the same generator."""
        return (self.version,)

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> PrefetchReader:
        """Render missing clips with one process per core, then read them in the order given by `seed`.

        Reading needs no `workers`. OSError where the disk is too small.
        """
        check_rank(rank, world)
        plan = self.plan(spec)
        processes = min(os.cpu_count() or 1, RENDERERS) if len(plan.chunks) > 1 else 0
        chunks = motionlab_render.open_chunks(
            plan, workers=max(processes, workers) if processes else 0, quiet=self.quiet
        )
        second = bool(self.level)
        shown = motionlab_render.shown(self.seed, self.clips, self.without, second=second) if self.without else None
        items = partial(_items, self, chunks, shown, seed=seed, rank=rank, world=world)
        data = f"{self.level}-" * second + plan.folder.name
        lacking = "".join(f"-{label}" for label in self.without)
        return PrefetchReader(self.name, items, {"taken": 0}, data=f"{data}+{self.clips}{lacking}")

    def plan(self, spec: ClipSpec) -> motionlab_render.RenderPlan:
        """Location and size of the rendered clips."""
        frames = 1 if self.kind == "still" else spec.frames
        name = f"stream-{self.seed}-{frames}x{spec.size}"
        below = f"motionlab2-{v2.VERSION}/{self.level}" if self.level else f"motionlab-{VERSION}"
        return motionlab_render.RenderPlan(
            folder=cache().expanduser().absolute() / below / name,
            clips=self.clips,
            seed=self.seed,
            frames=frames,
            size=spec.size,
            level=self.level,
        )


def _check_left_out(without: Sequence[str], programs: Mapping[str, tuple[float, ...]]) -> None:
    """Raise UserError for names that are no labels, for motions without their mirror images, and if nothing is left."""
    labels = (*APPEARANCES, *programs)
    for label in without:
        if label not in labels:
            raise UserError(f"motionlab: without={label!r}: no appearance or motion{nearest(label, labels)}")
    out = set(without)
    for motion, way in programs.items():
        images = [m for m, other in programs.items() if _kind(other) == _kind(way)]
        if motion in out and not out.issuperset(images):
            raise UserError(
                f"motionlab: without {motion}, but its mirror images are shown; leave out {', '.join(images)} together"
            )
    if out.issuperset(APPEARANCES) or out.issuperset(programs):
        raise UserError("motionlab: all appearances or all motions are left out; keep some")


def _kind(way: Sequence[float]) -> tuple[float, ...]:
    """What the symmetries leave unchanged of a motion's direction: two motions of one kind are images of another."""
    x, y, *others = map(abs, way)
    return (*sorted((x, y)), *others)


def epoch_order(seed: int, epoch: int, clips: int) -> tuple[Int64[np.ndarray, "c"], Int64[np.ndarray, "c"]]:
    """Return the order of the clips in an epoch and the symmetry (0 to 15) applied to each."""
    rng = np.random.default_rng([motionlab_render.STREAM, seed, epoch])
    return rng.permutation(clips), rng.integers(SYMMETRIES, size=clips)


def apply_symmetry(clip: UInt8[np.ndarray, "t s s 3"], symmetry: int) -> UInt8[np.ndarray, "t s s 3"]:
    """Transform `clip`; the bits of `symmetry` reverse time, rows and columns, and transpose rows and columns."""
    flips = [slice(None, None, -1 if symmetry >> bit & 1 else 1) for bit in range(3)]
    flipped = clip[tuple(flips)]
    return np.ascontiguousarray(flipped.swapaxes(1, 2) if symmetry & 8 else flipped)


def _items(
    source: MotionLab,
    chunks: list[motionlab_render.Pixels],
    shown: Int64[np.ndarray, "n"] | None,
    state: State,
    _broken: dict[str, str],
    *,
    seed: int,
    rank: int,
    world: int,
) -> Generator[ClipItem, None, None]:
    """Yield this rank's clips from position `taken` on: every `world`-th, counted over all epochs and ranks."""
    start: int = state["taken"]
    position = start + (rank - start) % world
    count = source.clips if shown is None else len(shown)
    epoch, clips, symmetries = -1, np.empty(0, np.int64), np.empty(0, np.int64)
    while True:
        if position // count != epoch:
            epoch = position // count
            clips, symmetries = epoch_order(seed, epoch, count)
        place = int(clips[position % count])
        index = place if shown is None else int(shown[place])
        clip = chunks[index // motionlab_render.CHUNK][index % motionlab_render.CHUNK]
        label = -1
        if source.kind == "still":
            label = motionlab_render.appearance(source.seed, index, second=bool(source.level))
        next_state = {"taken": position - rank + world}
        symmetry = int(symmetries[position % count]) & (UPRIGHT if source.level else SYMMETRIES - 1)
        yield ClipItem(str(index), next_state, apply_symmetry(clip, symmetry), label)
        position += world
