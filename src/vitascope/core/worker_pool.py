"""Worker processes for decoding: arrays return through shared memory in job order, and hung jobs are killed.

A worker is a fresh interpreter that imports a single module: no fork of a process with threads, no second run of the
user's script, no torch unless that module imports it. Each worker has its own slots in anonymous shared memory, so
memory is bounded, a slow consumer applies back-pressure, and no order of jobs can deadlock. The memory has no name and
workers exit with their parent: nothing is left behind even if the parent is killed.
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

from vitascope.core.errors import UserError, one_line

J = TypeVar("J")
Array = npt.NDArray[Any]
Work = Callable[[J], Iterable[tuple[Any, Array | None]]]
"""A function run in the worker: a job to messages of small plain data, each with an optional array."""

PAGE = 4096
PATIENCE = 30
"""Time limits for which a job may only report alive: an endless loop over a broken file does so too."""
START = 60.0
"""Time limit for a worker to start and import its module, seconds."""
BOOT = "import sys; from vitascope.core.worker_pool import serve; serve(*map(int, sys.argv[1:5]), work=sys.argv[5])"


class Failed(NamedTuple):
    """The last message of a job that failed, with the cause in one line."""

    cause: str


class _Sent(NamedTuple):
    """A message from a worker to its parent: `ready` after the import, a `message` of a job, or its `end`."""

    kind: Literal["ready", "message", "end"]
    busy: float
    """Total time this worker has been busy, seconds."""
    content: Any = None
    slot: int | None = None
    shape: tuple[int, ...] = ()
    dtype: str = ""


class Pool(Generic[J]):
    """Worker processes running `function(job)`, a top-level generator of `(message, array or None)`, for many jobs.

    Each of the `workers` processes has `slots` slots of `slot_bytes` for arrays in transit, and up to `ahead` queued
    jobs besides the current one, so that it keeps working while the consumer is busy. A job fails and its process is
    killed if it has a free slot but sends no message and does not call `report_alive` for `timeout` seconds, or sends
    no message for `PATIENCE` times as long. A job whose process dies fails too. Use as a context manager; `run` may be
    called repeatedly.
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
        """Kill the workers."""
        for i in range(len(self._workers)):
            self._discard(i)

    @property
    def busy(self) -> float:
        """Share of wall time that the workers spent working rather than waiting for a job or a slot, 0 to 1."""
        spent = self._spent + sum(w.busy for w in self._workers if w)
        return spent / (self._seconds * len(self._workers)) if self._seconds else 0.0

    def run(self, jobs: Iterable[J]) -> Iterator[tuple[J, Any, Array | None]]:
        """Yield `(job, message, array)` in job order.

        A job that fails ends with a `Failed` message. An array is a view of shared memory that is valid only until the
        next iteration: copy it to keep it. Jobs are taken from `jobs` only when a worker is free.
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
            if lines:  # the consumer stopped early: pending results are not needed
                self.close()

    def _assign(self, source: Iterator[tuple[int, J]], lines: dict[int, _JobMessages]) -> bool:
        """Fill the queues of the workers, shortest first; False when the jobs are exhausted."""
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
        """Yield the pending messages of one job."""
        while line.waiting:
            message, array, free = line.waiting.popleft()
            yield line.job, message, array
            del array
            free()

    def _listen(self, lines: dict[int, _JobMessages], seconds: float) -> None:
        """Receive messages for up to `seconds`; fail the jobs of workers that died or hang."""
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
        """Receive all messages in the pipe of worker `i`."""
        worker = self._workers[i]
        assert worker is not None
        try:
            while worker.jobs and worker.pipe.poll():
                worker.take(lines[worker.jobs[0]])
        except (EOFError, OSError):
            self._fail(i, lines, worker.cause_of_death())

    def _fail(self, i: int, lines: dict[int, _JobMessages], cause: str) -> None:
        """Fail the current job of worker `i` and kill it; its slots stay readable, its other jobs are restarted."""
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
    """The pending messages of one job."""

    def __init__(self, job: Any) -> None:
        self.job = job
        self.waiting: deque[tuple[Any, Array | None, Callable[[], None]]] = deque()
        self.ended = False

    def end(self, failed: Failed | None) -> None:
        """Mark the job as complete, with a last message if it failed."""
        self.ended = True
        if failed:
            self.waiting.append((failed, None, lambda: None))


class _Worker:
    """The parent's side of one worker: its process, pipe, slots, jobs and times of the last messages."""

    def __init__(self, function: Work[Any], slots: int, slot_bytes: int) -> None:
        self.jobs: deque[int] = deque()
        self.ready = False
        self.busy = 0.0
        self.free = slots
        self.stride = -(-slot_bytes // PAGE) * PAGE
        self.heard = self.alive = time.monotonic()
        """Monotonic times of the last message and of the last `report_alive`, seconds."""
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
                process_group=0,  # Ctrl-C reaches only the parent, which kills the workers
            )
        self.pipe = Connection(ours.detach())

    def begin(self, number: int, job: Any) -> None:
        """Send a job; that the worker has died is detected by the next receive."""
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
        """Return a slot to the worker after its array was read."""
        if not self.free:  # the worker was blocked by the consumer: its time limit starts now
            self.heard = time.monotonic()
        self.free += 1
        with contextlib.suppress(OSError):
            self.pipe.send(("slot", slot))

    def idle(self, timeout: float) -> float:
        """Seconds without progress; 0 while the worker has no job or no free slot."""
        now = time.monotonic()
        if not self.jobs or not self.free:
            return 0.0
        if int(self.beats[0]) != self.beat and now - self.heard < PATIENCE * timeout:
            self.beat, self.alive = int(self.beats[0]), now
        return now - max(self.heard, self.alive)

    def cause_of_death(self) -> str:
        """How the process ended."""
        status = self.process.wait()
        if status < 0:
            return f"the decoding process died: {signal.Signals(-status).name}"
        return f"the decoding process ended with status {status}"

    def kill(self) -> None:
        """Kill the process."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()


_beats: Array | None = None


def report_alive() -> None:
    """Report progress from a job that has no message to send yet; outside a worker this does nothing."""
    if _beats is not None:
        _beats[0] += 1


def _memory() -> str | None:
    """A folder of a memory file system, if there is one; the file created there has no name."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def serve(pipe: int, memory: int, slots: int, stride: int, *, work: str) -> None:
    """Main loop of a worker process: run jobs until the parent closes the pipe."""
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
    """Raise `error` as the job: its function or the job itself cannot be imported here."""
    raise error


class _Child:
    """The worker's side; a thread listens to the parent, so that even a hung worker exits with it."""

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
        """Queue the jobs and free slots that the parent sends; exit when it is gone."""
        while True:
            try:
                kind, content = self.connection.recv()
            except (EOFError, OSError):
                os._exit(0)
            except Exception as error:  # the job contains types that cannot be imported here
                kind, content = "job", error
            (self.jobs if kind == "job" else self.slots).put(content)

    def work(self, function: Work[Any], job: Any) -> None:
        """Run one job and send its messages and its end."""
        cause = ""
        since = time.perf_counter()
        try:
            for message, array in _refuse(job, job) if isinstance(job, Exception) else function(job):
                self.busy += time.perf_counter() - since
                self.send(message, array)
                since = time.perf_counter()
        except Exception as error:
            text = " ".join(str(error).split())
            # anything else is a bug, here or in a codec: its type and place tell it from a damaged file
            cause = text if isinstance(error, (UserError, OSError)) and text else one_line(error)
        self.busy += time.perf_counter() - since
        self.connection.send(_Sent("end", self.busy, cause))

    def send(self, message: Any, array: Array | None) -> None:
        """Send one message; an array waits for a free slot."""
        if array is None:
            self.connection.send(_Sent("message", self.busy, message))
            return
        assert array.nbytes <= self.stride, f"{array.nbytes} bytes in a slot of {self.stride}"
        slot = self.slots.get()
        start = slot * self.stride
        self.memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)[...] = array
        self.connection.send(_Sent("message", self.busy, message, slot, array.shape, array.dtype.str))
