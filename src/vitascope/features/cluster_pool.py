"""Pools of decoding and encoding actors on a Ray cluster, in place of the decoding processes of one machine.

Whole blocks go to decoding actors; what comes back of a block arrives at once, when all of it is encoded, and is
written by the driver alone. A block of which anything was lost (an actor, a node, an object) begins anew, and actors
that died are replaced: nothing is stored twice, and nothing of a block is stored before all of it is there.

Back-pressure: a decoding actor has only so many bytes on their way to encoders, and a block is taken only when a
decoding actor is free. The pools follow the cluster: they grow with its nodes, and shrink as blocks run out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any, TypeVar

import torch

from vitascope.core.cluster import (
    HeadGoneError,
    Resources,
    accelerators,
    cause,
    connect,
    head_of,
    require_head,
    resources,
    result_of,
    summary,
    watched,
)
from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.worker_pool import Group, Pool
from vitascope.encoders.base import Encoder
from vitascope.features.cluster_actors import (
    DecodedBlock,
    DecodingActor,
    EncodingActor,
    NoEncodersError,
    is_loss,
    refuse_other_version,
)
from vitascope.features.decode_job import DecodeJob
from vitascope.features.view import View

Outcome = TypeVar("Outcome")
RESIZE = 5.0
"""Seconds between two looks at what the cluster has."""
PATIENCE = 60.0
"""Seconds without an actor at work after which the wait is announced."""
ATTEMPTS = 20
"""Times that a block may be lost; only a block that kills whoever decodes it comes to that."""
PROCESSES = 16
"""Most decoding processes of one actor."""


@dataclass(frozen=True, kw_only=True)
class ClusterJob:
    """What runs on the cluster: the functions of one machine, and how."""

    on: str
    """Where: `ray`, or `ray://host:port`."""
    encoder: Encoder
    views: Sequence[View]
    decoders: Callable[[int], Pool[DecodeJob]]
    """Gives a pool of so many decoding processes."""
    encode: Callable[..., Any]
    """`features.encode.encode_views`."""
    check: Callable[..., None]
    """Refuses a clip that cannot be stored with those before it."""
    batch: int
    device: str = ""
    """Of the encoders; empty: GPUs, if there are any."""
    workers: int = 0
    """Decoding processes in all; 0: one for each CPU that the encoders leave."""
    blocks: int = 1
    """Blocks that are to be decoded."""


@dataclass(frozen=True)
class PoolSizes:
    """How many actors there should be, and what each reserves."""

    encoders: int
    encoder: dict[str, float]
    decoders: int
    decoder: dict[str, float]
    processes: int
    """Decoding processes of a decoding actor."""


def pool_sizes(have: Resources, job: ClusterJob, threads: int) -> PoolSizes:
    """Divide the resources of a cluster: GPUs, or half of the CPUs, encode; the other CPUs decode."""
    if on_gpus(have, job.on, job.device):
        encoders, each = max(1, have.gpus), min(1.0, have.cpus / 2)
        encoder = {"num_cpus": max(0.5, each), "num_gpus": 1.0}
    else:
        each = max(0.5, min(float(threads), have.largest - 1))
        encoders = max(1, int(have.cpus // (2 * each)))
        encoder = {"num_cpus": each}
    left = max(0.5, have.cpus - encoders * each)
    wanted = job.workers or max(1, int(left))
    processes = max(1, min(wanted // max(1, job.blocks), int(have.largest - each), PROCESSES))
    share = min(1.0, left) * processes
    decoders = max(1, min(wanted // processes, int(left // share), job.blocks))
    return PoolSizes(encoders, encoder, decoders, {"num_cpus": share}, processes)


def on_gpus(have: Resources, on: str, device: str) -> bool:
    """Whether the encoders run on GPUs; UserError if they were to and there are none."""
    if device.startswith("cuda") and not have.gpus:
        raise UserError(f"--device {device}: the cluster at --on {on} has no GPU; leave it out, or give cpu")
    return have.gpus > 0 and device in ("", "cuda")


def kind_on(on: str, device: str) -> str:
    """Names of the GPUs of a cluster that the encoders run on; empty if they run on CPUs."""
    ray = connect(on)
    return accelerators(ray) if on_gpus(resources(ray), on, device) else ""


def run_once(on: str, device: str, act: Callable[..., Outcome], *given: Any) -> Outcome:
    """Return what a function of `given` and a device gives on a node of a cluster, on a device as encoders have it."""
    ray, threads = connect(on), torch.get_num_threads()
    have = resources(ray)
    gpu = on_gpus(have, on, device)
    options = {"num_gpus": 1} if gpu else {"num_cpus": max(0.5, min(float(threads), have.largest))}
    task = ray.remote(_with_threads).options(**options)
    try:
        result: Outcome = result_of(
            ray, task.remote(threads, act, given, "cuda" if gpu else "cpu"), on, head_of(ray, on)
        )
    except Exception as error:
        raised = cause(ray, error)
        raise raised if isinstance(raised, UserError) else UserError(f"--on {on}: {summary(raised)}") from error
    return result


def _with_threads(threads: int, act: Callable[..., Outcome], given: Sequence[Any], device: str) -> Outcome:
    torch.set_num_threads(threads)
    return act(*given, device)


@dataclass(eq=False)
class _Actor:
    """One actor: the reference of what it does, and the block that it has."""

    handle: Any
    ready: Any
    """Reference of the answer to the first call; None once it came."""
    block: list[DecodeJob] = field(default_factory=list)


class ClusterPool:
    """Runs jobs block by block on a cluster; a context manager like `core.worker_pool.Pool`."""

    def __init__(self, job: ClusterJob) -> None:
        self.ray = connect(job.on)
        self.head = head_of(self.ray, job.on)
        self.job = job
        self.threads = torch.get_num_threads()
        self.have = resources(self.ray)
        self.sizes = pool_sizes(self.have, job, self.threads)
        self.device = "cuda" if on_gpus(self.have, job.on, job.device) else "cpu"
        try:
            self.encoder = self.ray.put(job.encoder)
        except Exception as error:
            raise UserError(f"{job.encoder.card.name} cannot be sent to a cluster ({error})") from error
        self.decoders: list[_Actor] = []
        self.encoders: list[_Actor] = []
        self.waiting: dict[Any, _Actor] = {}
        """What actors are doing, by the reference of its result."""
        self.again: list[list[DecodeJob]] = []
        """Blocks that were lost."""
        self.attempts: dict[str, int] = {}
        self.failed_starts = 0
        """Actors in a row that died before they were ready."""
        self.looked, self.worked = 0.0, time.monotonic()
        self.spent = self.seconds = 0.0
        """Time of decoding actors with a block, in shares of all of them, and all time that was waited, seconds."""

    def __enter__(self) -> ClusterPool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End all actors."""
        for actor in (*self.decoders, *self.encoders):
            self._kill(actor)
        self.decoders, self.encoders, self.waiting = [], [], {}

    @property
    def busy(self) -> float:
        """Share of time in which decoding actors had a block, on average over them."""
        return self.spent / self.seconds if self.seconds else 0.0

    def run(self, jobs: Iterable[Group[DecodeJob]]) -> Iterator[tuple[DecodeJob, Any, None]]:
        """Yield `(job, message, None)`, those of a block together; clips come as `EncodedClips`, with any of its jobs.

        The last message of a block comes last of all. UserError if the head node is gone.
        """
        try:
            with watched(self.job.on, self.head):
                yield from self._run(jobs)
        except HeadGoneError:
            self.decoders, self.encoders, self.waiting = [], [], {}  # which nobody can end
            raise

    def _run(self, jobs: Iterable[Group[DecodeJob]]) -> Iterator[tuple[DecodeJob, Any, None]]:
        source = (list(block) for _, block in groupby(chain.from_iterable(jobs), key=lambda job: job.block))
        more = True
        while True:
            self._resize(shrink=not more)
            more = self._assign(source) and more
            if not more and not any(actor.block for actor in self.decoders) and not self.again:
                return
            for block, decoded in self._listen():
                yield from self._replay(block, decoded)

    def _assign(self, source: Iterator[list[DecodeJob]]) -> bool:
        """Give blocks to decoding actors that have none; False when the blocks are exhausted."""
        encoders = [actor.handle for actor in self.encoders if actor.ready is None]
        for actor in [a for a in self.decoders if encoders and a.ready is None and not a.block]:
            block = self.again.pop() if self.again else next(source, [])
            if not block:
                return False
            actor.block = block
            self.waiting[actor.handle.decode.remote(block, encoders)] = actor
        return True

    def _listen(self) -> Iterator[tuple[list[DecodeJob], DecodedBlock]]:
        """Wait for an actor for up to a second; yield what came of blocks."""
        began, share = time.monotonic(), sum(bool(a.block) for a in self.decoders) / max(1, len(self.decoders))
        results, _ = self.ray.wait(list(self.waiting), num_returns=1, timeout=1.0) if self.waiting else ([], [])
        self.seconds += time.monotonic() - began
        self.spent += share * (time.monotonic() - began)
        if any(actor.block for actor in self.decoders):
            self.worked = time.monotonic()
        elif time.monotonic() - self.worked > PATIENCE:
            self.worked = time.monotonic()
            log.warning(
                "the cluster at --on %s has %g CPUs and %d GPUs, and no room yet for an actor with %s and one with %s",
                *(self.job.on, self.have.cpus, self.have.gpus, self.sizes.decoder, self.sizes.encoder),
            )
        for result in results:
            actor = self.waiting.pop(result)
            try:
                value = self.ray.get(result)
            except Exception as error:
                self._lose(actor, error)
                continue
            if result == actor.ready:  # not the same object for clients of a cluster
                refuse_other_version(value)
                actor.ready, self.failed_starts = None, 0
            elif isinstance(value, DecodedBlock):
                block, actor.block = actor.block, []
                self._check_seen(value)
                yield block, value

    def _lose(self, actor: _Actor, raised: Exception) -> None:
        """Note that something of what an actor did was lost; raise what is not the cluster's fault."""
        error = cause(self.ray, raised)
        if not is_loss(self.ray, error):
            raise error
        block, actor.block = actor.block, []
        self.failed_starts += actor.ready is not None
        if block:
            self.again.append(block)
            self.attempts[block[0].block] = self.attempts.get(block[0].block, 0) + 1
        if self.failed_starts == ATTEMPTS or max(self.attempts.values(), default=0) == ATTEMPTS:
            what = f"the block that begins with {block[0].example}" if block else "an actor that was to begin"
            raise UserError(f"{what} was lost {ATTEMPTS} times on the cluster at --on {self.job.on}: {summary(error)}")
        if error is raised:  # what a task raised leaves its actor alive
            self._discard(actor)
        if isinstance(error, NoEncodersError):
            self._suspect_encoders()

    def _suspect_encoders(self) -> None:
        """Give blocks only to encoding actors that answer once more: some have died."""
        for actor in [a for a in self.encoders if a.ready is None]:
            actor.ready = actor.handle.ready.remote(self.threads, os.getcwd())
            self.waiting[actor.ready] = actor

    def _discard(self, actor: _Actor) -> None:
        self._kill(actor)
        for pool in (self.decoders, self.encoders):
            if actor in pool:
                pool.remove(actor)
        self.waiting = {result: a for result, a in self.waiting.items() if a is not actor}
        self.looked = 0.0  # to be replaced now

    def _kill(self, actor: _Actor) -> None:
        try:
            self.ray.kill(actor.handle)
        except Exception as error:  # the cluster may be gone
            log.debug("%s", error)

    def _check_seen(self, decoded: DecodedBlock) -> None:
        """Raise UserError if a node lacks files that this machine has: it would record them as failed."""
        if lost := next((path for path in decoded.unseen if os.path.lexists(path)), None):
            raise UserError(f"{lost}: not there on node {decoded.node}; give all nodes the videos at the same path")

    def _replay(self, block: list[DecodeJob], decoded: DecodedBlock) -> Iterator[tuple[DecodeJob, Any, None]]:
        encoders = max(1, len(self.encoders))
        *messages, last = decoded.messages
        for number, message in messages:
            yield block[number], message, None
        for batch in decoded.batches:
            yield block[0], batch._replace(seconds=batch.seconds / encoders), None
        yield block[last[0]], last[1], None

    def _resize(self, *, shrink: bool) -> None:
        """Follow the cluster: begin actors where some died or nodes came, end idle ones that are not needed."""
        if time.monotonic() - self.looked < RESIZE:
            return
        self.looked = time.monotonic()
        require_head(self.job.on, self.head)
        self.have = resources(self.ray)
        self.sizes = pool_sizes(self.have, self.job, self.threads)
        for actor in [a for a in self.encoders if a not in self.waiting.values()]:
            self.waiting[actor.handle.alive.remote()] = actor
        idle = [a for a in self.decoders if not a.block]
        wanted = min(self.sizes.decoders, len(self.again) + 1) if shrink else self.sizes.decoders
        for actor in idle[: max(0, len(self.decoders) - wanted)]:
            self._discard(actor)
        missing_encoders = self.sizes.encoders - len(self.encoders)
        self.encoders += [self._start_encoder() for _ in range(missing_encoders)]
        self.decoders += [self._start_decoder() for _ in range(wanted - len(self.decoders))]

    def _start_encoder(self) -> _Actor:
        job, options = self.job, {**self.sizes.encoder, "scheduling_strategy": "SPREAD"}
        return self._start(EncodingActor, options, self.encoder, list(job.views), job.encode, self.device)

    def _start_decoder(self) -> _Actor:
        job, options = self.job, {**self.sizes.decoder, "scheduling_strategy": "SPREAD"}
        return self._start(DecodingActor, options, job.decoders, self.sizes.processes, job.batch, job.check)

    def _start(self, kind: type[Any], options: dict[str, Any], *given: Any) -> _Actor:
        handle = self.ray.remote(kind).options(max_restarts=0, **options).remote(*given)
        actor = _Actor(handle, handle.ready.remote(self.threads, os.getcwd()))
        self.waiting[actor.ready] = actor
        return actor
