"""Extraction: decode in worker processes, encode clips in batches, reduce tokens, write to the store; resumable.

Examples are split into blocks in a fixed order. A block is claimed by a lock that is freed when its holder dies,
encoded in batches that never cross its boundary, and written at once. A killed run therefore loses only its unfinished
blocks, several processes can share the work, and every process forms the same batches of a block: the same bits.
Several encoders share the decoding of every video, and each forms the batches that it would form alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.progress import EncodingProgress, ProgressLine
from vitascope.core.types import Card, Dataset, Example
from vitascope.core.worker_pool import Group, Pool
from vitascope.encoders.base import Encoder
from vitascope.encoders.compiled import CompiledEncoder
from vitascope.encoders.precomputed import Release
from vitascope.features.batch_size import DEFAULT_BATCH, fastest_batch
from vitascope.features.batching import refuse_mixed
from vitascope.features.cluster_pool import ClusterJob, ClusterPool
from vitascope.features.collector import Collector
from vitascope.features.decode_group import decode_together, group_size, groups
from vitascope.features.decode_job import Changed, DecodeJob, decode_example
from vitascope.features.encode import encode_batch, encode_views
from vitascope.features.extraction_options import ExtractionOptions as ExtractionOptions
from vitascope.features.extraction_options import ExtractionSummary as ExtractionSummary
from vitascope.features.extraction_options import store_key as store_key
from vitascope.features.freshness import Freshness
from vitascope.features.gpu_lane import lane_to
from vitascope.features.released import copy_published
from vitascope.features.store import Store
from vitascope.features.timing import encode_seconds, noise_clips
from vitascope.features.view import View

SLOTS = 32
"""Most clips that a decoding process keeps ready for the encoder."""
ATTEMPTS = 3
"""Times that a file is read which changes while it is read."""
OpenPool = Callable[[Sequence[Collector]], Pool[DecodeJob] | ClusterPool]
"""Gives what decodes for collectors."""


def batch_for(encoder: Encoder, options: ExtractionOptions) -> int:
    """Return the clips per batch of an encoder, found by trying where that is asked for and the device is a GPU."""
    if options.batch or torch.device(options.device).type != "cuda":
        return options.batch or DEFAULT_BATCH
    if isinstance(encoder, CompiledEncoder):
        return encoder.size
    return fastest_batch(encoder.card, torch.device(options.device), partial(_batch_seconds, encoder, options.device))


def _batch_seconds(encoder: Encoder, device: str, count: int) -> float:
    """Return the seconds that a GPU takes for `count` clips, the fastest of a few times."""
    pixels = noise_clips(encoder.card, count, device)
    return min([encode_seconds(encoder, pixels, device) for _ in range(4)][1:])


def decoder_pool(card: Card, options: ExtractionOptions, *others: Card) -> Pool[DecodeJob]:
    """Return a pool of workers that decode clips for encoders, with shared memory for one batch."""
    return Pool(
        decode_example,
        workers=options.processes,
        slots=min(options.batch or DEFAULT_BATCH, SLOTS) + 1,
        slot_bytes=max(c.frames * c.size * c.size * 3 for c in (card, *others)),
        timeout=options.timeout,
        ahead=(options.batch or DEFAULT_BATCH) // options.processes + 1,
        together=decode_together,
    )


def decoders(card: Card, options: ExtractionOptions, workers: int) -> Pool[DecodeJob]:
    """Return a pool of so many workers."""
    return decoder_pool(card, replace(options, workers=workers))


def embed(
    encoder: Encoder,
    dataset: Dataset[Any],
    views: Sequence[View],
    *,
    root: Path,
    options: ExtractionOptions | None = None,
) -> ExtractionSummary:
    """Encode the examples of `dataset` that the store below `root` lacks, through every view.

    Raises UserError if no video could be embedded, OSError if the disk is full.
    """
    (embedded,) = embed_together([(encoder, views)], dataset, root=root, options=options)
    if isinstance(embedded, UserError):
        raise embedded
    return embedded


def embed_together(
    encoders: Sequence[tuple[Encoder, Sequence[View]]],
    dataset: Dataset[Any],
    *,
    root: Path,
    options: ExtractionOptions | None = None,
) -> list[ExtractionSummary | UserError]:
    """Like `embed` for several encoders, each with its views; the frames of a video are decoded once for all of them.

    The stores are those of separate calls, bit for bit. Returns for each encoder its summary, or what it failed by,
    which keeps no other from going on. Raises OSError if the disk is full.
    """
    options = options or ExtractionOptions()
    outcomes: dict[int, ExtractionSummary | UserError] = {}
    left = dict(enumerate(encoders))
    while left:
        together: dict[int, Collector] = {}
        progress, folders = EncodingProgress("", 0), set[Path]()
        pool: OpenPool = partial(_local_pool, options)
        for number, (encoder, views) in list(left.items()):
            stores = {v: Store(root, store_key(dataset, encoder.card, v)) for v in views}
            if isinstance(encoder, Release):
                outcomes[number] = _attempt(partial(_embed_released, encoder, dataset, stores, options))
            elif folders.isdisjoint(found := {store.folder for store in stores.values()}) and not (
                together and options.on  # the actors of a cluster have one encoder
            ):
                folders |= found
                together[number] = collector = _collector(encoder, dataset, stores, options, progress=progress)
                pool = partial(_cluster_pool, encoder, collector, options) if options.on else pool
            else:  # the same vectors twice: the second time they are there
                continue
            del left[number]
        extraction = _Extraction(list(together.values()), dataset, options, pool, progress=progress)
        outcomes |= zip(together, extraction.run(), strict=True)
    return [outcomes[number] for number in range(len(encoders))]


def _embed_released(
    release: Release, dataset: Dataset[Any], stores: Mapping[View, Store], options: ExtractionOptions
) -> ExtractionSummary:
    if options.shard.of > 1:
        raise UserError(f"{release.card.name}: published vectors are copied, not computed; leave out --shard")
    missing = copy_published(release, dataset, stores)
    return ExtractionSummary(missing, encoded=len(dataset.examples) - len(dataset.missing_files) - len(missing))


def _collector(
    encoder: Encoder,
    dataset: Dataset[Any],
    stores: Mapping[View, Store],
    options: ExtractionOptions,
    *,
    progress: EncodingProgress,
) -> Collector:
    """Return what encodes and stores decoded clips; on a cluster, where others encode, it only stores."""
    grids = any(view.reduce != "clip" for view in stores)
    return Collector(
        encoder.card,
        stores,
        partial(encode_batch, encoder, list(stores), options.device),
        check=partial(refuse_mixed, dataset.name, encoder.card.name, grids=grids),
        batch=batch_for(encoder, options),
        progress=progress,
        lane=None if options.on else lane_to(options.device),
    )


def _local_pool(options: ExtractionOptions, working: Sequence[Collector]) -> Pool[DecodeJob]:
    """Return processes of this machine that decode for these collectors."""
    cards = [collector.card for collector in working]
    return decoder_pool(cards[0], options, *cards[1:])


def _cluster_pool(
    encoder: Encoder, collector: Collector, options: ExtractionOptions, working: Sequence[Collector]
) -> ClusterPool:
    """Return actors of a cluster that decode for this collector and also encode."""
    return ClusterPool(
        ClusterJob(
            on=options.on,
            encoder=encoder,
            views=tuple(collector.stores),
            decoders=partial(decoders, encoder.card, options),
            encode=encode_views,
            check=collector.check,
            batch=options.batch or DEFAULT_BATCH,
            device=options.cluster_device,
            workers=options.workers,
            blocks=len(collector.todo),
        )
    )


class _Extraction:
    """One pass through the videos of a dataset for all encoders that lack vectors of them."""

    def __init__(
        self,
        collectors: Sequence[Collector],
        dataset: Dataset[Any],
        options: ExtractionOptions,
        pool: OpenPool,
        *,
        progress: EncodingProgress,
    ) -> None:
        self.collectors, self.dataset, self.options, self.pool = collectors, dataset, options, pool
        self.progress = progress
        self.fresh = Freshness(retry_failed=options.retry_failed)
        self.available = [e for e in dataset.examples if e.id not in dataset.missing_files]
        self.blocks = dict(options.shard.blocks(self.available))
        self.wanted = [e for block in self.blocks.values() for e in block]
        """Examples of the shard that have a file."""
        self.failed: dict[Collector, UserError] = {}
        """Encoders that cannot go on, and why."""
        self.waiting = False

    def run(self) -> list[ExtractionSummary | UserError]:
        for collector in self.collectors:
            self._guarded(collector, partial(self._look, collector))
        working = self._working()
        seconds = self._encode(working) if working else {}
        for collector in self.collectors:
            seconds.setdefault(collector, {})
        return [self._summary(c, seconds[c]) for c in self.collectors]

    def _look(self, collector: Collector) -> None:
        """Let a collector note what its stores lack, and record in them which shard this is."""
        collector.look(self.blocks, self.fresh)
        if self.options.shard.of > 1:
            for store in collector.stores.values():
                self.options.shard.record(store.folder, self.available, self.wanted)

    def _working(self) -> list[Collector]:
        """The encoders that still have something to do."""
        return [c for c in self.collectors if c.todo and c not in self.failed]

    def _guarded(self, collector: Collector, act: Callable[[], object]) -> None:
        """Let an encoder that fails give up its blocks, so that the others go on."""
        try:
            act()
        except UserError as error:
            self.failed[collector] = error
            collector.close()

    def _summary(self, collector: Collector, seconds: Mapping[str, float]) -> ExtractionSummary | UserError:
        if collector in self.failed:
            return self.failed[collector]
        try:
            failures, notes = collector.seal(self.wanted)
        except UserError as error:
            return error
        if self.wanted and len(failures) == len(self.wanted):
            example, why = next(iter(failures.items()))
            return UserError(
                f"{self.dataset.name}: none of {len(failures)} videos could be embedded; first: {example}: {why}"
            )
        return ExtractionSummary(failures, notes, collector.encoded, collector.clips, seconds)

    def _encode(self, working: Sequence[Collector]) -> dict[Collector, Mapping[str, float]]:
        """Encode what is missing; return the seconds of each encoder, whose parts of the decoding are equal."""
        cards = [c.card for c in working]
        self.progress.label = f"{cards[0].name if len(cards) == 1 else f'{len(cards)} encoders'} on {self.dataset.name}"
        self.progress.total = sum(len(block) for c in working for block in c.todo.values())
        self.progress.started = time.monotonic()
        pool = self.pool(working)
        try:
            with pool, ProgressLine(self.progress, quiet=self.options.quiet) as line:
                for _ in range(ATTEMPTS):
                    self._work(pool, line)
                    self._look_again()
        finally:
            for collector in working:
                collector.close()
        wall, decode = self.progress.seconds, pool.busy * self.progress.seconds / len(working)
        spent = {c: decode + c.batcher.seconds for c in working}
        share = {c: s / (sum(spent.values()) or 1.0) for c, s in spent.items()}
        return {c: {"embed": wall * share[c], "decode": decode, "encode": c.batcher.seconds} for c in working}

    def _work(self, pool: Pool[DecodeJob] | ClusterPool, line: ProgressLine) -> None:
        """Encode the blocks that are left, except those that other processes finish."""
        while self._working():
            for job, message, pixels in pool.run(self._claim()):
                for collector in (self.collectors[k] for k in job.readers):
                    if collector not in self.failed:
                        self._guarded(collector, partial(collector.take, job, message, pixels))
                self._show(pool, line)
                if len(self.failed) == len(self.collectors):
                    break
            if left := self._working():  # other processes hold these blocks and will finish them, or die and free them
                self._say_waiting(max(len(c.todo) for c in left))
                time.sleep(0.5)

    def _show(self, pool: Pool[DecodeJob] | ClusterPool, line: ProgressLine) -> None:
        self.progress.decode_busy = pool.busy
        encoding = sum(c.batcher.seconds for c in self.collectors)
        self.progress.encode_busy = encoding / max(self.progress.seconds, 1e-9)
        line.tick()

    def _say_waiting(self, count: int) -> None:
        if not self.waiting:
            log.info("waiting for other processes that embed the last %d blocks of %s", count, self.dataset.name)
        self.waiting = True

    def _look_again(self) -> None:
        """Note for every encoder the examples whose files changed while they were read."""
        for example in sorted({e for c in self.collectors for e in c.changed}):
            log.warning("%s: %s", example, Changed().cause)
        for collector in self.collectors:
            again = {name: [e for e in block if e.id in collector.changed] for name, block in self.blocks.items()}
            collector.todo = {name: block for name, block in again.items() if block}
            collector.changed.clear()

    def _claim(self) -> Iterator[Group[DecodeJob]]:
        """Yield the jobs of every block that no other process holds."""
        for name, block in self.blocks.items():
            lacking: dict[str, list[int]] = {}
            for number, collector in enumerate(self.collectors):
                if collector not in self.failed:
                    for example in collector.claim(name, self.fresh):
                        lacking.setdefault(example.id, []).append(number)
            size = group_size(self.progress.total // len(self.collectors), self.options.processes)
            yield from groups((job for e in block for job in self._jobs(name, e, lacking.get(e.id, ()))), size)

    def _jobs(self, block: str, e: Example[Any], numbers: Sequence[int]) -> Iterator[DecodeJob]:
        """Yield a job for each kind of pixels that the encoders of these numbers need."""
        kinds: dict[Any, list[int]] = {}
        for number in numbers:
            kinds.setdefault(self.collectors[number].pixels, []).append(number)
        for same in kinds.values():
            first, full = self.collectors[same[0]], self.options.full_digest
            yield DecodeJob(block, e.id, e.path, e.span, e.fps, first.samplers, first.card, full, readers=tuple(same))


def _attempt(act: Callable[[], ExtractionSummary]) -> ExtractionSummary | UserError:
    try:
        return act()
    except UserError as error:
        return error
