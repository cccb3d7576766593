"""WebDataset tar shards as training data: streamed without extraction, shuffled, resumable to the sample."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import digest
from vitascope.core.worker_pool import Failed
from vitascope.datasets.readers.video_files import PICTURES, VIDEOS
from vitascope.pretrain.data import shard_urls
from vitascope.pretrain.data.base import ClipSpec, State, check_share
from vitascope.pretrain.data.clip_decoder import ClipRequest, views
from vitascope.pretrain.data.folder import DRAW
from vitascope.pretrain.data.prefetch import Ahead, ClipItem
from vitascope.pretrain.data.tar_reader import Sample, samples
from vitascope.sampling.names import Sampler

SHARDS = int.from_bytes(b"tars")
"""Sets the generators of this source apart."""
KINDS = ("video", "image")


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The samples of tar files, endlessly: shards in permuted epochs, samples shuffled within blocks of `window`.

    `pattern` is a name with braces (`data-{000..012}.tar`), a glob, a url that fsspec understands, or several. Members
    with one name up to the first dot are a sample: a video or an image, and with `labeled` a whole number in `.cls`,
    or in the "label" or "cls" of `.json`. Ranks take shards in turn; workers decode, in one order however many. A block
    of samples lies in memory as it is in the file.
    """

    pattern: str | tuple[str, ...]
    kind: Literal["video", "image"] = "video"
    labeled: bool = False
    sampler: Sampler = DRAW
    window: int = 128
    name: str = ""
    pretraining_datasets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        first = next(iter(self.patterns), "")
        if self.kind not in KINDS:
            raise UserError(f"{first}: kind {self.kind!r}{nearest(self.kind, KINDS)}; there are {', '.join(KINDS)}")
        if self.window < 1:
            raise UserError(f"{first}: samples are shuffled within a window of at least 1, not {self.window}")
        stem = re.match(r"\w*[A-Za-z0-9]", first.rpartition("/")[2])
        object.__setattr__(self, "name", self.name or (stem[0] if stem else "shards"))
        object.__setattr__(self, "pretraining_datasets", self.pretraining_datasets or (self.name,))

    @property
    def patterns(self) -> tuple[str, ...]:
        """As many as were given."""
        return (self.pattern,) if isinstance(self.pattern, str) else self.pattern

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> Ahead:
        """Look for the shards, and read them; `workers` processes decode (0: a thread). ValueError where one lacks."""
        check_share(rank, world)
        found = shard_urls.shards(self.patterns)
        walk = _Walk(self, found, seed, rank, world)
        start = {"shard": rank, "offset": 0, "number": 0, "given": 0}
        spec = ClipSpec(1 if self.kind == "image" else spec.frames, spec.size)
        sequel = partial(_items, walk, spec, workers=workers)
        data = digest([found, self.kind, self.labeled, self.window, rank, world])
        return Ahead(self.name, sequel, start, data=data)


class _Entry(NamedTuple):
    """A sample on its way."""

    shard: int
    """Number of its shard in the epochs laid end to end."""
    number: int
    """Of the sample in its shard."""
    path: str
    sample: Sample

    @property
    def id(self) -> str:
        return f"{self.path}#{self.sample.key}" if self.sample.key else self.path


class _Walk(NamedTuple):
    """Who reads which shard when."""

    source: Shards
    paths: list[str]
    seed: int
    rank: int
    world: int

    def path(self, shard: int) -> str:
        epoch, place = divmod(shard, len(self.paths))
        order = np.random.default_rng([SHARDS, 0, self.seed, epoch]).permutation(len(self.paths))
        return self.paths[int(order[place])]

    def entries(self, shard: int, offset: int, number: int) -> Iterator[_Entry]:
        """This rank's samples from a place on. ValueError where no shard has any."""
        barren = 0
        while True:
            path = self.path(shard)
            for sample in self._read(path, offset):
                yield _Entry(shard, number, path, sample)
                number += 1
                barren = -1
            barren += 1
            if barren > len(self.paths):
                raise UserError(f"{self.source.patterns[0]}: the {len(self.paths)} shards hold no files")
            shard, offset, number = shard + self.world, 0, 0

    def _read(self, path: str, offset: int) -> Iterator[Sample]:
        endings = PICTURES if self.source.kind == "image" else VIDEOS
        try:
            file = shard_urls.open_shard(path)
        except Exception as error:  # of any remote file system
            yield Sample("", 0, flaw=f"cannot be opened ({' '.join(str(error).split())})")
            return
        with file:
            yield from samples(file, offset, endings, labeled=self.source.labeled)

    def blocks(self, shard: int, offset: int, number: int) -> Iterator[list[_Entry]]:
        """The samples in blocks that are shuffled each by itself; none goes on into the next epoch."""
        block: list[_Entry] = []
        for entry in self.entries(shard, offset, number):
            epoch = entry.shard // len(self.paths)
            if len(block) == self.source.window or (block and block[0].shard // len(self.paths) != epoch):
                yield block
                block = []
            block.append(entry)

    def looks(self, state: State, spec: ClipSpec, broken: dict[str, str]) -> Iterator[ClipRequest]:
        """Jobs from a state on; of what is known to be broken, one that fails at once."""
        given: int = state["given"]
        for block in self.blocks(state["shard"], state["offset"], state["number"]):
            first = block[0]
            start = {"shard": first.shard, "offset": first.sample.offset, "number": first.number}
            rng = np.random.default_rng([SHARDS, 1, self.seed, first.shard, first.number])
            for i, which in list(enumerate(rng.permutation(len(block)), 1))[given:]:
                entry = block[which]
                yield ClipRequest(
                    id=entry.id,
                    path=entry.sample.name,
                    sampler=self.source.sampler,
                    frames=spec.frames,
                    size=spec.size,
                    seeds=(SHARDS, 2, self.seed, entry.shard, entry.number),
                    after={**start, "given": i},
                    label=entry.sample.label,
                    content=entry.sample.content,
                    flaw=entry.sample.flaw or broken.get(entry.id, ""),
                )
            given = 0


def _items(
    walk: _Walk, spec: ClipSpec, state: State, broken: dict[str, str], *, workers: int
) -> Generator[ClipItem, None, None]:
    """The clips from a state on. ValueError when nothing can be read for more than an epoch of every rank."""
    good = state["shard"] // len(walk.paths)
    jobs = walk.looks(state, spec, broken)
    for job, seen in views(jobs, workers=workers, frames=spec.frames, size=spec.size):
        epoch = job.after["shard"] // len(walk.paths)
        if not isinstance(seen, Failed):
            good = epoch
            yield ClipItem(job.id, job.after, seen, job.label)
            continue
        broken[job.id] = seen.cause
        yield ClipItem(job.id, job.after, None, why=seen.cause)
        if epoch > good + walk.world:
            raise UserError(f"{walk.source.patterns[0]}: no {walk.source.kind} can be read; {job.id}: {seen.cause}")
