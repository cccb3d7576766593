"""Encode: plan, decode in worker processes, encode in batches of clips, reduce, write; sharded by block, resumable.

Examples are cut into blocks in a fixed order. A block is claimed by a lock that dies with its holder, encoded in
batches that never cross its border, and written whole. So a killed run loses at most its open blocks, two processes
share the work, and whoever encodes a block makes the same batches of it: the same bits.
"""

from __future__ import annotations

import os
import time
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock, Timeout
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.progress import EncodingProgress, ProgressLine
from vitascope.core.types import Card, Dataset, Example, digest
from vitascope.core.worker_pool import Failed, Pool
from vitascope.encoders.base import Encoder, Tokens, call, misshapen
from vitascope.encoders.precomputed import Release
from vitascope.encoders.preprocess import to_tensor
from vitascope.features.decode_job import DecodeJob, Header, Pixel, Pixels, look
from vitascope.features.imports.twelvelabs import pour, stands_for
from vitascope.features.store import Embedded, Key, Store, StoredEntry
from vitascope.features.view import Reduce, View
from vitascope.sampling.names import MultiClip, Uniform, describe

PIPELINE = 1
"""Version of decoding and pixel arithmetic; counts up whenever the same file would give other pixels."""
BLOCK_EXAMPLES = 128
BLOCK_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """How to encode; nothing here changes a vector."""

    device: str = "cpu"
    workers: int = 0
    """Decoding processes; 0 leaves one core to the encoder."""
    batch: int = 8
    """Clips encoded at once."""
    timeout: float = 60.0
    """Seconds without a frame after which a video is given up."""
    retry_failed: bool = False
    """Try again what failed before."""
    quiet: bool = False

    @property
    def processes(self) -> int:
        """Decoding processes, resolved."""
        return self.workers or max(1, (os.cpu_count() or 2) - 1)


@dataclass(frozen=True)
class ExtractionSummary:
    """What a fill did."""

    failures: Mapping[str, str] = field(default_factory=dict)
    """{example: why it has no vector}, over all views."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """{example: what was wrong with it all the same}."""
    encoded: int = 0
    clips: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


def blocks(examples: Sequence[Example[Any]]) -> Iterator[tuple[str, list[Example[Any]]]]:
    """`examples` in their order, cut where a block holds enough of them or of their files' bytes; each with a name."""
    block: list[Example[Any]] = []
    sizes: dict[str, int] = {}
    for example in examples:
        block.append(example)
        sizes[example.path] = source_bytes(example.path)
        if len(block) == BLOCK_EXAMPLES or sum(sizes.values()) >= BLOCK_BYTES:
            yield digest([e.id for e in block]), block
            block, sizes = [], {}
    if block:
        yield digest([e.id for e in block]), block


def source_bytes(path: str) -> int:
    """Size of a file; 0 for a folder or nothing."""
    try:
        return os.stat(path).st_size if os.path.isfile(path) else 0
    except OSError:
        return 0


def source_of(example: Example[Any] | DecodeJob) -> str:
    """Digest that tells what an id now stands for from what was embedded under it: file, size, span and rate."""
    return digest([os.path.basename(example.path), source_bytes(example.path), example.span, example.fps])


def encode_clips(encoder: Encoder, pixels: UInt8[Tensor, "n t y x 3"], *, device: str = "cpu") -> Tokens:
    """Normalize as the card says, move, run the encoder without autograd at the card's precision.

    Raises ValueError where what comes back is not what the card promises.
    """
    half = encoder.card.precision == "bfloat16"
    with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16) if half else nullcontext():
        tokens: Tokens = call(encoder, to_tensor(pixels.to(device), encoder.card))
    wrong = misshapen(tokens, encoder.card, len(pixels))
    if wrong:
        raise UserError(f"{encoder.card.name} gave {wrong}; see `vitascope check`")
    return tokens


def reduced(tokens: Tokens, reduce: Reduce) -> Tensor:
    """What a view keeps of tokens; see `probe.Reduce`."""
    if reduce == "clip":
        return tokens.clip
    return tokens.grid.mean((2, 3)) if reduce == "time" else tokens.grid


def decoders(card: Card, options: ExtractionOptions) -> Pool[DecodeJob]:
    """Workers that decode clips for an encoder, with room for a batch each."""
    return Pool(
        look,
        workers=options.processes,
        slots=options.batch + 1,
        slot_bytes=card.frames * card.size * card.size * 3,
        timeout=options.timeout,
        ahead=options.batch // options.processes + 1,
    )


def key_of(dataset: Dataset[Any], card: Card, view: View) -> Key:
    """Where the vectors of `dataset` through `view` are kept."""
    return Key(
        dataset=dataset.key or dataset.name, card=card, sampler=view.sampler, reduce=view.reduce, pipeline=PIPELINE
    )


def embed(
    encoder: Encoder,
    dataset: Dataset[Any],
    views: Sequence[View],
    *,
    root: Path,
    options: ExtractionOptions | None = None,
) -> ExtractionSummary:
    """Make sure the store below `root` holds every example of `dataset` through every view; encode what is missing.

    Raises ValueError where no video at all could be embedded, OSError where the disk is full.
    """
    if isinstance(encoder, Release):
        return _poured(encoder, dataset, views, root)
    return _Fill(encoder, dataset, views, root, options or ExtractionOptions()).run()


def _poured(release: Release, dataset: Dataset[Any], views: Sequence[View], root: Path) -> ExtractionSummary:
    """What was published of `dataset`, put where its embeddings are kept; it answers one clip or all clips a video."""
    for view in views:
        if not isinstance(view.sampler, (Uniform, MultiClip)) or view.reduce != "clip":
            raise UserError(
                f"{release.card.name}: no published vectors of {describe(view.sampler)}; "
                "they answer uniform and multiclip"
            )
    here = replace(dataset, examples=tuple(e for e in dataset.examples if e.id not in dataset.missing_files))
    lacking: dict[str, str] = {}
    for view in views:
        store = Store(root, key_of(dataset, release.card, view))
        lacking |= pour(release, here, store, stands_for(view.sampler))
    if len(lacking) == len(here.examples):
        example, why = next(iter(lacking.items()))
        raise UserError(f"{dataset.name}: nothing published of {len(lacking)} videos; first: {example}: {why}")
    return ExtractionSummary(lacking, encoded=len(here.examples) - len(lacking))


class _Open(NamedTuple):
    """An example whose clips are arriving: what they are, and for each view its vectors, filled in as they are made.

    One array a view, not one a clip: small arrays kept between the large ones of every batch would split the heap, and
    a process that embeds a long video would grow by gigabytes.
    """

    header: Header
    vectors: dict[View, npt.NDArray[np.float32]]

    def keep(self, view: View, place: Pixel, vector: npt.NDArray[np.float32]) -> None:
        """Put the vector of one clip where it belongs."""
        if view not in self.vectors:
            self.vectors[view] = np.empty((len(self.header.spans[place.sampler]), *vector.shape), np.float32)
        self.vectors[view][place.clip] = vector


class _Ended(NamedTuple):
    """An example whose clips have all come, or never will."""

    job: DecodeJob
    status: str
    note: str


class _Fill:
    """The state of one fill: which blocks are ours, which clips wait for the encoder, which examples are complete."""

    def __init__(
        self, encoder: Encoder, dataset: Dataset[Any], views: Sequence[View], root: Path, options: ExtractionOptions
    ) -> None:
        self.encoder, self.dataset, self.options = encoder, dataset, options
        self.stores = {v: Store(root, key_of(dataset, encoder.card, v)) for v in views}
        self.samplers = tuple(dict.fromkeys(v.sampler for v in views))
        self.held: dict[str, list[FileLock]] = {}
        self.left: dict[str, int] = {}
        self.open: dict[str, _Open] = {}
        self.waiting: list[tuple[str, Pixel]] = []
        self.pixels = torch.empty(0)
        self.ended: list[_Ended] = []
        self.known: dict[Store, tuple[int, dict[str, StoredEntry]]] = {}
        self.encode_seconds = 0.0
        self.encoded = 0
        self.pace = EncodingProgress(f"{encoder.card.name} on {dataset.name}", 0)

    def run(self) -> ExtractionSummary:
        todo = self._todo()
        seconds = self._encode(todo) if todo else {}
        for store in self.stores.values():
            store.seal()
        status = [store.status() for store in self.stores.values()]
        wanted = {e.id for e in self.dataset.examples if e.id not in self.dataset.missing_files}
        failures = {e: k.status for known in status for e, k in known.items() if k.status != "ok" and e in wanted}
        notes = {e: k.note for known in status for e, k in known.items() if k.note and e in wanted}
        if wanted and len(failures) == len(wanted):
            example, why = next(iter(failures.items()))
            raise UserError(
                f"{self.dataset.name}: none of {len(wanted)} videos could be embedded; first: {example}: {why}"
            )
        return ExtractionSummary(failures, notes, self.encoded, self.pace.clips, seconds)

    def _todo(self) -> dict[str, list[Example[Any]]]:
        """The blocks with anything missing, and what of them is missing."""
        for store in self.stores.values():
            store.create()
        self.known = {store: (store.stamp(), store.status()) for store in self.stores.values()}
        known = [status for _, status in self.known.values()]
        here = [e for e in self.dataset.examples if e.id not in self.dataset.missing_files]
        todo = {name: self._missing(block, known) for name, block in blocks(here)}
        return {name: block for name, block in todo.items() if block}

    def _encode(self, todo: dict[str, list[Example[Any]]]) -> dict[str, float]:
        self.pace = EncodingProgress(self.pace.label, sum(len(b) for b in todo.values()))
        pool = decoders(self.encoder.card, self.options)
        try:
            with pool, ProgressLine(self.pace, quiet=self.options.quiet) as live:
                while todo:
                    for job, message, pixels in pool.run(self._claim(todo)):
                        self._take(job, message, pixels)
                        self.pace.decode_busy = pool.busy
                        self.pace.encode_busy = self.encode_seconds / max(self.pace.seconds, 1e-9)
                        live.tick()
                    if todo:  # others hold these blocks: they will finish them, or die and leave them to us
                        time.sleep(0.5)
        finally:
            for name in list(self.held):
                self._release(name)
        return {"embed": self.pace.seconds, "decode": pool.busy * self.pace.seconds, "encode": self.encode_seconds}

    def _claim(self, todo: dict[str, list[Example[Any]]]) -> Iterator[DecodeJob]:
        """The jobs of every block that nobody else holds; such a block leaves `todo`."""
        for name in list(todo):
            if not self._acquire(name):
                continue
            block = todo.pop(name)
            examples = self._missing(block, [self._look_again(store, name) for store in self.stores.values()])
            self.pace.total -= len(block) - len(examples)
            self.left[name] = len(examples)
            if not examples:
                self._release(name)
            for e in examples:
                yield DecodeJob(name, e.id, e.path, e.span, e.fps, self.samplers, self.encoder.card)

    def _look_again(self, store: Store, block: str) -> Mapping[str, StoredEntry]:
        """What is known now, where another process may have written this block, or sealed it, since the first look."""
        stamp, known = self.known[store]
        if stamp != store.stamp():
            stamp, known = self.known[store] = store.stamp(), store.status()
        return ChainMap(store.status(block), known)

    def _missing(
        self, examples: Sequence[Example[Any]], known: Sequence[Mapping[str, StoredEntry]]
    ) -> list[Example[Any]]:
        return [e for e in examples if not all(self._stored(e, k) for k in known)]

    def _stored(self, example: Example[Any], known: Mapping[str, StoredEntry]) -> bool:
        """Whether `example` is in the store, and what it stands for, where that still exists, is what it was then."""
        if example.id not in known or (self.options.retry_failed and known[example.id].status != "ok"):
            return False
        return known[example.id].source == source_of(example) or not os.path.lexists(example.path)

    def _acquire(self, name: str) -> bool:
        held: list[FileLock] = []
        for store in sorted(self.stores.values(), key=lambda s: s.folder):
            lock = store.lock(name)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                for other in held:
                    other.release()
                return False
            held.append(lock)
        self.held[name] = held
        return True

    def _release(self, name: str) -> None:
        for lock in self.held.pop(name, ()):
            lock.release()

    def _take(self, job: DecodeJob, message: Header | Pixel | list[str] | Failed, pixels: Pixels | None) -> None:
        """One message of a worker: they come job by job, in the order of the jobs."""
        if isinstance(message, Header):
            self.open[job.example] = _Open(message, {})
        elif isinstance(message, Pixel):
            assert pixels is not None
            self._wait(job.example, message, torch.from_numpy(pixels))
        else:
            self._close(job, message)

    def _wait(self, example: str, place: Pixel, pixels: UInt8[Tensor, "t y x 3"]) -> None:
        """Copy a clip into the batch; a full batch, or one of other shapes, is encoded."""
        if self.pixels.shape[1:] != pixels.shape:
            if self.pixels.ndim > 1 and any(view.reduce != "clip" for view in self.stores):
                raise UserError(
                    f"{self.dataset.name} has pictures and videos, for which {self.encoder.card.name} gives tokens of "
                    "different numbers of times: keep one vector a clip (--reduce clip), or give each a folder"
                )
            self._flush()
            self.pixels = torch.empty((self.options.batch, *pixels.shape), dtype=torch.uint8)
        self.pixels[len(self.waiting)] = pixels
        self.waiting.append((example, place))
        if len(self.waiting) == self.options.batch:
            self._flush()

    def _flush(self) -> None:
        """Encode the clips that wait; every batch of a block is the same whoever encodes it."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        started = time.monotonic()
        tokens = encode_clips(self.encoder, self.pixels[: len(waiting)], device=self.options.device)
        kept = {view: reduced(tokens, view.reduce).float().cpu().numpy() for view in self.stores}
        self.encode_seconds += time.monotonic() - started
        self.pace.clips += len(waiting)
        for i, (example, place) in enumerate(waiting):
            for view, vectors in kept.items():
                if view.sampler == self.samplers[place.sampler]:
                    self.open[example].keep(view, place, vectors[i])

    def _close(self, job: DecodeJob, message: list[str] | Failed) -> None:
        """An example has come to its end, well or not; a block whose examples all have is written."""
        status = message.cause if isinstance(message, Failed) else "ok"
        note = "; ".join(message) if isinstance(message, list) else ""
        self.ended.append(_Ended(job, status, note))
        self.pace.done += 1
        self.pace.failed += status != "ok"
        self.left[job.block] -= 1
        if not self.left[job.block]:
            self._flush()
            self._write(job.block)

    def _write(self, block: str) -> None:
        for view, store in self.stores.items():
            store.add(block, [self._embedded(ended, view) for ended in self.ended])
        self.encoded += len(self.ended)
        self.ended.clear()
        self.open.clear()
        self._release(block)

    def _embedded(self, ended: _Ended, view: View) -> Embedded:
        example, source = ended.job.example, source_of(ended.job)
        if ended.status != "ok":
            return Embedded(example, None, status=ended.status, source=source)
        which = self.samplers.index(view.sampler)
        header, vectors = self.open[example].header, self.open[example].vectors[view]
        if not np.isfinite(vectors).all():
            return Embedded(example, None, status=f"{self.encoder.card.name} gave NaN or infinity", source=source)
        return Embedded(example, vectors, header.spans[which], header.times[which], source=source, note=ended.note)
