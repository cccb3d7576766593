"""Worker processes that decode: arrays come back through shared memory, in the order of the jobs, and nothing hangs.

A worker is a fresh interpreter that imports one module and nothing else: no fork of a process with threads, no second
run of the user's script, no torch unless that module asks for it. Each has slots of its own in anonymous shared
memory, so memory is bounded, a slow consumer holds the workers back, and no order of jobs can dead-lock. The memory
has no name and the workers listen for their parent's end: a parent killed outright leaves neither behind.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import mmap
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

J = TypeVar("J")
Array = npt.NDArray[Any]
Work = Callable[[J], Iterable[tuple[Any, Array | None]]]
"""Runs in the worker: from a job to messages, each small plain data and perhaps an array."""

PAGE = 4096
PATIENCE = 30
"""How many time limits a job may only be `alive`: what reads a broken file in circles is alive too."""
START = 60.0
"""Seconds that a worker may take to start and import what it needs."""
BOOT = "import sys; from vitascope.core.worker_pool import serve; serve(*map(int, sys.argv[1:5]), work=sys.argv[5])"


class Failed(NamedTuple):
    """The last message of a job that did not end well, and why, in one line."""

    cause: str


class _Sent(NamedTuple):
    """What travels from a worker to its parent: that it is ready, a message of the job, that the job is at its end."""

    kind: Literal["ready", "message", "end"]
    busy: float
    """Seconds this worker has worked, in all."""
    content: Any = None
    slot: int | None = None
    shape: tuple[int, ...] = ()
    dtype: str = ""


class Pool(Generic[J]):
    """Worker processes running `function(job)`, a top-level generator of `(message, array or None)`, for many jobs.

    `workers` processes, each with `slots` places of `slot_bytes` for arrays on their way to the consumer, and up to
    `ahead` jobs in hand beside the one it is at, so that it works on while the consumer is busy. A job that neither
    sends a message nor says `alive` for `timeout` seconds while it has a free slot is killed and fails; so does one
    that has sent nothing for `PATIENCE` times as long, and one whose process dies. Use it as a context manager; `run`
    may be called again and again.
    """

    def __init__(
        self, function: Work[J], *, workers: int, slots: int, slot_bytes: int, timeout: float, ahead: int = 0
    ) -> None:
        assert workers > 0
        assert slots > 0
        self.timeout = timeout
        self.ahead = ahead
        self._start = partial(_Worker, function, slots, slot_bytes)
        self._workers: list[_Worker | None] = [None] * workers
        self._spent = 0.0
        self._seconds = 0.0

    def __enter__(self) -> Pool[J]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        for i in range(len(self._workers)):
            self._discard(i)

    @property
    def busy(self) -> float:
        """Share of the run's wall time, all workers together, spent working rather than waiting for job or slot."""
        spent = self._spent + sum(w.busy for w in self._workers if w)
        return spent / (self._seconds * len(self._workers)) if self._seconds else 0.0

    def run(self, jobs: Iterable[J]) -> Iterator[tuple[J, Any, Array | None]]:
        """`(job, message, array)` as the workers produce them, all of one job before any of the next.

        A job that fails ends with a `Failed` message. An array is a view of shared memory that is valid until the next
        message is asked for: copy what you keep. Jobs are taken from `jobs` only when a worker is free.
        """
        source = enumerate(jobs)
        lines: dict[int, _JobMessages] = {}
        head, more = 0, True
        began, before = time.monotonic(), self._seconds
        try:
            while True:
                more = more and self._assign(source, lines)
                while head in lines and (lines[head].waiting or lines[head].ended):
                    self._seconds = before + time.monotonic() - began
                    yield from self._deliver(lines[head])
                    if lines[head].ended:
                        del lines[head]
                        head += 1
                    self._listen(lines, seconds=0)
                    more = more and self._assign(source, lines)
                if not more and not lines:
                    return
                self._listen(lines, seconds=0.2)
        finally:
            self._seconds = before + time.monotonic() - began
            if lines:  # left early: what the workers still do and hold, nobody wants
                self.close()

    def _assign(self, source: Iterator[tuple[int, J]], lines: dict[int, _JobMessages]) -> bool:
        """Give jobs to those who have the fewest until all have enough; False when there are no more."""
        while True:
            in_hand = [len(w.jobs) if w else 0 for w in self._workers]
            i = in_hand.index(min(in_hand))
            if in_hand[i] > self.ahead:
                return True
            number, job = next(source, (None, None))
            if number is None:
                return False
            lines[number] = _JobMessages(job)
            self._begin(i, number, job)

    def _begin(self, i: int, number: int, job: Any) -> None:
        worker = self._workers[i] = self._workers[i] or self._start()
        worker.begin(number, job)

    def _deliver(self, line: _JobMessages) -> Iterator[tuple[J, Any, Array | None]]:
        """What waits of one job."""
        while line.waiting:
            message, array, free = line.waiting.popleft()
            yield line.job, message, array
            del array
            free()

    def _listen(self, lines: dict[int, _JobMessages], seconds: float) -> None:
        """Take in what the workers have sent within `seconds`; end those that died or hang."""
        running = {w.pipe: i for i, w in enumerate(self._workers) if w and w.jobs}
        if not running:
            return
        for pipe in wait(list(running), seconds):
            assert isinstance(pipe, Connection)
            self._receive(running[pipe], lines)
        for i in running.values():
            worker = self._workers[i]
            limit = self.timeout if worker and worker.ready else max(self.timeout, START)
            if worker and worker.idle(limit) > limit:
                self._fail(i, lines, f"no progress for {limit:g} s; killed")

    def _receive(self, i: int, lines: dict[int, _JobMessages]) -> None:
        """Everything one worker has in its pipe."""
        worker = self._workers[i]
        assert worker is not None
        try:
            while worker.jobs and worker.pipe.poll():
                worker.take(lines[worker.jobs[0]])
        except (EOFError, OSError):
            self._fail(i, lines, worker.cause_of_death())

    def _fail(self, i: int, lines: dict[int, _JobMessages], cause: str) -> None:
        """The worker's job ends with a failure, and the worker with it; its slots stay readable, its other jobs wait
        for its successor."""
        worker = self._workers[i]
        assert worker is not None
        lines[worker.jobs.popleft()].end(Failed(cause))
        self._discard(i)
        for number in worker.jobs:
            self._begin(i, number, lines[number].job)

    def _discard(self, i: int) -> None:
        worker, self._workers[i] = self._workers[i], None
        if worker:
            self._spent += worker.busy
            worker.kill()


class _JobMessages:
    """The messages of one job that wait for the consumer."""

    def __init__(self, job: Any) -> None:
        self.job = job
        self.waiting: deque[tuple[Any, Array | None, Callable[[], None]]] = deque()
        self.ended = False

    def end(self, failed: Failed | None) -> None:
        """No more will come; perhaps because the job failed."""
        self.ended = True
        if failed:
            self.waiting.append((failed, None, lambda: None))


class _Worker:
    """The parent's side of one process: its pipe, its slots, its jobs and since when it has been silent."""

    def __init__(self, function: Work[Any], slots: int, slot_bytes: int) -> None:
        self.jobs: deque[int] = deque()
        self.ready = False
        self.busy = 0.0
        self.free = slots
        self.stride = -(-slot_bytes // PAGE) * PAGE
        self.heard = self.alive = time.monotonic()
        """When the last message came, and when the job last showed that it is at work."""
        path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile(dir=_memory()) as file:
            file.truncate(self.stride * slots + PAGE)
            self.memory = np.frombuffer(mmap.mmap(file.fileno(), self.stride * slots + PAGE), np.uint8)
            self.beats, self.beat = self.memory[-PAGE:].view(np.uint64), 0
            arguments = [theirs.fileno(), file.fileno(), slots, self.stride]
            name = f"{function.__module__}:{function.__qualname__}"
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", BOOT, *map(str, arguments), name],
                pass_fds=(theirs.fileno(), file.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                process_group=0,  # Ctrl-C reaches us alone, and we end them
            )
        self.pipe = Connection(ours.detach())

    def begin(self, number: int, job: Any) -> None:
        """Send a job; a worker that has died meanwhile is noticed when it is listened to."""
        if not self.jobs:
            self.heard = time.monotonic()
        self.jobs.append(number)
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(("job", job))

    def take(self, line: _JobMessages) -> None:
        """Receive one message into `line`."""
        sent: _Sent = self.pipe.recv()
        self.heard, self.busy = time.monotonic(), sent.busy
        if sent.kind == "ready":
            self.ready = True
        elif sent.kind == "end":
            line.end(Failed(sent.content) if sent.content else None)
            self.jobs.popleft()
        elif sent.slot is None:
            line.waiting.append((sent.content, None, lambda: None))
        else:
            self.free -= 1
            size = math.prod(sent.shape) * np.dtype(sent.dtype).itemsize
            start = sent.slot * self.stride
            array = self.memory[start : start + size].view(sent.dtype).reshape(sent.shape)
            line.waiting.append((sent.content, array, partial(self.release, sent.slot)))

    def release(self, slot: int) -> None:
        """A slot has been read and can be filled again."""
        if not self.free:  # the worker was held back by us: its silence counts from now
            self.heard = time.monotonic()
        self.free += 1
        with contextlib.suppress(OSError):
            self.pipe.send(("slot", slot))

    def idle(self, timeout: float) -> float:
        """Seconds that this worker has been silent without an excuse."""
        now = time.monotonic()
        if not self.jobs or not self.free:
            return 0.0
        if int(self.beats[0]) != self.beat and now - self.heard < PATIENCE * timeout:
            self.beat, self.alive = int(self.beats[0]), now
        return now - max(self.heard, self.alive)

    def cause_of_death(self) -> str:
        """Why the process is gone, in a few words."""
        status = self.process.wait()
        if status < 0:
            return f"the decoding process died: {signal.Signals(-status).name}"
        return f"the decoding process ended with status {status}"

    def kill(self) -> None:
        """End the process now."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()


_beats: Array | None = None


def alive() -> None:
    """Say, from within a job, that it is getting on although it has nothing to send; elsewhere this does nothing."""
    if _beats is not None:
        _beats[0] += 1


def _memory() -> str | None:
    """A folder whose files live in memory, where the system has one; the file there never has a name."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def serve(pipe: int, memory: int, slots: int, stride: int, *, work: str) -> None:
    """The life of a worker process: jobs in, messages out, until the parent hangs up."""
    child = _Child(Connection(pipe), memory, slots, stride)
    global _beats
    _beats = child.memory[-PAGE:].view(np.uint64)
    module, name = work.split(":")
    threading.Thread(target=child.listen, daemon=True).start()
    try:
        function: Work[Any] = reduce(getattr, name.split("."), importlib.import_module(module))  # type: ignore[assignment]
    except Exception as error:
        function = partial(_refuse, error)
    child.connection.send(_Sent("ready", 0.0))
    while True:
        child.work(function, child.jobs.get())


def _refuse(error: Exception, job: Any) -> Iterator[tuple[Any, Array | None]]:
    """Stands for a function that cannot be imported here, or that was sent a job that cannot."""
    raise error


class _Child:
    """The worker's side: a thread listens to the parent, so that even a hung job ends with it."""

    def __init__(self, connection: Connection, memory: int, slots: int, stride: int) -> None:
        self.connection = connection
        self.stride = stride
        self.memory = np.frombuffer(mmap.mmap(memory, slots * stride + PAGE), np.uint8)
        self.jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(slots):
            self.slots.put(slot)
        self.busy = 0.0

    def listen(self) -> None:
        """Sort what the parent sends; leave when it is gone."""
        while True:
            try:
                kind, content = self.connection.recv()
            except (EOFError, OSError):
                os._exit(0)
            except Exception as error:  # a job made of things that this process cannot import
                kind, content = "job", error
            (self.jobs if kind == "job" else self.slots).put(content)

    def work(self, function: Work[Any], job: Any) -> None:
        """One job, from its first message to its end."""
        cause = ""
        since = time.perf_counter()
        try:
            for message, array in _refuse(job, job) if isinstance(job, Exception) else function(job):
                self.busy += time.perf_counter() - since
                self.send(message, array)
                since = time.perf_counter()
        except Exception as error:
            said = " ".join(str(error).split())
            cause = said if isinstance(error, (ValueError, OSError)) and said else f"{type(error).__name__}: {said}"
        self.busy += time.perf_counter() - since
        self.connection.send(_Sent("end", self.busy, cause))

    def send(self, message: Any, array: Array | None) -> None:
        """One message; its array waits for a free slot."""
        if array is None:
            self.connection.send(_Sent("message", self.busy, message))
            return
        assert array.nbytes <= self.stride, f"{array.nbytes} bytes in a slot of {self.stride}"
        slot = self.slots.get()
        start = slot * self.stride
        self.memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)[...] = array
        self.connection.send(_Sent("message", self.busy, message, slot, array.shape, array.dtype.str))
