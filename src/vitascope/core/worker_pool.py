"""Worker processes for decoding: arrays return through shared memory in job order, and what is lost is tried again.

A worker is a fresh interpreter that imports a single module: no fork of a process with threads, no second run of the
user's script, no torch unless that module imports it. Each worker has its own slots in anonymous shared memory, so
memory is bounded, a slow consumer applies back-pressure, and no order of jobs can deadlock. The memory has no name and
workers exit with their parent: nothing is left behind even if the parent is killed.

A job whose process dies or hangs, or whom the machine refuses memory, files or disk, is begun again. A job gives the
same messages whenever it is run, so those that had arrived are skipped: the consumer notices nothing.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from vitascope.core.faults import CRASHES
from vitascope.core.log import log
from vitascope.core.shared_memory import memory_file
from vitascope.core.worker_process import BOOT, PAGE, Array, Loss, Sent, Together, Work

J = TypeVar("J")

PATIENCE = 30
"""Time limits for which a job may only report alive: an endless loop over a broken file does so too."""
START = 60.0
"""Time limit for a worker to start and import its module, seconds."""
ATTEMPTS = 3
"""Attempts at a job whose process dies or hangs, or whom the machine fails; the last one has no other beside it."""
BUSY = 0.1
"""Share of the time without progress that a process computed, from which on it hangs by itself: it was not stopped."""


class Failed(NamedTuple):
    """The last message of a job that failed, with the cause in one line."""

    cause: str
    lasting: bool = True
    """The job fails in this way by itself, whenever it is run; False if the machine is to blame."""


class Group(list[J]):
    """Jobs that one process is given at once, because they cost less together."""


class Pool(Generic[J]):
    """Worker processes running `function(job)`, a top-level generator of `(message, array or None)`, for many jobs.

    Each of the `workers` processes has `slots` slots of `slot_bytes` for arrays in transit, and up to `ahead` queued
    jobs besides the current one, so that it keeps working while the consumer is busy. A process is killed if it has a
    free slot but sends no message and does not call `report_alive` for `timeout` seconds, or sends no message for
    `PATIENCE` times as long. Its job, and that of a process that died, is run up to `ATTEMPTS` times; a process
    killed for want of memory halves the number of workers. A `Group` of jobs is run by `together`, a top-level
    function that gives the messages of each job as `function` would, in order; of a group that was lost each job is
    begun again by itself. Use as a context manager; `run` may be called repeatedly.
    """

    def __init__(
        self,
        function: Work[J],
        *,
        workers: int,
        slots: int,
        slot_bytes: int,
        timeout: float,
        ahead: int = 0,
        together: Together[J] | None = None,
    ) -> None:
        assert workers > 0
        assert slots > 0
        self.timeout = timeout
        self.ahead = ahead
        self._start = partial(_Worker, [function, together] if together else [function], slots, slot_bytes)
        self._workers: list[_Worker | None] = [None] * workers
        self._allowed = workers
        self._alone: list[_JobMessages] = []
        """Jobs at their last attempt: while there are any, one process runs."""
        self._spent = 0.0
        self._seconds = 0.0

    def __enter__(self) -> Pool[J]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers."""
        self._alone.clear()
        for i in range(len(self._workers)):
            self._discard(i)

    @property
    def busy(self) -> float:
        """Share of wall time that the workers spent working rather than waiting for a job or a slot, 0 to 1."""
        spent = self._spent + sum(w.busy for w in self._workers if w)
        return spent / (self._seconds * len(self._workers)) if self._seconds else 0.0

    def run(self, jobs: Iterable[J | Group[J]]) -> Iterator[tuple[J, Any, Array | None]]:
        """Yield `(job, message, array)` in job order, also for the jobs of groups.

        A job that fails ends with a `Failed` message. An array is a view of shared memory that is valid only until the
        next iteration: copy it to keep it. Jobs are taken from `jobs` only when a worker is free.
        """
        source = _numbered(jobs)
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

    @property
    def _places(self) -> int:
        """Number of processes that may run now."""
        return 1 if self._alone else self._allowed

    def _assign(self, source: Iterator[dict[int, J]], lines: dict[int, _JobMessages]) -> bool:
        """Fill the queues of the workers, shortest first; False when the jobs are exhausted."""
        while True:
            in_hand = [len(w.jobs) if w else 0 for w in self._workers[: self._places]]
            i = in_hand.index(min(in_hand))
            if in_hand[i] > self.ahead:
                return True
            jobs = next(source, None)
            if jobs is None:
                return False
            lines |= {number: _JobMessages(job) for number, job in jobs.items()}
            self._begin(i, jobs)

    def _begin(self, i: int, jobs: Mapping[int, Any]) -> None:
        worker = self._workers[i] = self._workers[i] or self._start()
        worker.begin(jobs)

    def _deliver(self, line: _JobMessages) -> Iterator[tuple[J, Any, Array | None]]:
        """Yield the pending messages of one job."""
        while line.waiting:
            message, array, free = line.waiting.popleft()
            yield line.job, message, array
            del array
            free()

    def _listen(self, lines: dict[int, _JobMessages], seconds: float) -> None:
        """Receive messages for up to `seconds`; begin anew what was lost with workers that died or hang."""
        running = {w.pipe: w for w in self._workers if w and w.jobs}
        if not running:
            return
        for pipe in wait(list(running), seconds):
            assert isinstance(pipe, Connection)
            self._receive(running[pipe], lines)
        for worker in running.values():
            if worker in self._workers and (loss := worker.hung(self.timeout)):
                self._lose(worker, lines, loss)
        if self._alone and all(line.ended for line in self._alone):
            self._alone.clear()
            if self._allowed > 1:
                self._begin_anew(lines)

    def _receive(self, worker: _Worker, lines: dict[int, _JobMessages]) -> None:
        """Receive all messages in the pipe of a worker, unless it was discarded meanwhile."""
        try:
            while worker in self._workers and worker.jobs and worker.pipe.poll():
                if loss := worker.take(lines[worker.jobs[0]]):
                    self._lose(worker, lines, loss)
        except (EOFError, OSError):
            self._lose(worker, lines, worker.cause_of_death())

    def _lose(self, worker: _Worker, lines: dict[int, _JobMessages], loss: Loss) -> None:
        """Kill a worker whose current job was lost; begin it again, or fail it after the last attempt.

        Slots of a killed worker stay readable. The last attempt has the machine to itself.
        """
        line, places = lines[worker.jobs[0]], self._places
        line.attempts += 1
        if line.attempts == ATTEMPTS:
            worker.jobs.popleft()
            line.end(Failed(f"{loss.cause}; tried {ATTEMPTS} times, the last time alone", lasting=loss.own))
        elif line.attempts == ATTEMPTS - 1:
            self._alone.append(line)
        if loss.killed and self._allowed > 1:
            self._allowed //= 2
            log.warning("%s, often for want of memory; going on with %d processes", loss.cause, self._allowed)
        self._begin_anew(lines, worker if places == self._places else None)

    def _begin_anew(self, lines: dict[int, _JobMessages], only: _Worker | None = None) -> None:
        """Kill all workers, or one, and begin their jobs again, in order, in as many processes as are allowed.

        The jobs of one process stay in order: it might wait for ever for the consumer of a job queued behind.
        """
        workers = [only] if only else [worker for worker in self._workers if worker]
        places = [self._workers.index(only)] if only else range(self._places)
        numbers = sorted(number for worker in workers for number in worker.jobs)
        for worker in workers:
            self._discard(self._workers.index(worker))
        for turn, number in enumerate(numbers):
            lines[number].restart()
            self._begin(places[turn % len(places)], {number: lines[number].job})

    def _discard(self, i: int) -> None:
        worker, self._workers[i] = self._workers[i], None
        if worker:
            self._spent += worker.busy
            worker.kill()


def _numbered(jobs: Iterable[J | Group[J]]) -> Iterator[dict[int, J]]:
    """Yield the jobs that begin together, each by its number."""
    count = 0
    for job in jobs:
        group = dict(enumerate(job if isinstance(job, Group) else [job], count))
        count += len(group)
        yield group


class _JobMessages:
    """The pending messages of one job."""

    def __init__(self, job: Any) -> None:
        self.job = job
        self.waiting: deque[tuple[Any, Array | None, Callable[[], None]]] = deque()
        self.ended = False
        self.attempts = 0
        """Attempts that were lost."""
        self.received = self.skip = 0
        """Messages received in all attempts, and those still to be skipped in the current one."""

    def add(self, message: Any, array: Array | None, free: Callable[[], None]) -> None:
        """Add a message, unless it came in an earlier attempt."""
        if self.skip:
            self.skip -= 1
            free()
            return
        self.received += 1
        self.waiting.append((message, array, free))

    def restart(self) -> None:
        """Expect the messages from the first on."""
        self.skip = self.received

    def end(self, failed: Failed | None) -> None:
        """Mark the job as complete, with a last message if it failed."""
        self.ended = True
        if failed:
            self.waiting.append((failed, None, lambda: None))


class _Worker:
    """The parent's side of one worker: its process, pipe, slots, jobs and times of the last messages."""

    def __init__(self, functions: Sequence[Callable[..., Any]], slots: int, slot_bytes: int) -> None:
        self.jobs: deque[int] = deque()
        self.ready = False
        self.busy = 0.0
        self.free = slots
        self.stride = -(-slot_bytes // PAGE) * PAGE
        self.heard = self.alive = time.monotonic()
        """Monotonic times of the last message and of the last `report_alive`, seconds."""
        self.silent: tuple[float, float] | None = None
        """Monotonic time and processor time at a moment of the current silence, seconds."""
        path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
        size = self.stride * slots + PAGE
        ours, theirs = socket.socketpair()
        with theirs, memory_file(size) as file:
            self.memory = np.frombuffer(mmap.mmap(file, size), np.uint8)
            self.beats, self.beat = self.memory[-PAGE:].view(np.uint64), 0
            arguments = [theirs.fileno(), file, slots, self.stride]
            names = [f"{function.__module__}:{function.__qualname__}" for function in functions]
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", BOOT, *map(str, arguments), *names],
                pass_fds=(theirs.fileno(), file),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                process_group=0,  # Ctrl-C reaches only the parent, which kills the workers
            )
        self.pipe = Connection(ours.detach())

    def begin(self, jobs: Mapping[int, Any]) -> None:
        """Send jobs to be run together; that the worker has died is detected by the next receive."""
        if not self.jobs:
            self.heard = time.monotonic()
        self.jobs.extend(jobs)
        with contextlib.suppress(BrokenPipeError):
            if len(jobs) > 1:
                self.pipe.send(("together", len(jobs)))
            for job in jobs.values():
                self.pipe.send(("job", job))

    def take(self, line: _JobMessages) -> Loss | None:
        """Receive one message into `line`; return why, if the machine failed the job."""
        sent: Sent = self.pipe.recv()
        self.heard, self.busy, self.silent = time.monotonic(), sent.busy, None
        if sent.kind == "ready":
            self.ready = True
        elif sent.kind == "end":
            loss: Loss | None = sent.content
            if loss and not loss.own:
                return loss
            line.end(Failed(loss.cause) if loss else None)
            self.jobs.popleft()
        elif sent.slot is None:
            line.add(sent.content, None, lambda: None)
        else:
            self.free -= 1
            size = math.prod(sent.shape) * np.dtype(sent.dtype).itemsize
            start = sent.slot * self.stride
            array = self.memory[start : start + size].view(sent.dtype).reshape(sent.shape)
            line.add(sent.content, array, partial(self.release, sent.slot))
        return None

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
            self.beat, self.alive, self.silent = int(self.beats[0]), now, None
        return now - max(self.heard, self.alive)

    def hung(self, timeout: float) -> Loss | None:
        """Return what to say of a worker without progress for longer than `timeout` (more while it starts)."""
        limit = timeout if self.ready else max(timeout, START)
        idle, now = self.idle(limit), time.monotonic()
        if idle <= limit:
            if self.silent is None and idle > limit / 2:
                self.silent = now, self._computed()
            return None
        since, before = self.silent or (now, 0.0)
        own = now > since and self._computed() - before > BUSY * (now - since)
        return Loss(f"no progress for {limit:g} s; killed", own=own)

    def _computed(self) -> float:
        """Processor time of the process in seconds, 0 where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cause_of_death(self) -> Loss:
        """How the process ended."""
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return Loss("the decoding process closed its pipe", own=False)
        if status < 0:
            name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
            cause = f"the decoding process died: {name}"
            return Loss(cause, own=-status in CRASHES, killed=-status == signal.SIGKILL)
        return Loss(f"the decoding process ended with status {status}", own=True)

    def kill(self) -> None:
        """Kill the process."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()
