"""Live features: encoded as they are read, for token grids too large to keep and for augmentation drawn anew."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitascope.core.progress import EncodingProgress
from vitascope.core.progress import ProgressLine as Line
from vitascope.core.types import Dataset, Example
from vitascope.core.worker_pool import Failed, Pool
from vitascope.encoders.base import Encoder
from vitascope.features.base import Batch
from vitascope.features.decode_job import DecodeJob, Header, Pixel
from vitascope.features.extract import ExtractionOptions, decoders, encode_clips, reduced
from vitascope.features.view import View
from vitascope.sampling.augmentations import at_pass
from vitascope.sampling.samplers import Sampler


class LiveFeatures:
    """Examples of a dataset through a view, decoded by workers and encoded without autograd whenever a batch is read.

    Reads like stored features; the frozen pass is repeated at every reading. An example that cannot be read is left
    out of its batch and named in `failures`; nothing takes its place. Close it, or use it as a context manager.
    """

    def __init__(
        self, encoder: Encoder, dataset: Dataset[int], ids: Sequence[str], view: View, *, options: ExtractionOptions
    ) -> None:
        by_id = dataset.by_id()
        self.failures: dict[str, str] = {i: dataset.missing_files[i] for i in ids if i in dataset.missing_files}
        self.examples: Sequence[Example[int]] = [by_id[i] for i in ids if i not in dataset.missing_files]
        self.classes: Sequence[str] = dataset.classes
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
        """End the workers."""
        if self._pool:
            self._pool.close()
            self._pool = None

    def batches(self, size: int, order: Sequence[int] | None = None, draw: int | None = None) -> Iterator[Batch]:
        """Decode and encode in the order given; see `Features.batches`."""
        indices = range(len(self.examples)) if order is None else [int(i) for i in order]
        sampler = self.view.sampler if draw is None else at_pass(self.view.sampler, draw)
        ready: list[_Encoded] = []
        for one in _Pass(self, indices, sampler).run():
            if len(ready) == size or (ready and ready[0].values.shape[1:] != one.values.shape[1:]):
                yield _together(ready)  # a picture's grid may have fewer times than a video's
                ready = []
            ready.append(one)
        if ready:
            yield _together(ready)

    @property
    def pool(self) -> Pool[DecodeJob]:
        """The workers; they start when first needed and stay from reading to reading."""
        if self._pool is None:
            self._pool = decoders(self.encoder.card, self.options)
        return self._pool


class _Encoded(NamedTuple):
    """One example and its vectors or grids, clip by clip."""

    number: int
    values: Tensor


class _Pass:
    """One reading: which clips wait for the encoder, which examples lack some."""

    def __init__(self, live: LiveFeatures, indices: Sequence[int], sampler: Sampler) -> None:
        self.live, self.indices, self.sampler = live, indices, sampler
        self.pixels = torch.empty(0)
        self.waiting: list[tuple[int, int]] = []
        self.parts: dict[int, dict[int, Tensor]] = {}
        self.whole: dict[int, int] = {}
        """How many clips an example has; in the order they are to be given out."""
        self.pace = EncodingProgress(live.label, len(indices))

    def run(self) -> Iterator[_Encoded]:
        """The examples in their order."""
        live, pool = self.live, self.live.pool
        before = live.seconds["encode"]
        place = {live.examples[i].id: i for i in self.indices}
        jobs = (self._job(live.examples[i]) for i in self.indices)
        with Line(self.pace, quiet=live.options.quiet) as line:
            for job, message, pixels in pool.run(jobs):
                self._take(place[job.example], message, pixels)
                yield from self._complete()
                self.pace.decode_busy = pool.busy
                self.pace.encode_busy = (live.seconds["encode"] - before) / max(self.pace.seconds, 1e-9)
                line.tick()
            self._flush()
            yield from self._complete()
        live.seconds["embed"] += self.pace.seconds
        live.seconds["decode"] = pool.busy * live.seconds["embed"]

    def _job(self, e: Example[Any]) -> DecodeJob:
        return DecodeJob("", e.id, e.path, e.span, e.fps, (self.sampler,), self.live.encoder.card)

    def _take(self, index: int, message: Any, pixels: Any) -> None:
        if isinstance(message, Header):
            self.parts[index], self.whole[index] = {}, len(message.spans[0])
        elif isinstance(message, Pixel):
            self._wait(index, message.clip, torch.from_numpy(pixels))
        else:
            self.pace.done += 1
            if isinstance(message, Failed):
                self._drop(index, message.cause)

    def _drop(self, index: int, cause: str) -> None:
        self.pace.failed += 1
        self.live.failures[self.live.examples[index].id] = cause
        self._flush()  # its clips may wait among others
        self.parts.pop(index, None)
        self.whole.pop(index, None)

    def _wait(self, index: int, clip: int, pixels: Tensor) -> None:
        if self.pixels.shape[1:] != pixels.shape:
            self._flush()
            self.pixels = torch.empty((self.live.options.batch, *pixels.shape), dtype=torch.uint8)
        self.pixels[len(self.waiting)] = pixels
        self.waiting.append((index, clip))
        if len(self.waiting) == self.live.options.batch:
            self._flush()

    def _flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        live, started = self.live, time.monotonic()
        tokens = encode_clips(live.encoder, self.pixels[: len(waiting)], device=live.options.device)
        values = reduced(tokens, live.view.reduce)
        live.seconds["encode"] += time.monotonic() - started
        self.pace.clips += len(waiting)
        for (index, clip), value in zip(waiting, values, strict=True):
            self.parts[index][clip] = value

    def _complete(self) -> Iterator[_Encoded]:
        """The first examples that lack no clip any more."""
        while self.whole:
            index, count = next(iter(self.whole.items()))
            if len(self.parts[index]) < count:
                return
            parts = self.parts.pop(index)
            del self.whole[index]
            values = torch.stack([parts[clip] for clip in range(count)])
            if not torch.isfinite(values).all():
                name = self.live.encoder.card.name
                self.live.failures[self.live.examples[index].id] = f"{name} gave NaN or infinity"
                continue
            yield _Encoded(index, values)


def _together(ready: Sequence[_Encoded]) -> Batch:
    """A batch of examples, padded to the most clips any of them has."""
    values = torch.nn.utils.rnn.pad_sequence([one.values for one in ready], batch_first=True)
    counts = torch.tensor([len(one.values) for one in ready])
    mask = torch.arange(values.shape[1])[None] < counts[:, None]
    return Batch(values, mask, torch.tensor([one.number for one in ready]))
