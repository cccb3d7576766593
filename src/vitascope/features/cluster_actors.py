"""Actors of a cluster: some decode blocks of examples, others encode their clips. Free of Ray, which only runs them.

A decoding actor runs the decoding processes of one machine, forms the batches of one machine, and sends each through
the object store to an encoding actor, where it is encoded by the function that encodes on one machine.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.cluster import cause
from vitascope.core.errors import UserError
from vitascope.core.version import __version__
from vitascope.core.worker_pool import Failed, Pool
from vitascope.encoders.base import Encoder
from vitascope.features.batching import ClipBatcher
from vitascope.features.decode_group import group_size, groups
from vitascope.features.decode_job import ClipIndex, DecodeJob, Message
from vitascope.features.view import View

AHEAD_BYTES = 256 << 20
"""Most bytes of pixels that a decoding actor has on their way to encoders; beyond it, it waits."""
AHEAD = 2
"""Batches for each encoder that a decoding actor has on their way."""
Vectors = dict[View, npt.NDArray[np.float32]]


class EncodedClips(NamedTuple):
    """The vectors of one batch."""

    clips: list[tuple[str, ClipIndex]]
    """Examples and their clips, in order."""
    outputs: Vectors
    seconds: float
    """Time spent encoding."""


class DecodedBlock(NamedTuple):
    """What a decoding actor returns of a block: all but the pixels."""

    messages: list[tuple[int, Message | Failed]]
    """Messages with the number of their job, in order, without those of clips."""
    batches: list[EncodedClips]
    unseen: list[str]
    """Files that this node does not have."""
    node: str


def sees(path: str) -> bool:
    """Whether this node has a file."""
    return os.path.lexists(path)


class EncodingActor:
    """Encodes batches with one encoder on one device."""

    def __init__(
        self, encoder: Encoder, views: Sequence[View], encode: Callable[..., Mapping[View, Tensor]], device: str
    ) -> None:
        """`encode`: `features.encode.encode_views`."""
        self.encoder = encoder.to(device) if isinstance(encoder, torch.nn.Module) else encoder
        self.views, self.encode_views, self.device = views, encode, device

    def ready(self, threads: int, folder: str) -> str:
        """Compute with as many threads as the driver, which gives its bits; return the version."""
        torch.set_num_threads(threads)
        return __version__

    def alive(self) -> None:
        """Answer, unless the actor is dead."""

    def encode(self, pixels: UInt8[npt.NDArray[np.uint8], "n t y x 3"]) -> tuple[Vectors, float]:
        """Return the vectors of a batch through every view, and the seconds that took."""
        began = time.monotonic()
        clips = torch.from_numpy(pixels.copy())  # what lies in the object store is read-only
        encoded = self.encode_views(self.encoder, clips, self.views, device=self.device)
        outputs = {view: values.float().cpu().numpy() for view, values in encoded.items()}
        return outputs, time.monotonic() - began


class DecodingActor:
    """Decodes blocks in `workers` processes of its own and has their clips encoded."""

    def __init__(
        self, decoders: Callable[[int], Pool[DecodeJob]], workers: int, batch: int, check: Callable[..., None]
    ) -> None:
        """`decoders` gives a pool of so many processes, `check` refuses a clip that a batch cannot take."""
        self.pool, self.workers = decoders(workers), workers
        self.batch, self.check = batch, check

    def ready(self, threads: int, folder: str) -> str:
        """Work in the folder of the driver, where relative paths begin; return the version."""
        if os.path.isdir(folder):
            os.chdir(folder)
        return __version__

    def decode(self, jobs: Sequence[DecodeJob], encoders: Sequence[Any]) -> DecodedBlock:
        """Decode a block, with its clips encoded by `encoders`, handles of encoding actors."""
        batches = _Batches(encoders)
        batcher: ClipBatcher[tuple[str, ClipIndex], int] = ClipBatcher(self.batch, batches.send, batches.note)
        messages: list[tuple[int, Message | Failed]] = []
        number = 0
        for job, message, pixels in self.pool.run(groups(jobs, group_size(len(jobs), self.workers))):
            if isinstance(message, ClipIndex):
                assert pixels is not None
                clip = torch.from_numpy(pixels)
                self.check(batcher, clip)
                batcher.add((job.example, message), clip)
                continue
            while jobs[number].example != job.example:
                number += 1
            messages.append((number, message))
        batcher.flush()
        unseen = [job.path for job in jobs if not sees(job.path)]
        return DecodedBlock(messages, batches.results(), unseen, socket.gethostname())


class _Sent(NamedTuple):
    """A batch on its way."""

    pixels: Any
    """Reference to the clips in the object store."""
    encoder: Any


class NoEncodersError(Exception):
    """All encoding actors that a block was given died: it has to begin anew, with others."""


class _Batches:
    """The batches of one block: sent to the encoder with the least to do, and again to another one if that dies."""

    def __init__(self, encoders: Sequence[Any]) -> None:
        import ray

        self.ray: Any = ray
        self.encoders = list(encoders)
        self.waiting: dict[Any, tuple[int, _Sent]] = {}
        """Batches on their way, with their numbers, by the reference of their result."""
        self.done: dict[int, tuple[Vectors, float]] = {}
        self.clips: list[list[tuple[str, ClipIndex]]] = []
        self.count = 0

    def send(self, pixels: UInt8[Tensor, "n t y x 3"]) -> int:
        """Send a batch, once there is room for it; return its number."""
        most = min(AHEAD * len(self.encoders), max(2, AHEAD_BYTES // max(pixels.nbytes, 1)))
        while len(self.waiting) >= most:
            self._receive()
        self._send(self.count, self.ray.put(pixels.numpy()))
        self.count += 1
        return self.count - 1

    def note(self, clips: list[tuple[str, ClipIndex]], number: int) -> None:
        """Remember which clips a batch has."""
        assert number == len(self.clips)
        self.clips.append(clips)

    def results(self) -> list[EncodedClips]:
        """Wait for all batches; return them in order."""
        while self.waiting:
            self._receive()
        return [EncodedClips(clips, *self.done[number]) for number, clips in enumerate(self.clips)]

    def _send(self, number: int, pixels: Any) -> None:
        if not self.encoders:
            raise NoEncodersError
        load = [sum(sent.encoder is encoder for _, sent in self.waiting.values()) for encoder in self.encoders]
        encoder = self.encoders[load.index(min(load))]
        self.waiting[encoder.encode.remote(pixels)] = number, _Sent(pixels, encoder)

    def _receive(self) -> None:
        """Wait for one batch; send it again if its encoder is gone."""
        (result,), _ = self.ray.wait(list(self.waiting), num_returns=1)
        number, sent = self.waiting.pop(result)
        try:
            self.done[number] = self.ray.get(result)
        except Exception as error:
            if not is_loss(self.ray, cause(self.ray, error)):
                raise
            self.encoders = [encoder for encoder in self.encoders if encoder is not sent.encoder]
            self._send(number, sent.pixels)


def is_loss(ray: Any, error: BaseException) -> bool:
    """Whether an error means that a process, a node or an object of the cluster is gone, not that the work is wrong."""
    if isinstance(error, NoEncodersError):
        return True
    return isinstance(error, ray.exceptions.RayError) and not isinstance(error, ray.exceptions.RayTaskError)


def refuse_other_version(version: str) -> None:
    """Raise UserError if a node has another version of this package."""
    if version != __version__:
        raise UserError(
            f"a node of the cluster has vitascope {version}, this machine {__version__}; install one version"
        )
