"""WebDataset tar shards as training data: streamed without extraction, shuffled, resumable at any sample."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from vitascope.core.text import nearest
from vitascope.core.types import LATER, digest
from vitascope.core.worker_pool import Failed
from vitascope.datasets.readers import shard_urls
from vitascope.datasets.readers.tar_reader import Sample, iter_samples
from vitascope.pretrain.data.base import ClipSpec, State, check_rank
from vitascope.pretrain.data.clip_decoder import ClipRequest, check_repeat, decode_clips, inspect_content
from vitascope.pretrain.data.division import Stream, divide, first_place, places
from vitascope.pretrain.data.folder import DRAW
from vitascope.pretrain.data.prefetch import ClipItem, PrefetchReader
from vitascope.pretrain.data.short_videos import LOOKED, Look, short_note
from vitascope.sampling.names import Sampler

SHARDS = int.from_bytes(b"tars")
"""Seed component that keeps the random generators of this source distinct."""
KINDS = ("video", "image")


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The samples of tar files as an endless source: shards are shuffled per epoch, samples within blocks of `window`.

    `pattern` is a name with braces (`data-{000..012}.tar`), a glob, a URL that fsspec supports, or several of these.
    Members whose names agree up to the first dot form a sample: a video or image and, with `labeled`, a class index in
    `.cls`, or under "label" or "cls" in `.json`; parts after a dot that begin with a digit belong to the key, and of
    several videos of one key each is a sample. Ranks take turns at the shards; the order of the clips does not depend
    on the number of workers. One block of encoded samples is held in memory. `repeat` is that of `VideoFolder`.
    """

    pattern: str | tuple[str, ...]
    kind: Literal["video", "image"] = "video"
    labeled: bool = False
    sampler: Sampler = DRAW
    window: int = 128
    name: str = ""
    pretraining_datasets: tuple[str, ...] = ()
    repeat: int = field(default=1, metadata=LATER)

    def __post_init__(self) -> None:
        first = next(iter(self.patterns), "")
        if self.kind not in KINDS:
            raise UserError(f"{first}: kind {self.kind!r}{nearest(self.kind, KINDS)}; use {' or '.join(KINDS)}")
        if self.window < 1:
            raise UserError(f"{first}: samples are shuffled within a window of at least 1, not {self.window}")
        check_repeat(first, self.repeat, self.sampler)
        stem = re.match(r"\w*[A-Za-z0-9]", first.rpartition("/")[2])
        object.__setattr__(self, "name", self.name or (stem[0] if stem else "shards"))
        object.__setattr__(self, "pretraining_datasets", self.pretraining_datasets or (self.name,))

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns as a tuple."""
        return (self.pattern,) if isinstance(self.pattern, str) else self.pattern

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> PrefetchReader:
        """List the shards; `workers` processes decode (0: one thread). Raises UserError if any is missing."""
        check_rank(rank, world)
        paths = shard_urls.list_shards(self.patterns)
        if rank == 0 and (note := _note(self, paths, spec)):
            log.warning(note)
        order = _ShardOrder(self, paths, seed, world)
        spec = ClipSpec(1 if self.kind == "image" else spec.frames, spec.size)
        items = partial(_items, order, spec, workers=workers)
        contents = [paths, self.kind, self.labeled, self.window]
        return PrefetchReader(
            self.name,
            items,
            {"streams": [{"next": rank, "step": world, "until": None}]},
            data=digest(contents),
            former=digest([*contents, rank, world]),
            merge=partial(_divided, rank=rank, world=world),
        )

    def note(self, spec: ClipSpec) -> str:
        """One line about short videos, after a look at the first ones of the first shard; empty if there are none."""
        return _note(self, shard_urls.list_shards(self.patterns), spec)


def _note(source: Shards, paths: list[str], spec: ClipSpec) -> str:
    if source.kind == "image":
        return ""
    samples = islice(_read_shard(source, paths[0], 0), LOOKED)
    look = Look.at(samples, lambda sample: inspect_content(sample.name, sample.content or b""))
    return short_note(source.name, source.sampler, spec.frames, look)


def _read_shard(source: Shards, path: str, offset: int) -> Iterator[Sample]:
    """Yield the samples of a shard from byte `offset` on; one that cannot be opened gives an error."""
    extensions = IMAGE_SUFFIXES if source.kind == "image" else VIDEO_SUFFIXES
    try:
        file = shard_urls.open_shard(path)
    except Exception as error:  # of any remote file system
        yield Sample("", 0, error=f"cannot be opened ({' '.join(str(error).split())})")
        return
    with file:
        yield from iter_samples(file, offset, extensions, labeled=source.labeled)


class _Entry(NamedTuple):
    """A sample with its position in the sequence."""

    shard: int
    """Number of its shard, counted over all epochs."""
    number: int
    """Index of the sample within its shard."""
    path: str
    sample: Sample

    @property
    def id(self) -> str:
        return f"{self.path}#{self.sample.key}" if self.sample.key else self.path


class _ShardOrder(NamedTuple):
    """Order in which the ranks read the shards, epoch by epoch."""

    source: Shards
    paths: list[str]
    seed: int
    world: int

    def path(self, shard: int) -> str:
        epoch, position = divmod(shard, len(self.paths))
        order = np.random.default_rng([SHARDS, 0, self.seed, epoch]).permutation(len(self.paths))
        return self.paths[int(order[position])]

    def entries(self, stream: Stream) -> Iterator[_Entry]:
        """Yield the samples of a stream of shards. Raises UserError if all shards are empty."""
        empty_shards, offset, number = 0, stream.get("offset", 0), stream.get("number", 0)
        for shard in places(stream):
            path = self.path(shard)
            for sample in _read_shard(self.source, path, offset):
                yield _Entry(shard, number, path, sample)
                number += 1
                empty_shards = -1
            empty_shards += 1
            if empty_shards > len(self.paths):
                raise UserError(f"{self.source.patterns[0]}: the {len(self.paths)} shards contain no files")
            offset = number = 0

    def blocks(self, stream: Stream) -> Iterator[list[_Entry]]:
        """Yield the samples in blocks, to be shuffled one by one; no block extends into the next epoch."""
        block: list[_Entry] = []
        for entry in self.entries(stream):
            epoch = entry.shard // len(self.paths)
            if len(block) == self.source.window or (block and block[0].shard // len(self.paths) != epoch):
                yield block
                block = []
            block.append(entry)
        if block:
            yield block

    def requests(self, state: State, spec: ClipSpec, broken: dict[str, str]) -> Iterator[ClipRequest]:
        """Yield decoding requests from a state on; for samples known to be broken, requests that fail at once."""
        streams = _streams(state, self.world)
        for number, stream in enumerate(streams, 1):
            rest = streams[number:]
            given, clip = stream.get("given", 0), stream.get("clip", 0)
            for block in self.blocks(stream):
                for i, entry in list(enumerate(self._shuffled(block), 1))[given:]:
                    start = _at(stream, block) | {"given": i - 1}
                    after = [*({**start, "clip": n} for n in range(1, self.source.repeat)), {**start, "given": i}]
                    states = tuple({"streams": [one, *rest]} for one in after)
                    yield self._request(entry, spec, broken)._replace(states=states, given=clip)
                    clip = 0
                given = 0

    def _shuffled(self, block: list[_Entry]) -> list[_Entry]:
        rng = np.random.default_rng([SHARDS, 1, self.seed, block[0].shard, block[0].number])
        return [block[i] for i in rng.permutation(len(block))]

    def _request(self, entry: _Entry, spec: ClipSpec, broken: dict[str, str]) -> ClipRequest:
        return ClipRequest(
            id=entry.id,
            path=entry.sample.name,
            sampler=self.source.sampler,
            frames=spec.frames,
            size=spec.size,
            seeds=(SHARDS, 2, self.seed, entry.shard, entry.number),
            states=(),
            label=entry.sample.label,
            content=entry.sample.content,
            error=entry.sample.error or broken.get(entry.id, ""),
        )


def _at(stream: Stream, block: list[_Entry]) -> Stream:
    """The stream from the start of a block on."""
    first = block[0]
    where = {"next": first.shard, "offset": first.sample.offset, "number": first.number, "last": block[-1].shard}
    return {**where, "step": stream["step"], "until": stream["until"]}


def _streams(state: State, world: int) -> list[Stream]:
    """The streams of a state; one of a version before streams has one."""
    if "streams" in state:
        return list(state["streams"])
    return [{**state, "next": state["shard"], "step": world, "until": None}]


def _divided(states: Sequence[State], rank: int, world: int) -> State:
    """The state of `rank` of `world` after those of all of another number of processes."""
    streams = [_streams(state, len(states)) for state in states]
    left, base = divide(streams, rank, world)
    return {"streams": [*left, {"next": first_place(base, rank, world), "step": world, "until": None}]}


def _items(
    order: _ShardOrder, spec: ClipSpec, state: State, broken: dict[str, str], *, workers: int
) -> Generator[ClipItem, None, None]:
    """Yield the clips from a state on. Raises UserError if nothing is readable for more than one epoch of all ranks."""
    last_readable = _streams(state, order.world)[0]["next"] // len(order.paths)
    requests = order.requests(state, spec, broken)
    for request, number, pixels in decode_clips(requests, workers=workers, frames=spec.frames, size=spec.size):
        epoch = request.seeds[-2] // len(order.paths)
        if not isinstance(pixels, Failed):
            last_readable = epoch
            yield ClipItem(request.id, request.states[number], pixels, request.label)
            continue
        broken[request.id] = pixels.cause
        yield ClipItem(request.id, request.states[-1], None, error=pixels.cause)
        if epoch > last_readable + order.world:
            where = f"{order.source.patterns[0]}: no {order.source.kind} is readable"
            raise UserError(f"{where}; {request.id}: {pixels.cause}")
