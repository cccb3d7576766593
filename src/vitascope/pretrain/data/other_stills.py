"""Labeled stills of looks that no suite of MotionLab shows: data for an image teacher that never saw its 24 classes."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import UInt8

from vitascope.core.errors import UserError
from vitascope.motionlab.render import SIDE, render
from vitascope.motionlab.scene import APPEARANCES, VERSION, Scene, sample
from vitascope.pretrain.data.base import ClipSpec, State, check_rank
from vitascope.pretrain.data.motionlab import apply_symmetry, epoch_order
from vitascope.pretrain.data.motionlab_render import downscale
from vitascope.pretrain.data.prefetch import ClipItem, PrefetchReader

SHAPES = ("hexagon", "ring", "half", "arrow", "bow", "trapezoid")
TEXTURES = ("zigzag", "lattice", "wedges", "spiral")
LOOKS = tuple(f"{shape}-{texture}" for shape in SHAPES for texture in TEXTURES)
"""As many as MotionLab has; no shape and no texture is one of its own."""
STREAM = int.from_bytes(b"stills")
"""Seed component of these scenes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherStills:
    """The first `clips` pictures of the stream of `seed`, labeled with the index of their look, in shuffled epochs.

    Backgrounds, distractors and sizes are MotionLab's. Opening the source draws all pictures into memory, 2 ms each.
    """

    clips: int = 16384
    seed: int = 0
    name: str = "motionlab-other-stills"
    pretraining_datasets: tuple[str, ...] = ("motionlab-other-stills",)

    def __post_init__(self) -> None:
        if self.clips < 1 or self.seed < 0:
            raise UserError(f"other stills: {self.clips} clips of seed {self.seed}; from 1 clip and seed 0 on")

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> PrefetchReader:
        """Draw the pictures, then read them in the order given by `seed`; reading needs no `workers`."""
        check_rank(rank, world)
        pictures = np.stack([_picture(self.seed, index, spec.size) for index in range(self.clips)])
        items = partial(_items, self, pictures, seed=seed, rank=rank, world=world)
        return PrefetchReader(self.name, items, {"taken": 0}, data=f"{self.seed}+{self.clips}")


def draw_still(seed: int, index: int) -> tuple[Scene, int]:
    """Draw the scene of picture `index` with a uniform look; return it and the index of its look."""
    rng = np.random.default_rng([VERSION, STREAM, seed, index])
    label = int(rng.integers(len(LOOKS)))
    shape, texture = LOOKS[label].split("-")
    return replace(sample(APPEARANCES[0], "still", rng), shape=shape, texture=texture), label


def _picture(seed: int, index: int, size: int) -> UInt8[np.ndarray, "1 s s 3"]:
    scene, _ = draw_still(seed, index)
    return downscale(render(scene, 1, side=SIDE), size)


def _items(
    source: OtherStills,
    pictures: UInt8[np.ndarray, "n 1 s s 3"],
    state: State,
    _broken: dict[str, str],
    *,
    seed: int,
    rank: int,
    world: int,
) -> Generator[ClipItem, None, None]:
    """Yield this rank's pictures from position `taken` on, each in one of its symmetries."""
    start: int = state["taken"]
    position = start + (rank - start) % world
    epoch, order, symmetries = -1, np.empty(0, np.int64), np.empty(0, np.int64)
    labels = [draw_still(source.seed, index)[1] for index in range(source.clips)]
    while True:
        if position // source.clips != epoch:
            epoch = position // source.clips
            order, symmetries = epoch_order(seed, epoch, source.clips)
        place = position % source.clips
        index = int(order[place])
        picture = apply_symmetry(pictures[index], int(symmetries[place]))
        yield ClipItem(str(index), {"taken": position - rank + world}, picture, labels[index])
        position += world
