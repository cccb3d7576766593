"""Live features, encoded as they are read: for token grids too large to store, and for fresh augmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.file_identity import FileIdentity
from vitascope.core.progress import EncodingProgress, ProgressLine
from vitascope.core.types import Dataset, Example, Span
from vitascope.core.worker_pool import Failed, Pool
from vitascope.encoders.base import Encoder
from vitascope.features.base import Batch, SpansPerExample
from vitascope.features.batching import ClipBatcher
from vitascope.features.decode_group import group_size, groups
from vitascope.features.decode_job import ClipHeader, ClipIndex, DecodeJob
from vitascope.features.encode import encode_views
from vitascope.features.extract import ExtractionOptions, batch_for, decoder_pool
from vitascope.features.view import View
from vitascope.sampling.augmentations import at_epoch
from vitascope.sampling.samplers import Sampler


class LiveFeatures:
    """Features of a dataset through a view, decoded by workers and encoded whenever a batch is read.

    Same interface as stored features; the frozen encoder runs again at every pass. An example that cannot be read is
    left out of its batch and listed in `failures`. Close it, or use it as a context manager.
    """

    def __init__(
        self, encoder: Encoder, dataset: Dataset[int], ids: Sequence[str], view: View, *, options: ExtractionOptions
    ) -> None:
        by_id = dataset.by_id()
        self.failures: dict[str, str] = {i: dataset.missing_files[i] for i in ids if i in dataset.missing_files}
        self.examples: Sequence[Example[int]] = [by_id[i] for i in ids if i not in dataset.missing_files]
        self.classes: Sequence[str] = dataset.classes
        self.spans: SpansPerExample = ()
        """Not known: the clips are drawn anew at every pass; see `Batch.spans`."""
        self.encoder, self.view, self.options = encoder, view, options
        self.seconds: dict[str, float] = {"embed": 0.0, "decode": 0.0, "encode": 0.0}
        self.label = f"{encoder.card.name} on {dataset.name}, live"
        self._pool: Pool[DecodeJob] | None = None

    def __enter__(self) -> LiveFeatures:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers."""
        if self._pool:
            self._pool.close()
            self._pool = None

    def batches(self, size: int, order: Sequence[int] | None = None, draw: int | None = None) -> Iterator[Batch]:
        """Decode and encode in the given order; see `Features.batches`."""
        indices = range(len(self.examples)) if order is None else [int(i) for i in order]
        sampler = self.view.sampler if draw is None else at_epoch(self.view.sampler, draw)
        ready: list[_EncodedExample] = []
        for one in _EncodingPass(self, indices, sampler).run():
            if len(ready) == size or (ready and ready[0].values.shape[1:] != one.values.shape[1:]):
                yield _collate(ready)  # the token grid of an image may have fewer time steps than that of a video
                ready = []
            ready.append(one)
        if ready:
            yield _collate(ready)

    @property
    def pool(self) -> Pool[DecodeJob]:
        """The workers; started when first needed and kept between passes."""
        if self._pool is None:
            self._pool = decoder_pool(self.encoder.card, self.options)
        return self._pool


class _EncodedExample(NamedTuple):
    """One example and its vectors or token grids, one per clip."""

    number: int
    values: Tensor
    spans: Sequence[Span]
    """Start and end of each clip, seconds."""


class _EncodingPass:
    """One pass over the examples: clips waiting for the encoder, and examples in progress."""

    def __init__(self, live: LiveFeatures, indices: Sequence[int], sampler: Sampler) -> None:
        self.live, self.indices, self.sampler = live, indices, sampler
        self.batcher = ClipBatcher(batch_for(live.encoder, live.options), self._encode, self._deliver)
        self.parts: dict[int, dict[int, Tensor]] = {}
        """Encoded clips by example."""
        self.spans: dict[int, Sequence[Span]] = {}
        """Start and end of each clip by example, in output order."""
        self.progress = EncodingProgress(live.label, len(indices))

    def run(self) -> Iterator[_EncodedExample]:
        """Yield the examples in order."""
        live, pool = self.live, self.live.pool
        indices = {live.examples[i].id: i for i in self.indices}
        size = group_size(len(self.indices), live.options.processes)
        jobs = groups((self._job(live.examples[i]) for i in self.indices), size)
        with ProgressLine(self.progress, quiet=live.options.quiet) as line:
            for job, message, pixels in pool.run(jobs):
                self._take(indices[job.example], message, pixels)
                yield from self._complete()
                self.progress.decode_busy = pool.busy
                self.progress.encode_busy = self.batcher.seconds / max(self.progress.seconds, 1e-9)
                line.tick()
            self.batcher.flush()
            yield from self._complete()
        live.seconds["encode"] += self.batcher.seconds
        live.seconds["embed"] += self.progress.seconds
        live.seconds["decode"] = pool.busy * live.seconds["embed"]

    def _job(self, e: Example[Any]) -> DecodeJob:
        return DecodeJob("", e.id, e.path, e.span, e.fps, (self.sampler,), self.live.encoder.card)

    def _take(self, index: int, message: Any, pixels: Any) -> None:
        if isinstance(message, ClipHeader):
            self.parts[index], self.spans[index] = {}, message.spans[0]
        elif isinstance(message, ClipIndex):
            self.batcher.add((index, message.clip), torch.from_numpy(pixels))
        elif not isinstance(message, FileIdentity):
            self.progress.done += 1
            if isinstance(message, Failed):
                self._drop(index, message.cause)

    def _drop(self, index: int, cause: str) -> None:
        self.progress.failed += 1
        self.live.failures[self.live.examples[index].id] = cause
        self.batcher.flush()  # which may hold clips of this example
        self.parts.pop(index, None)
        self.spans.pop(index, None)

    def _encode(self, pixels: UInt8[Tensor, "n t y x 3"]) -> Tensor:
        view = self.live.view
        return encode_views(self.live.encoder, pixels, [view], device=self.live.options.device)[view]

    def _deliver(self, clips: list[tuple[int, int]], values: Tensor) -> None:
        self.progress.clips += len(clips)
        for (index, clip), value in zip(clips, values, strict=True):
            self.parts[index][clip] = value

    def _complete(self) -> Iterator[_EncodedExample]:
        """Yield the leading examples whose clips are all encoded."""
        while self.spans:
            index, spans = next(iter(self.spans.items()))
            if len(self.parts[index]) < len(spans):
                return
            parts = self.parts.pop(index)
            del self.spans[index]
            values = torch.stack([parts[clip] for clip in range(len(spans))])
            if not torch.isfinite(values).all():
                name = self.live.encoder.card.name
                self.live.failures[self.live.examples[index].id] = f"{name} returned NaN or infinity"
                continue
            yield _EncodedExample(index, values, spans)


def _collate(examples: Sequence[_EncodedExample]) -> Batch:
    """Collate examples into a batch, padded to the largest number of clips."""
    values = torch.nn.utils.rnn.pad_sequence([one.values for one in examples], batch_first=True)
    counts = torch.tensor([len(one.values) for one in examples])
    mask = torch.arange(values.shape[1])[None] < counts[:, None]
    return Batch(values, mask, torch.tensor([one.number for one in examples]), [one.spans for one in examples])
