"""Extraction: decode in worker processes, encode clips in batches, reduce tokens, write to the store; resumable.

Examples are split into blocks in a fixed order. A block is claimed by a lock that is freed when its holder dies,
encoded in batches that never cross its boundary, and written at once. A killed run therefore loses only its unfinished
blocks, several processes can share the work, and every process forms the same batches of a block: the same bits.
Several encoders share the decoding of every video, and each forms the batches that it would form alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.progress import EncodingProgress, ProgressLine
from vitascope.core.types import Card, Dataset, Example
from vitascope.core.worker_pool import Group, Pool
from vitascope.encoders.base import Encoder, Tokens, call, shape_problem
from vitascope.encoders.layers import block_means
from vitascope.encoders.precomputed import Release
from vitascope.encoders.preprocess import to_tensor
from vitascope.features.blocks import blocks
from vitascope.features.collector import Collector
from vitascope.features.decode_group import decode_together, group_size, groups
from vitascope.features.decode_job import Changed, DecodeJob, decode_example
from vitascope.features.freshness import Freshness
from vitascope.features.imports.twelvelabs import copy_released, granularity_for
from vitascope.features.layers import layer_number
from vitascope.features.store import Key, Store
from vitascope.features.view import Reduce, View
from vitascope.sampling.names import MultiClip, Uniform, altered, describe

PIPELINE = 2
"""Version of decoding and pixel arithmetic; incremented whenever the same file would yield different pixels."""
ATTEMPTS = 3
"""Times that a file is read which changes while it is read."""


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """How to run extraction; no option changes a vector."""

    device: str = "cpu"
    workers: int = 0
    """Decoding processes; 0: all cores but one, which is left to the encoder."""
    batch: int = 8
    """Clips per encoder batch."""
    timeout: float = 60.0
    """Seconds without a frame after which a video counts as failed."""
    retry_failed: bool = False
    """Retry examples that failed before."""
    full_digest: bool = False
    """Identify video files by all their bytes, not by samples of them."""
    quiet: bool = False
    """Print no progress."""

    @property
    def processes(self) -> int:
        """Number of decoding processes, with 0 resolved."""
        return self.workers or max(1, (os.cpu_count() or 2) - 1)


@dataclass(frozen=True)
class ExtractionSummary:
    """Summary of an extraction."""

    failures: Mapping[str, str] = field(default_factory=dict)
    """{example id: why it has no vector}, over all views."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """{example id: warnings about a video that was decoded anyway}."""
    encoded: int = 0
    """Examples encoded now."""
    clips: int = 0
    """Clips encoded now."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time by phase: embed (wall clock), decode, encode."""


def encode_clips(encoder: Encoder, pixels: UInt8[Tensor, "n t y x 3"], *, device: str = "cpu") -> Tokens:
    """Normalize clips and run the encoder without autograd, at the precision its card states.

    Raises UserError if the output does not have the shape that the card states.
    """
    half = encoder.card.precision == "bfloat16"
    with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16) if half else nullcontext():
        tokens: Tokens = call(encoder, to_tensor(pixels.to(device), encoder.card))
    wrong = shape_problem(tokens, encoder.card, len(pixels))
    if wrong:
        raise UserError(f"{encoder.card.name} returned {wrong}; run `vitascope check`")
    return tokens


def reduce_tokens(tokens: Tokens, reduce: Reduce) -> Tensor:
    """Reduce tokens as a view asks; see `features.view.Reduce`."""
    if reduce == "clip":
        return tokens.clip
    return tokens.grid.mean((2, 3)) if reduce == "time" else tokens.grid


def encode_views(
    encoder: Encoder, pixels: UInt8[Tensor, "n t y x 3"], views: Sequence[View], *, device: str = "cpu"
) -> dict[View, Tensor]:
    """Encode clips once, and return what each of `views` reads of them: outputs of the encoder, or of its blocks."""
    layers = {view: layer_number(view.layer) for view in views if view.layer}
    with block_means(encoder, sorted(set(layers.values())), len(pixels)) as means:
        tokens = encode_clips(encoder, pixels, device=device)
    return {v: means[layers[v]] if v in layers else reduce_tokens(tokens, v.reduce) for v in views}


def decoder_pool(card: Card, options: ExtractionOptions, *others: Card) -> Pool[DecodeJob]:
    """Return a pool of workers that decode clips for encoders, with shared memory for one batch."""
    return Pool(
        decode_example,
        workers=options.processes,
        slots=options.batch + 1,
        slot_bytes=max(c.frames * c.size * c.size * 3 for c in (card, *others)),
        timeout=options.timeout,
        ahead=options.batch // options.processes + 1,
        together=decode_together,
    )


def store_key(dataset: Dataset[Any], card: Card, view: View) -> Key:
    """Return the key under which the vectors of `dataset` through `view` are stored."""
    name = dataset.key or dataset.name
    return Key(dataset=name, card=card, sampler=view.sampler, reduce=view.reduce, pipeline=PIPELINE, layer=view.layer)


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
        for number, (encoder, views) in list(left.items()):
            stores = {v: Store(root, store_key(dataset, encoder.card, v)) for v in views}
            if isinstance(encoder, Release):
                outcomes[number] = _attempt(partial(_embed_released, encoder, dataset, views, root))
            elif folders.isdisjoint(found := {store.folder for store in stores.values()}):
                folders |= found
                encode = partial(_encode_batch, encoder, list(views), options.device)
                together[number] = Collector(encoder.card, stores, encode, batch=options.batch, progress=progress)
            else:  # the same vectors twice: the second time they are there
                continue
            del left[number]
        extraction = _Extraction(list(together.values()), dataset, options, progress)
        outcomes |= zip(together, extraction.run(), strict=True)
    return [outcomes[number] for number in range(len(encoders))]


def _embed_released(release: Release, dataset: Dataset[Any], views: Sequence[View], root: Path) -> ExtractionSummary:
    """Copy published vectors into the store: one vector per video, or one per clip."""
    for view in views:
        if changed := altered(view.sampler):
            raise UserError(
                f"{release.card.name}: embeddings of {changed} clips cannot be made of published ones, which are of "
                "the clips as they were; evaluate an encoder on the videos"
            )
        if not isinstance(view.sampler, (Uniform, MultiClip)) or view.reduce != "clip":
            raise UserError(
                f"{release.card.name}: no published vectors for view {describe(view.sampler)}; published are "
                "uniform and multiclip"
            )
    available = replace(dataset, examples=tuple(e for e in dataset.examples if e.id not in dataset.missing_files))
    missing: dict[str, str] = {}
    for view in views:
        store = Store(root, store_key(dataset, release.card, view))
        missing |= copy_released(release, available, store, granularity_for(view.sampler))
    if len(missing) == len(available.examples):
        example, why = next(iter(missing.items()))
        raise UserError(
            f"{dataset.name}: no published vectors for any of {len(missing)} videos; first: {example}: {why}"
        )
    return ExtractionSummary(missing, encoded=len(available.examples) - len(missing))


def _encode_batch(
    encoder: Encoder, views: Sequence[View], device: str, pixels: UInt8[Tensor, "n t y x 3"]
) -> dict[View, npt.NDArray[np.float32]]:
    encoded = encode_views(encoder, pixels, views, device=device)
    return {view: values.float().cpu().numpy() for view, values in encoded.items()}


class _Extraction:
    """One pass through the videos of a dataset for all encoders that lack vectors of them."""

    def __init__(
        self,
        collectors: Sequence[Collector],
        dataset: Dataset[Any],
        options: ExtractionOptions,
        progress: EncodingProgress,
    ) -> None:
        self.collectors, self.dataset, self.options, self.progress = collectors, dataset, options, progress
        self.fresh = Freshness(retry_failed=options.retry_failed)
        self.wanted = [e for e in dataset.examples if e.id not in dataset.missing_files]
        self.blocks = dict(blocks(self.wanted))
        self.failed: dict[Collector, UserError] = {}
        """Encoders that cannot go on, and why."""
        self.waiting = False

    def run(self) -> list[ExtractionSummary | UserError]:
        for collector in self.collectors:
            self._guarded(collector, partial(collector.look, self.blocks, self.fresh))
        working = self._working()
        seconds = self._encode(working) if working else {}
        for collector in self.collectors:
            seconds.setdefault(collector, {})
        return [self._summary(c, seconds[c]) for c in self.collectors]

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
        pool = decoder_pool(cards[0], self.options, *cards[1:])
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

    def _work(self, pool: Pool[DecodeJob], line: ProgressLine) -> None:
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

    def _show(self, pool: Pool[DecodeJob], line: ProgressLine) -> None:
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
