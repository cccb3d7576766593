"""Extraction: decode in worker processes, encode clips in batches, reduce tokens, write to the store; resumable.

Examples are split into blocks in a fixed order. A block is claimed by a lock that is freed when its holder dies,
encoded in batches that never cross its boundary, and written at once. A killed run therefore loses only its unfinished
blocks, several processes can share the work, and every process forms the same batches of a block: the same bits.
"""

from __future__ import annotations

import math
import os
import time
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.file_identity import FileIdentity
from vitascope.core.log import log
from vitascope.core.progress import EncodingProgress, ProgressLine
from vitascope.core.types import Card, Dataset, Example, digest
from vitascope.core.worker_pool import Failed, Group, Pool
from vitascope.encoders.base import Encoder, Tokens, call, shape_problem
from vitascope.encoders.layers import block_means
from vitascope.encoders.precomputed import Release
from vitascope.encoders.preprocess import to_tensor
from vitascope.features.batching import ClipBatcher
from vitascope.features.claims import Claims
from vitascope.features.decode_group import decode_together, group_size, groups
from vitascope.features.decode_job import Changed, ClipHeader, ClipIndex, DecodeJob, Message, Pixels, decode_example
from vitascope.features.freshness import Freshness, file_size
from vitascope.features.imports.twelvelabs import copy_released, granularity_for
from vitascope.features.layers import layer_number
from vitascope.features.pending import FinishedExample, PendingExample
from vitascope.features.store import EmbeddedExample, Key, Store, StoredEntry
from vitascope.features.view import Reduce, View
from vitascope.sampling.names import MultiClip, Uniform, altered, describe

PIPELINE = 2
"""Version of decoding and pixel arithmetic; incremented whenever the same file would yield different pixels."""
BLOCK_EXAMPLES = 128
BLOCK_BYTES = 256 << 20
"""Limits of a block: examples, and bytes of their files."""
BLOCK_SECONDS = 1800.0
"""Limit up to which a block of more bytes takes further spans of its last file, seconds of all its spans together."""
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


def blocks(examples: Sequence[Example[Any]]) -> Iterator[tuple[str, list[Example[Any]]]]:
    """Split `examples`, in their order, into named blocks of limited count and total file size."""
    block: list[Example[Any]] = []
    sizes: dict[str, int] = {}
    for example in examples:
        if len(block) == BLOCK_EXAMPLES or (sum(sizes.values()) >= BLOCK_BYTES and not _goes_on(block, example)):
            yield digest([e.id for e in block]), block
            block, sizes = [], {}
        block.append(example)
        sizes[example.path] = file_size(example.path)
    if block:
        yield digest([e.id for e in block]), block


def _goes_on(block: Sequence[Example[Any]], example: Example[Any]) -> bool:
    """Whether an example is a span of the same file as the last of a block whose spans are short all together."""
    spans = [e.span for e in block if e.path == example.path]
    return bool(spans) and sum(s[1] - s[0] if s else math.inf for s in [*spans, example.span]) <= BLOCK_SECONDS


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


def decoder_pool(card: Card, options: ExtractionOptions) -> Pool[DecodeJob]:
    """Return a pool of workers that decode clips for an encoder, with shared memory for one batch."""
    return Pool(
        decode_example,
        workers=options.processes,
        slots=options.batch + 1,
        slot_bytes=card.frames * card.size * card.size * 3,
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
    if isinstance(encoder, Release):
        return _embed_released(encoder, dataset, views, root)
    return _Extraction(encoder, dataset, views, root, options or ExtractionOptions()).run()


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


class _Extraction:
    """State of one extraction: claimed blocks, clips waiting for the encoder, examples in progress."""

    def __init__(
        self, encoder: Encoder, dataset: Dataset[Any], views: Sequence[View], root: Path, options: ExtractionOptions
    ) -> None:
        self.encoder, self.dataset, self.options = encoder, dataset, options
        self.stores = {v: Store(root, store_key(dataset, encoder.card, v)) for v in views}
        self.samplers = tuple(dict.fromkeys(v.sampler for v in views))
        self.claims = Claims()
        self.remaining: dict[str, int] = {}
        self.pending: dict[str, PendingExample] = {}
        self.files: dict[str, FileIdentity] = {}
        """Identity of the file of an example when its decoding began, by example."""
        self.fresh = Freshness(retry_failed=options.retry_failed)
        self.held: dict[View, set[str]] = {v: set() for v in views}
        """Examples that a store holds, though another one lacks them."""
        self.changed: set[str] = set()
        """Examples whose files changed while they were read."""
        self.batcher = ClipBatcher(self.options.batch, self._encode_batch, self._deliver)
        self.finished: list[FinishedExample] = []
        self.snapshots: dict[Store, tuple[int, dict[str, StoredEntry]]] = {}
        self.encoded = 0
        self.waiting = False
        self.progress = EncodingProgress(f"{encoder.card.name} on {dataset.name}", 0)

    def run(self) -> ExtractionSummary:
        todo = self._todo()
        seconds = self._encode(todo) if todo else {}
        for store in self.stores.values():
            store.seal()
        statuses = [store.status() for store in self.stores.values()]
        wanted = {e.id for e in self.dataset.examples if e.id not in self.dataset.missing_files}
        failures = {e: k.status for entries in statuses for e, k in entries.items() if k.status != "ok" and e in wanted}
        notes = {e: k.note for entries in statuses for e, k in entries.items() if k.note and e in wanted}
        if wanted and len(failures) == len(wanted):
            example, why = next(iter(failures.items()))
            raise UserError(
                f"{self.dataset.name}: none of {len(wanted)} videos could be embedded; first: {example}: {why}"
            )
        return ExtractionSummary(failures, notes, self.encoded, self.progress.clips, seconds)

    def _todo(self) -> dict[str, list[Example[Any]]]:
        """Return the missing examples of every incomplete block."""
        for store in self.stores.values():
            store.create()
        self.snapshots = {store: (store.seal_time(), store.status()) for store in self.stores.values()}
        known = [status for _, status in self.snapshots.values()]
        available = [e for e in self.dataset.examples if e.id not in self.dataset.missing_files]
        todo = {name: self.fresh.missing(block, known) for name, block in blocks(available)}
        return {name: block for name, block in todo.items() if block}

    def _encode(self, todo: dict[str, list[Example[Any]]]) -> dict[str, float]:
        self.progress = EncodingProgress(self.progress.label, sum(len(b) for b in todo.values()))
        pool = decoder_pool(self.encoder.card, self.options)
        try:
            with pool, ProgressLine(self.progress, quiet=self.options.quiet) as line:
                for _ in range(ATTEMPTS):
                    self._work(pool, todo, line)
                    todo = self._changed_meanwhile()
        finally:
            self.claims.close()
        return {
            "embed": self.progress.seconds,
            "decode": pool.busy * self.progress.seconds,
            "encode": self.batcher.seconds,
        }

    def _work(self, pool: Pool[DecodeJob], todo: dict[str, list[Example[Any]]], line: ProgressLine) -> None:
        """Encode the blocks of `todo`, except those that other processes finish."""
        while todo:
            for job, message, pixels in pool.run(self._claim(todo)):
                self._take(job, message, pixels)
                self.progress.decode_busy = pool.busy
                self.progress.encode_busy = self.batcher.seconds / max(self.progress.seconds, 1e-9)
                line.tick()
            if todo:  # other processes hold these blocks and will finish them, or die and free their locks
                self._say_waiting(len(todo))
                time.sleep(0.5)

    def _say_waiting(self, count: int) -> None:
        if not self.waiting:
            log.info("waiting for other processes that embed the last %d blocks of %s", count, self.dataset.name)
        self.waiting = True

    def _changed_meanwhile(self) -> dict[str, list[Example[Any]]]:
        """Return the examples, by block, whose files changed while they were read."""
        available = [e for e in self.dataset.examples if e.id not in self.dataset.missing_files] if self.changed else []
        again = {name: [e for e in block if e.id in self.changed] for name, block in blocks(available)}
        for example in sorted(self.changed):
            log.warning("%s: %s", example, Changed().cause)
        self.changed.clear()
        return {name: block for name, block in again.items() if block}

    def _claim(self, todo: dict[str, list[Example[Any]]]) -> Iterator[Group[DecodeJob]]:
        """Yield the jobs of every block that no other process holds, and remove these blocks from `todo`."""
        for name in list(todo):
            if not self._acquire(name):
                continue
            block = todo.pop(name)
            known = {view: self._current_status(store, name) for view, store in self.stores.items()}
            examples = self.fresh.missing(block, list(known.values()))
            for view, entries in known.items():
                self.held[view] |= {e.id for e in examples if self.fresh.holds(e, entries)}
            self.progress.total -= len(block) - len(examples)
            self.remaining[name] = len(examples)
            if not examples:
                self.claims.release(name)
            size = group_size(self.progress.total, self.options.processes)
            yield from groups((self._job(name, e) for e in examples), size)

    def _job(self, block: str, e: Example[Any]) -> DecodeJob:
        full = self.options.full_digest
        return DecodeJob(block, e.id, e.path, e.span, e.fps, self.samplers, self.encoder.card, full)

    def _current_status(self, store: Store, block: str) -> Mapping[str, StoredEntry]:
        """Return the current status: another process may have written or sealed this block since the last look."""
        stamp, known = self.snapshots[store]
        if stamp != store.seal_time():
            stamp, known = self.snapshots[store] = store.seal_time(), store.status()
        return ChainMap(store.status(block), known)

    def _acquire(self, name: str) -> bool:
        stores = sorted(self.stores.values(), key=lambda s: s.folder)
        return self.claims.acquire(name, [store.lock(name) for store in stores])

    def _take(self, job: DecodeJob, message: Message | Failed, pixels: Pixels | None) -> None:
        """Process one message of a worker; messages arrive job by job, in order."""
        if isinstance(message, FileIdentity):
            self.files[job.example] = message
        elif isinstance(message, ClipHeader):
            self.pending[job.example] = PendingExample(message, {})
        elif isinstance(message, ClipIndex):
            assert pixels is not None
            self._add_clip(job.example, message, torch.from_numpy(pixels))
        else:
            self._close(job, message)

    def _add_clip(self, example: str, index: ClipIndex, pixels: UInt8[Tensor, "t y x 3"]) -> None:
        if not self.batcher.accepts(pixels) and any(view.reduce != "clip" for view in self.stores):
            raise UserError(
                f"{self.dataset.name} mixes images and videos, for which {self.encoder.card.name} returns token grids "
                "of different lengths; keep one vector per clip (--reduce clip), or use a folder for each"
            )
        self.batcher.add((example, index), pixels)

    def _encode_batch(self, pixels: UInt8[Tensor, "n t y x 3"]) -> dict[View, npt.NDArray[np.float32]]:
        encoded = encode_views(self.encoder, pixels, list(self.stores), device=self.options.device)
        return {view: values.float().cpu().numpy() for view, values in encoded.items()}

    def _deliver(self, clips: list[tuple[str, ClipIndex]], outputs: dict[View, npt.NDArray[np.float32]]) -> None:
        self.progress.clips += len(clips)
        for i, (example, index) in enumerate(clips):
            for view, vectors in outputs.items():
                if view.sampler == self.samplers[index.sampler]:
                    self.pending[example].add(view, index, vectors[i])

    def _close(self, job: DecodeJob, message: list[str] | Changed | Failed) -> None:
        """Finish an example, and write its block with the last one; failures that will not last have no identity."""
        file = self.files.pop(job.example, FileIdentity())
        if isinstance(message, list):
            self.finished.append(FinishedExample(job, file, "ok", "; ".join(message)))
        else:
            believed = isinstance(message, Failed) and message.lasting
            self.finished.append(FinishedExample(job, file if believed else FileIdentity(file.size), message.cause))
        self.changed |= {job.example} if isinstance(message, Changed) else set()
        self.progress.done += 1
        self.progress.failed += not isinstance(message, list)
        self.remaining[job.block] -= 1
        if not self.remaining[job.block]:
            self.batcher.flush()
            self._write(job.block)

    def _write(self, block: str) -> None:
        for view, store in self.stores.items():
            store.add(block, list(self._records(view)))
        self.encoded += sum(done.job.example not in self.changed for done in self.finished)
        self.finished.clear()
        self.pending.clear()
        self.claims.release(block)

    def _records(self, view: View) -> Iterator[EmbeddedExample]:
        """Yield what to store of the finished examples; a failure replaces no vector that holds."""
        for done in self.finished:
            if done.status == "ok":
                yield done.embedded(self.pending[done.job.example], view, self.encoder.card.name)
            elif done.job.example not in self.held[view]:
                yield done.failed(done.status)
