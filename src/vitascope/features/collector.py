"""Collector: decoded clips of one encoder on their way into its stores: encoded in batches, written block by block."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.file_identity import FileIdentity
from vitascope.core.progress import EncodingProgress
from vitascope.core.types import Card, Example
from vitascope.core.worker_pool import Failed
from vitascope.features.batching import ClipBatcher
from vitascope.features.claims import Claims
from vitascope.features.cluster_actors import EncodedClips, Vectors
from vitascope.features.decode_job import Changed, ClipHeader, ClipIndex, DecodeJob, Message, Pixels
from vitascope.features.freshness import Freshness
from vitascope.features.gpu_lane import Lane
from vitascope.features.pending import FinishedExample, PendingExample
from vitascope.features.store import EmbeddedExample, Store
from vitascope.features.store_lookup import StoredEntry
from vitascope.features.view import View
from vitascope.sampling.samplers import Sampler

Blocks = dict[str, list[Example[Any]]]
"""Examples by the name of their block."""
Encode = Callable[[UInt8[Tensor, "n t y x 3"]], dict[View, Tensor]]
"""A batch of clips to the vectors of each through every view: float32, on the host."""
Check = Callable[[ClipBatcher[Any, Any], UInt8[Tensor, "t y x 3"]], None]
"""Refuses a clip that cannot be stored with those before it."""


class Collector:
    """The blocks that one encoder claimed, its clips that wait for a batch, and its examples in progress."""

    def __init__(
        self,
        card: Card,
        stores: Mapping[View, Store],
        encode: Encode,
        *,
        check: Check,
        batch: int,
        progress: EncodingProgress,
        lane: Lane | None = None,
    ) -> None:
        """`batch`: clips at a time; `lane`: to the device of the encoder, if it has one.

        `progress` counts for this encoder, and perhaps for others that read the same videos.
        """
        self.card, self.stores, self.check, self.progress = card, stores, check, progress
        self.samplers: tuple[Sampler, ...] = tuple(dict.fromkeys(v.sampler for v in stores))
        self.todo: Blocks = {}
        """Missing examples of every block that is not claimed yet."""
        self.changed: set[str] = set()
        """Examples whose files changed while they were read."""
        self.encoded = self.clips = 0
        self.batcher = ClipBatcher(batch, encode, self._computed, lane)
        self._claims = Claims()
        self._remaining: dict[str, int] = {}
        self._pending: dict[str, PendingExample] = {}
        self._files: dict[str, FileIdentity] = {}
        """Identity of the file of an example when its decoding began, by example."""
        self._held: dict[View, set[str]] = {v: set() for v in stores}
        """Examples that a store holds, though another one lacks them."""
        self._finished: list[FinishedExample] = []
        self._snapshots: dict[Store, tuple[int, Mapping[str, StoredEntry]]] = {}

    @property
    def pixels(self) -> tuple[Any, ...]:
        """What its pixels depend on: encoders for which it is equal need the same."""
        card = self.card
        return self.samplers, card.frames, card.size, card.pixels, card.image

    def look(self, blocks: Blocks, fresh: Freshness) -> None:
        """Note the missing examples of every incomplete block."""
        for store in self.stores.values():
            store.create()
        self._snapshots = {store: (store.seal_time(), store.status()) for store in self.stores.values()}
        known = [status for _, status in self._snapshots.values()]
        todo = {name: fresh.missing(block, known) for name, block in blocks.items()}
        self.todo = {name: block for name, block in todo.items() if block}

    def claim(self, name: str, fresh: Freshness) -> list[Example[Any]]:
        """Claim a block, unless another process holds it; return the examples that are to be encoded."""
        stores = sorted(self.stores.values(), key=lambda s: s.folder)
        if name not in self.todo or not self._claims.acquire(name, [store.lock(name) for store in stores]):
            return []
        block = self.todo.pop(name)
        known = {view: self._current_status(store, name) for view, store in self.stores.items()}
        examples = fresh.missing(block, list(known.values()))
        for view, entries in known.items():
            self._held[view] |= {e.id for e in examples if fresh.holds(e, entries)}
        self.progress.total -= len(block) - len(examples)
        self._remaining[name] = len(examples)
        if not examples:
            self._claims.release(name)
        return examples

    def _current_status(self, store: Store, block: str) -> Mapping[str, StoredEntry]:
        """Return the current status: another process may have written or sealed this block since the last look."""
        stamp, known = self._snapshots[store]
        if stamp != store.seal_time():
            stamp, known = self._snapshots[store] = store.seal_time(), store.status()
        return ChainMap(store.status(block), known)  # type: ignore[arg-type]  # only read

    def close(self) -> None:
        """Give up all claims."""
        self._claims.close()

    def take(self, job: DecodeJob, message: Message | EncodedClips | Failed, pixels: Pixels | None) -> None:
        """Process one message of a worker; messages arrive job by job, in order."""
        if isinstance(message, FileIdentity):
            self._files[job.example] = message
        elif isinstance(message, EncodedClips):
            self.batcher.seconds += message.seconds
            self._deliver(message.clips, message.outputs)
        elif isinstance(message, ClipHeader):
            self._pending[job.example] = PendingExample(message, {})
        elif isinstance(message, ClipIndex):
            assert pixels is not None
            clip = torch.from_numpy(pixels)
            self.check(self.batcher, clip)
            self.batcher.add((job.example, message), clip)
        else:
            self._close(job, message)

    def _computed(self, clips: list[tuple[str, ClipIndex]], outputs: dict[View, Tensor]) -> None:
        self._deliver(clips, {view: values.numpy() for view, values in outputs.items()})

    def _deliver(self, clips: list[tuple[str, ClipIndex]], outputs: Vectors) -> None:
        self.clips += len(clips)
        self.progress.clips += len(clips)
        for i, (example, index) in enumerate(clips):
            for view, vectors in outputs.items():
                if view.sampler == self.samplers[index.sampler]:
                    self._pending[example].add(view, index, vectors[i])

    def _close(self, job: DecodeJob, message: list[str] | Changed | Failed) -> None:
        """Finish an example, and write its block with the last one; failures that will not last have no identity."""
        file = self._files.pop(job.example, FileIdentity())
        if isinstance(message, list):
            self._finished.append(FinishedExample(job, file, "ok", "; ".join(message)))
        else:
            believed = isinstance(message, Failed) and message.lasting
            self._finished.append(FinishedExample(job, file if believed else FileIdentity(file.size), message.cause))
        self.changed |= {job.example} if isinstance(message, Changed) else set()
        self.progress.done += 1
        self.progress.failed += not isinstance(message, list)
        self._remaining[job.block] -= 1
        if not self._remaining[job.block]:
            self.batcher.flush()
            self._write(job.block)

    def _write(self, block: str) -> None:
        for view, store in self.stores.items():
            store.add(block, list(self._records(view)))
        self.encoded += sum(done.job.example not in self.changed for done in self._finished)
        self._finished.clear()
        self._pending.clear()
        self._claims.release(block)

    def _records(self, view: View) -> Iterator[EmbeddedExample]:
        """Yield what to store of the finished examples; a failure replaces no vector that holds."""
        for done in self._finished:
            if done.status == "ok":
                yield done.embedded(self._pending[done.job.example], view, self.card.name)
            elif done.job.example not in self._held[view]:
                yield done.failed(done.status)

    def seal(self, wanted: Sequence[Example[Any]]) -> tuple[dict[str, str], dict[str, str]]:
        """Seal the stores; return the failures and the notes of the examples that are wanted, from all views."""
        for store in self.stores.values():
            store.seal()
        ids = {e.id for e in wanted}
        entries = [(e, k) for store in self.stores.values() for e, k in store.status().items() if e in ids]
        failures = {e: k.status for e, k in entries if k.status != "ok"}
        return failures, {e: k.note for e, k in entries if k.note}
