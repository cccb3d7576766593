"""Videos or images of a folder, or listed in its manifest, as training data; no annotations are needed."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.media import kind_of
from vitascope.core.names import canonical
from vitascope.core.text import nearest
from vitascope.core.types import Span, digest
from vitascope.core.worker_pool import Failed
from vitascope.datasets.readers.folder_lists import MANIFESTS, find_manifest
from vitascope.datasets.readers.ignored import Ignored
from vitascope.datasets.readers.listing import read_list
from vitascope.datasets.readers.video_files import walk
from vitascope.pretrain.data.base import ClipSpec, State, check_rank
from vitascope.pretrain.data.clip_decoder import ClipRequest, decode_clips
from vitascope.pretrain.data.prefetch import ClipItem, PrefetchReader
from vitascope.pretrain.data.short_videos import Look, short_note, spread
from vitascope.sampling.augmentations import RandomClip, RandomCrop, at_epoch
from vitascope.sampling.names import Sampler
from vitascope.video import inspect

FOLDER = int.from_bytes(b"fold")
"""Seed component that keeps the random generators of this source distinct."""
DRAW: Sampler = RandomCrop(RandomClip(4), flip=True)
"""Every fourth frame from a random start, one random resized crop per clip, flipped horizontally half of the time. In
videos too short for that, the frames of a clip are less far apart."""
KINDS = ("video", "image")


@dataclass(frozen=True, kw_only=True)
class VideoFolder:
    """The files below `path` as an endless source: shuffled epochs with one clip per file, drawn by `sampler`.

    A `manifest.csv` in the folder replaces the search: column `path`, optionally `start` and `end` (seconds), `fps`
    and `label`. With `Drawn(..., count=4)` in the sampler, a file has four clips that take turns from epoch to epoch,
    so that features of teachers can be cached. Images are clips of one frame. With `labeled`, classes are the
    manifest's labels, or else the folders that hold the files, in alphabetical order. `name` defaults to the folder's
    name; `pretraining_datasets` are the dataset names for the encoder's card.
    """

    path: str
    kind: Literal["video", "image"] = "video"
    labeled: bool = False
    sampler: Sampler = DRAW
    name: str = ""
    pretraining_datasets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"{self.path}: kind {self.kind!r}{nearest(self.kind, KINDS)}; use {' or '.join(KINDS)}")
        object.__setattr__(self, "name", self.name or Path(self.path).expanduser().absolute().name or "root")
        object.__setattr__(self, "pretraining_datasets", self.pretraining_datasets or (self.name,))

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> PrefetchReader:
        """List the files and read them with `workers` processes (0: one thread). Raises UserError if there are none."""
        check_rank(rank, world)
        clip_files = list_files(self)
        if rank == 0 and (note := _note(self, clip_files, spec)):
            log.warning(note)
        order = _EpochOrder(clip_files, seed, rank, world)
        spec = ClipSpec(1 if self.kind == "image" else spec.frames, spec.size)
        items = partial(_items, self, order, spec, workers=workers)
        return PrefetchReader(self.name, items, {"taken": 0}, data=digest([[f.id, f.label] for f in clip_files]))

    def note(self, spec: ClipSpec) -> str:
        """One line about short videos, after a look at a few; empty if there are none."""
        return _note(self, list_files(self), spec)


class ClipFile(NamedTuple):
    """A video, a segment of one, or an image to draw clips from."""

    id: str
    """Path relative to the folder, with the segment if there is one."""
    path: str
    label: int = -1
    span: Span | None = None
    fps: float | None = None


def _note(source: VideoFolder, clip_files: list[ClipFile], spec: ClipSpec) -> str:
    if source.kind == "image":
        return ""
    look = Look.at(spread(clip_files), lambda f: inspect(f.path, fps=f.fps).within(f.span), len(clip_files))
    return short_note(source.name, source.sampler, spec.frames, look)


class _EpochOrder(NamedTuple):
    """Order in which the ranks read the files, epoch by epoch."""

    files: list[ClipFile]
    seed: int
    rank: int
    world: int

    def positions(self, start: int) -> Iterator[tuple[int, ClipFile]]:
        """Yield (position, file) of this rank from position `start` on, counted over all epochs."""
        epoch, order = -1, np.empty(0, np.int64)
        position = start + (self.rank - start) % self.world
        while True:
            if position // len(self.files) != epoch:
                epoch = position // len(self.files)
                order = np.random.default_rng([FOLDER, 0, self.seed, epoch]).permutation(len(self.files))
            yield position, self.files[order[position % len(self.files)]]
            position += self.world


def list_files(source: VideoFolder) -> list[ClipFile]:
    """List the files of `source` sorted by name. Raises UserError if there are none."""
    root = Path(source.path).expanduser()
    if not root.is_dir():
        siblings = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
        problem = "not a folder" if root.exists() else f"no such folder{nearest(root.name, siblings)}"
        raise UserError(f"{root}: {problem}; name a folder of {source.kind}s, or one with a {MANIFESTS[0]}")
    listed = find_manifest(root)
    clip_files = _from_manifest(source, listed) if listed else _from_folder(source, root)
    if not clip_files:
        other = "video" if source.kind == "image" else "image"
        example = next(iter(walk(root, frames=True, pictures=other == "image")), None)
        hint = f"; it contains {other}s, such as {example}: set kind={other!r}" if example else ""
        raise UserError(f"{root}: no {source.kind}s found{hint}")
    return clip_files


def _from_folder(source: VideoFolder, root: Path) -> list[ClipFile]:
    pictures = source.kind == "image"
    ignored = Ignored()
    paths = sorted(walk(root, frames=not pictures, pictures=pictures, ignored=ignored))
    if ignored and paths:
        log.warning("%s: ignored: %s", root, ignored)
    folders = [canonical(path.split("/")[-2]) if "/" in path else "" for path in paths]
    indices = _class_indices([name for name in folders if name])
    labels = [indices[name] if source.labeled and name else -1 for name in folders]
    return [ClipFile(path, str(root / path), label) for path, label in zip(paths, labels, strict=True)]


def _from_manifest(source: VideoFolder, path: Path) -> list[ClipFile]:
    """Rows of the manifest whose files are of the source's kind."""
    pictures = source.kind == "image"
    listed = read_list(path, labeled=source.labeled)
    rows = [row for row in listed.rows if (kind_of(row.path) == "image") == pictures]
    left = [f"{len(listed.rows) - len(rows)} rows that are no {source.kind}s"] if len(rows) < len(listed.rows) else []
    for note in (*listed.notes, *left):
        log.warning("%s: %s", path, note)
    indices = _class_indices([row.label for row in rows])
    return [
        ClipFile(row.name, row.file, indices[row.label] if source.labeled else -1, row.span, row.fps) for row in rows
    ]


def _class_indices(classes: list[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(sorted(set(classes)))}


def _items(
    source: VideoFolder, order: _EpochOrder, spec: ClipSpec, state: State, broken: dict[str, str], *, workers: int
) -> Generator[ClipItem, None, None]:
    """Yield the clips from position `taken` on; files already known to be broken are skipped."""

    def requests() -> Iterator[ClipRequest]:
        for position, file in order.positions(state["taken"]):
            if file.id not in broken:
                yield ClipRequest(
                    id=file.id,
                    path=file.path,
                    sampler=at_epoch(source.sampler, position // len(order.files)),
                    frames=spec.frames,
                    size=spec.size,
                    seeds=(FOLDER, 1, order.seed, position),
                    next_state={"taken": position - order.rank + order.world},
                    label=file.label,
                    span=file.span,
                    fps=file.fps,
                )
            elif len(broken) >= len({f.id for f in order.files}):  # a manifest may list a file twice
                return

    for request, pixels in decode_clips(requests(), workers=workers, frames=spec.frames, size=spec.size):
        if isinstance(pixels, Failed):
            broken[request.id] = pixels.cause
            yield ClipItem(request.id, request.next_state, None, error=pixels.cause)
        else:
            yield ClipItem(request.id, request.next_state, pixels, request.label)
    first, cause = next(iter(broken.items()))
    raise UserError(f"{source.path}: none of its {len(order.files)} {source.kind}s is readable; {first}: {cause}")
