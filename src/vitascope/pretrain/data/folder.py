"""Videos or images below a folder, or listed in its manifest, as training data; no annotation is needed."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Span, digest
from vitascope.core.worker_pool import Failed
from vitascope.datasets.builders.folder import MANIFEST, manifest
from vitascope.datasets.readers.video_files import PICTURES, walk
from vitascope.pretrain.data.base import ClipSpec, State, check_share
from vitascope.pretrain.data.clip_decoder import ClipRequest, views
from vitascope.pretrain.data.prefetch import Ahead, ClipItem
from vitascope.sampling.augmentations import RandomClip, RandomCrop
from vitascope.sampling.names import Sampler

FOLDER = int.from_bytes(b"fold")
"""Sets the generators of this source apart."""
DRAW: Sampler = RandomCrop(RandomClip(4), flip=True)
"""Frames four apart from anywhere in the video, through one random resized crop, half of them mirrored."""
KINDS = ("video", "image")


@dataclass(frozen=True, kw_only=True)
class VideoFolder:
    """What lies below `path`, endlessly, in permuted epochs: of every file a clip drawn by `sampler` an epoch.

    With a `manifest.csv` it is what that lists (`path`, and perhaps `start` and `end` seconds, `fps`, `label`). Images
    are clips of one frame. With `labeled`, a class is a `label` of the manifest, or the folder that a file lies in, in
    alphabetic order. `name` is the folder's unless given, and `saw` says what cards shall call it.
    """

    path: str
    kind: Literal["video", "image"] = "video"
    labeled: bool = False
    sampler: Sampler = DRAW
    name: str = ""
    pretraining_datasets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"{self.path}: kind {self.kind!r}{nearest(self.kind, KINDS)}; there are {', '.join(KINDS)}")
        object.__setattr__(self, "name", self.name or Path(self.path).expanduser().absolute().name or "root")
        object.__setattr__(self, "pretraining_datasets", self.pretraining_datasets or (self.name,))

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> Ahead:
        """Look for the files, and read them by `workers` processes (0: a thread). ValueError where there are none."""
        check_share(rank, world)
        found = files(self)
        order = _Order(found, seed, rank, world)
        spec = ClipSpec(1 if self.kind == "image" else spec.frames, spec.size)
        sequel = partial(_items, self, order, spec, workers=workers)
        return Ahead(self.name, sequel, {"taken": 0}, data=digest([[f.id, f.label] for f in found]))


class File(NamedTuple):
    """One thing to look at."""

    id: str
    """Its path below the folder, with its span."""
    path: str
    label: int = -1
    span: Span | None = None
    fps: float | None = None


class _Order(NamedTuple):
    """Who reads which file when."""

    files: list[File]
    seed: int
    rank: int
    world: int

    def look(self, start: int) -> Iterator[tuple[int, File]]:
        """This rank's from place `start` on, in epochs laid end to end: the place of the file, and the file."""
        epoch, order = -1, np.empty(0, np.int64)
        place = start + (self.rank - start) % self.world
        while True:
            if place // len(self.files) != epoch:
                epoch = place // len(self.files)
                order = np.random.default_rng([FOLDER, 0, self.seed, epoch]).permutation(len(self.files))
            yield place, self.files[order[place % len(self.files)]]
            place += self.world


def files(source: VideoFolder) -> list[File]:
    """The files of `source` in the order of their names. ValueError where there are none."""
    root = Path(source.path).expanduser()
    if not root.is_dir():
        siblings = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
        what = "not a folder" if root.exists() else f"no such folder{nearest(root.name, siblings)}"
        raise UserError(f"{root}: {what}; give a folder of {source.kind}s, or one with a {MANIFEST}")
    found = _listed(source, root) if (root / MANIFEST).is_file() else _walked(source, root)
    if not found:
        other = "video" if source.kind == "image" else "image"
        there = next(iter(walk(root, frames=True, pictures=other == "image")), None)
        hint = f"; there are {other}s, such as {there}: give kind={other!r}" if there else ""
        raise UserError(f"{root}: no {source.kind}s below it{hint}")
    return found


def _walked(source: VideoFolder, root: Path) -> list[File]:
    pictures = source.kind == "image"
    paths = sorted(walk(root, frames=not pictures, pictures=pictures))
    numbers = _numbers([path.split("/")[-2] for path in paths if "/" in path])
    labels = [numbers[p.split("/")[-2]] if source.labeled and "/" in p else -1 for p in paths]
    return [File(path, str(root / path), label) for path, label in zip(paths, labels, strict=True)]


def _listed(source: VideoFolder, root: Path) -> list[File]:
    """The lines of the manifest that are of the kind asked for."""
    pictures = source.kind == "image"
    rows = manifest(root / MANIFEST, labeled=source.labeled)
    rows = [row for row in rows if (Path(row.path).suffix.lower() in PICTURES) == pictures]
    numbers = _numbers([row.label for row in rows])
    return [
        File(row.name, str(root / row.path), numbers[row.label] if source.labeled else -1, row.span, row.fps)
        for row in rows
    ]


def _numbers(classes: list[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(sorted(set(classes)))}


def _items(
    source: VideoFolder, order: _Order, spec: ClipSpec, state: State, broken: dict[str, str], *, workers: int
) -> Generator[ClipItem, None, None]:
    """The clips from place `taken` on; a file known to be broken is not tried again."""

    def jobs() -> Iterator[ClipRequest]:
        for place, file in order.look(state["taken"]):
            if file.id not in broken:
                yield ClipRequest(
                    id=file.id,
                    path=file.path,
                    sampler=source.sampler,
                    frames=spec.frames,
                    size=spec.size,
                    seeds=(FOLDER, 1, order.seed, place),
                    after={"taken": place - order.rank + order.world},
                    label=file.label,
                    span=file.span,
                    fps=file.fps,
                )
            elif len(broken) >= len({f.id for f in order.files}):  # a manifest may name a file twice
                return

    for job, seen in views(jobs(), workers=workers, frames=spec.frames, size=spec.size):
        if isinstance(seen, Failed):
            broken[job.id] = seen.cause
            yield ClipItem(job.id, job.after, None, why=seen.cause)
        else:
            yield ClipItem(job.id, job.after, seen, job.label)
    first, why = next(iter(broken.items()))
    raise UserError(f"{source.path}: none of the {len(order.files)} {source.kind}s can be read; {first}: {why}")
