"""Batches made ahead of the trainer by a thread, and the one way in which readers are resumed."""

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

DEPTH = 2
"""Batches that wait for the trainer at most."""


class ClipItem(NamedTuple):
    """One clip of a sequence, or one that could not be read."""

    id: str
    after: State
    """Where the sequence is behind it."""
    pixels: npt.NDArray[np.uint8] | None
    """Frames x rows x columns x RGB; None where it could not be read."""
    label: int = -1
    why: str = ""
    """Why it could not be read, or what is wrong with it all the same."""


Items: TypeAlias = Generator[ClipItem, None, None]
Sequel: TypeAlias = Callable[[State, dict[str, str]], Items]
"""The endless sequence from a position on; it may leave out what is known to be broken."""


class Ahead:
    """A `Reader` of a sequence of items: a thread makes batches of the size last asked for, up to `depth` ahead."""

    def __init__(self, name: str, sequel: Sequel, start: State, *, data: str, depth: int = DEPTH) -> None:
        self.name = name
        self.data = data
        """Stands for all that the sequence is made of."""
        self.broken: dict[str, str] = {}
        self.waited = 0.0
        self._sequel, self._depth = sequel, depth
        self._position = start
        self._line: _PrefetchThread | None = None

    def read(self, n: int) -> Clips:
        """The next `n` clips; waiting is counted in `waited`. What goes wrong in the thread is raised here."""
        if n < 1:
            raise UserError(f"{self.name}: a batch has at least one clip, not {n}")
        if self._line is None or self._line.size != n:
            self.close()
            self._line = _PrefetchThread(self._sequel(self._position, dict(self.broken)), n, self._depth)
        began = time.perf_counter()
        batch = self._line.take()
        self.waited += time.perf_counter() - began
        if isinstance(batch, BaseException):
            self.close()
            raise batch
        self._position = batch.after
        self.broken.update(batch.broken)
        return Clips(batch.pixels, batch.labels, self.name)

    def state(self) -> State:
        """The position behind the last clip given out, and what was broken up to there."""
        return {"source": self.name, "data": self.data, "position": self._position, "broken": dict(self.broken)}

    def restore(self, state: State) -> None:
        """Go on from `state`. ValueError where it is another source's, or the source's files are others now."""
        if state.get("source") != self.name:
            raise UserError(
                f"{self.name}: cannot go on from a state of {state.get('source')!r}; resume the same recipe"
            )
        if state["data"] != self.data:
            raise UserError(
                f"{self.name}: its data have changed since the state was saved, or how many processes divide "
                "them; put them back, or start anew"
            )
        self.close()
        self._position, self.broken = state["position"], dict(state["broken"])

    def close(self) -> None:
        """End the thread and the workers behind it, and drop what they made."""
        line, self._line = self._line, None
        if line:
            line.stop()


class _Batch(NamedTuple):
    """A batch on its way, and what to note when it is given out."""

    pixels: UInt8[Tensor, "n t y x 3"]
    labels: Int[Tensor, "n"]
    after: State
    broken: dict[str, str]


def stacked(clips: Sequence[npt.NDArray[np.uint8]]) -> UInt8[Tensor, "n t y x 3"]:
    """Clips as one tensor; in page-locked memory where training is on a GPU, which copies it while it computes."""
    shape = (len(clips), *clips[0].shape)
    batch = torch.empty(shape, dtype=torch.uint8, pin_memory=torch.cuda.is_initialized())
    np.stack(clips, out=batch.numpy())
    return batch


class _PrefetchThread:
    """The thread: batches of `size` from `items`, `depth` at most in store."""

    def __init__(self, items: Items, size: int, depth: int) -> None:
        self.size = size
        self._ready: queue.SimpleQueue[_Batch | BaseException] = queue.SimpleQueue()
        self._room = threading.Semaphore(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), daemon=True)
        self._thread.start()

    def take(self) -> _Batch | BaseException:
        """The next batch, or what went wrong."""
        batch = self._ready.get()
        self._room.release()
        return batch

    def stop(self) -> None:
        """End the thread, at the latest when the item under way is there."""
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
        """The next whole batch; None when nobody wants it any more."""
        pixels: list[npt.NDArray[np.uint8]] = []
        labels: list[int] = []
        broken: dict[str, str] = {}
        for item in items:
            if self._stopped.is_set():
                return None
            if item.why:
                broken[item.id] = item.why
            if item.pixels is not None:
                pixels.append(item.pixels)
                labels.append(item.label)
            if len(pixels) == self.size:
                return _Batch(stacked(pixels), torch.tensor(labels), item.after, broken)
        raise UserError("the sequence of clips has come to an end")
