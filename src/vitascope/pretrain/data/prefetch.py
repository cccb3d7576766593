"""Prefetching: a thread assembles batches ahead of training, and readers are resumed exactly."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.pretrain.data.base import Clips, State
from vitascope.pretrain.data.resumable import Merge, ResumableReader

DEPTH = 2
"""Maximum number of batches prefetched."""


class ClipItem(NamedTuple):
    """One clip of a sequence, or a record of one that is unreadable."""

    id: str
    next_state: State
    """State of the sequence after this clip."""
    pixels: npt.NDArray[np.uint8] | None
    """Array of shape (frames, rows, columns, 3); None if unreadable."""
    label: int = -1
    error: str = ""
    """Reason why it is unreadable, or a defect that does not prevent reading."""


Items: TypeAlias = Generator[ClipItem, None, None]
ItemFactory: TypeAlias = Callable[[State, dict[str, str]], Items]
"""Makes the endless sequence from a state on; it may skip the clips known to be broken."""


class PrefetchReader(ResumableReader):
    """A `Reader` over a sequence of items: a thread prefetches up to `depth` batches of the size last read."""

    def __init__(
        self,
        name: str,
        items_from: ItemFactory,
        start: State,
        *,
        data: str,
        former: str = "",
        merge: Merge | None = None,
        depth: int = DEPTH,
    ) -> None:
        super().__init__(name, start, data=data, former=former, merge=merge)
        self._items_from, self._depth = items_from, depth
        self._prefetch: _PrefetchThread | None = None

    def read(self, n: int) -> Clips:
        """Return the next `n` clips, adding the wait to `seconds_waited`. Errors of the thread are raised here."""
        if n < 1:
            raise UserError(f"{self.name}: a batch has at least one clip, not {n}")
        if self._prefetch is None or self._prefetch.size != n:
            self.close()
            self._prefetch = _PrefetchThread(self._items_from(self._position, dict(self.broken)), n, self._depth)
        began = time.perf_counter()
        batch = self._prefetch.take()
        self.seconds_waited += time.perf_counter() - began
        if isinstance(batch, BaseException):
            self.close()
            raise batch
        self._position = batch.next_state
        self.broken.update(batch.broken)
        return Clips(batch.pixels, batch.labels, self.name)

    def close(self) -> None:
        """Stop the thread and its workers, and discard prefetched batches."""
        thread, self._prefetch = self._prefetch, None
        if thread:
            thread.stop()


class _Batch(NamedTuple):
    """A prefetched batch with the state after it and the clips found broken while it was read."""

    pixels: UInt8[Tensor, "n t y x 3"]
    labels: Int[Tensor, "n"]
    next_state: State
    broken: dict[str, str]


def stack_clips(clips: Sequence[npt.NDArray[np.uint8]]) -> UInt8[Tensor, "n t y x 3"]:
    """Stack clips into one tensor, in pinned memory when training on a GPU so that copies overlap with computation."""
    shape = (len(clips), *clips[0].shape)
    batch = torch.empty(shape, dtype=torch.uint8, pin_memory=torch.cuda.is_initialized())
    np.stack(clips, out=batch.numpy())
    return batch


class _PrefetchThread:
    """Thread that assembles batches of `size` clips from `items`, holding at most `depth` of them."""

    def __init__(self, items: Items, size: int, depth: int) -> None:
        self.size = size
        self._ready: queue.SimpleQueue[_Batch | BaseException] = queue.SimpleQueue()
        self._room = threading.Semaphore(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), daemon=True)
        self._thread.start()

    def take(self) -> _Batch | BaseException:
        """Return the next batch, or the error that ended the thread."""
        batch = self._ready.get()
        self._room.release()
        return batch

    def stop(self) -> None:
        """Stop the thread, at the latest when the item being read is finished."""
        self._stopped.set()
        self._room.release()
        self._thread.join()

    def _run(self, items: Items) -> None:
        try:
            with closing(items):
                while self._room.acquire() and not self._stopped.is_set():
                    batch = self._collect(items)
                    if batch is None:
                        return
                    self._ready.put(batch)
        except BaseException as error:
            self._ready.put(error)

    def _collect(self, items: Iterator[ClipItem]) -> _Batch | None:
        """Collect the next full batch; None once stopped."""
        pixels: list[npt.NDArray[np.uint8]] = []
        labels: list[int] = []
        broken: dict[str, str] = {}
        for item in items:
            if self._stopped.is_set():
                return None
            if item.error:
                broken[item.id] = item.error
            if item.pixels is not None:
                pixels.append(item.pixels)
                labels.append(item.label)
            if len(pixels) == self.size:
                return _Batch(stack_clips(pixels), torch.tensor(labels), item.next_state, broken)
        raise UserError("the sequence of clips has ended")
