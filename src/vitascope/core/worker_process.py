"""A worker process of `worker_pool`: runs jobs, puts their arrays into slots of shared memory, reports how they end."""

from __future__ import annotations

import importlib
import mmap
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from vitascope.core.errors import UserError, one_line
from vitascope.core.faults import of_machine

J = TypeVar("J")
Array = npt.NDArray[Any]
Work = Callable[[J], Iterable[tuple[Any, Array | None]]]
"""A function run in the worker: a job to messages of small plain data, each with an optional array."""
Together = Callable[[Sequence[J]], Iterable[Iterable[tuple[Any, Array | None]]]]
"""A function run in the worker: several jobs to the messages of each, in order."""

PAGE = 4096
BOOT = "import sys; from vitascope.core.worker_process import serve; serve(*map(int, sys.argv[1:5]), *sys.argv[5:])"


class Loss(NamedTuple):
    """How a job was lost."""

    cause: str
    own: bool
    """By itself: it will be lost in the same way whenever it is run alone. False if something befell the machine."""
    killed: bool = False
    """By SIGKILL, as the kernel does when memory is short."""


class Sent(NamedTuple):
    """A message from a worker to its parent: `ready` after the import, a `message` of a job, or its `end`."""

    kind: Literal["ready", "message", "end"]
    busy: float
    """Total time this worker has been busy, seconds."""
    content: Any = None
    """The message; of an end, the `Loss` if the job failed."""
    slot: int | None = None
    shape: tuple[int, ...] = ()
    dtype: str = ""


_serving: _Child | None = None


def report_alive() -> None:
    """Report progress from a job that has no message to send yet; outside a worker this does nothing."""
    if _serving is not None:
        _serving.beats[0] += 1


def has_free_slot() -> bool:
    """Whether an array can be sent without waiting for the consumer; outside a worker always."""
    return _serving is None or not _serving.slots.empty()


def serve(pipe: int, memory: int, slots: int, stride: int, *names: str) -> None:
    """Main loop of a worker process: run jobs until the parent closes the pipe.

    `names` are those of the function that runs a job and, if there is one, of that for several, as module:function.
    """
    global _serving
    child = _serving = _Child(Connection(pipe), memory, slots, stride)
    threading.Thread(target=child.listen, daemon=True).start()
    try:
        function, several, *_ = *map(_imported, names), None
    except Exception as error:
        function, several = partial(_refuse, error), None
    child.tell(Sent("ready", 0.0))
    while True:
        jobs = child.next_jobs()
        whole = len(jobs) > 1 and not any(isinstance(job, Exception) for job in jobs)
        for messages in several(jobs) if several and whole else [_lazily(function, job) for job in jobs]:
            child.work(messages)


def _imported(name: str) -> Any:
    module, function = name.split(":")
    return reduce(getattr, function.split("."), importlib.import_module(module))


def _refuse(error: Exception, job: Any) -> Iterator[tuple[Any, Array | None]]:
    """Raise `error` as the job: its function or the job itself cannot be imported here."""
    raise error


def _lazily(function: Work[Any], job: Any) -> Iterator[tuple[Any, Array | None]]:
    """Run a job; or raise what arrived in place of one, whose types cannot be imported here."""
    yield from _refuse(job, job) if isinstance(job, Exception) else function(job)


class _Child:
    """The worker's side; a thread listens to the parent, so that even a hung worker exits with it."""

    def __init__(self, connection: Connection, memory: int, slots: int, stride: int) -> None:
        self.connection = connection
        self.stride = stride
        self.memory = np.frombuffer(mmap.mmap(memory, slots * stride + PAGE), np.uint8)
        self.beats = self.memory[-PAGE:].view(np.uint64)
        self.jobs: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(slots):
            self.slots.put(slot)
        self.busy = 0.0

    def listen(self) -> None:
        """Queue the jobs and free slots that the parent sends; exit when it is gone."""
        while True:
            try:
                kind, content = self.connection.recv()
            except (EOFError, OSError):
                os._exit(0)
            except Exception as error:  # the job contains types that cannot be imported here
                kind, content = "job", error
            if kind == "slot":
                self.slots.put(content)
            else:
                self.jobs.put((kind, content))

    def next_jobs(self) -> list[Any]:
        """Wait for a job, or for all jobs that are to be run together."""
        kind, content = self.jobs.get()
        return [content] if kind == "job" else [self.jobs.get()[1] for _ in range(content)]

    def work(self, messages: Iterable[tuple[Any, Array | None]]) -> None:
        """Run one job and send its messages and its end."""
        loss = None
        since = time.perf_counter()
        try:
            for message, array in messages:
                self.busy += time.perf_counter() - since
                self.send(message, array)
                since = time.perf_counter()
        except Exception as error:
            text = " ".join(str(error).split())
            # anything else is a bug, here or in a codec: its type and place tell it from a damaged file
            cause = text if isinstance(error, (UserError, OSError)) and text else one_line(error)
            loss = Loss(cause, own=not of_machine(error))
        self.busy += time.perf_counter() - since
        self.tell(Sent("end", self.busy, loss))

    def tell(self, sent: Sent) -> None:
        """Send to the parent; exit when it is gone."""
        try:
            self.connection.send(sent)
        except BrokenPipeError:
            os._exit(0)

    def send(self, message: Any, array: Array | None) -> None:
        """Send one message; an array waits for a free slot."""
        if array is None:
            self.tell(Sent("message", self.busy, message))
            return
        assert array.nbytes <= self.stride, f"{array.nbytes} bytes in a slot of {self.stride}"
        slot = self.slots.get()
        start = slot * self.stride
        self.memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)[...] = array
        self.tell(Sent("message", self.busy, message, slot, array.shape, array.dtype.str))
