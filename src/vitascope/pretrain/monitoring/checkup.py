"""Check-ups: in-loop probing beside the training processes, divided among them, that cannot end the run.

With worker processes, each training process has one more for its share of the clips; else it does it itself. The
others wait in a process group of their own without a time limit to speak of, not in a collective of the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitascope.core.device import device as device_called
from vitascope.core.errors import StorageError, UserError, one_line
from vitascope.core.files import atomic_file
from vitascope.core.log import log
from vitascope.core.types import Card
from vitascope.core.worker_pool import Failed, Pool
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.pretrain import export
from vitascope.pretrain.data.base import ClipSpec
from vitascope.pretrain.distributed import Ranks
from vitascope.pretrain.monitoring.probing import InLoopProbing, ProbingConfig, ProbingResult
from vitascope.pretrain.recipe import Recipe

WEIGHTS = ".check-up.safetensors"
"""File in the run folder by which the weights reach other processes; removed afterwards."""
WAIT = timedelta(days=30)
"""How long the training processes wait for one another during a check-up."""
SILENCE = 1800.0
"""Seconds without a clip read or a probe fitted after which a check-up's process is stopped."""


def _cause(error: Exception) -> str:
    return str(error) if isinstance(error, (UserError, OSError)) else one_line(error)


class Share(NamedTuple):
    """What one process found out."""

    vectors: Mapping[str, npt.NDArray[np.float32]]
    broken: dict[str, str]
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One part of a check-up: to embed a share of the clips or, given all `vectors`, to score them."""

    config: ProbingConfig
    spec: ClipSpec
    card: Card
    shape: VideoViTConfig
    weights: str
    """File of the weights."""
    device: str
    threads: int
    """Threads of the training process, so that sums are formed in the same order."""
    rank: int
    world: int
    broken: dict[str, str]
    vectors: Mapping[str, npt.NDArray[np.float32]] | None = None


@cache
def _kept(config: ProbingConfig, spec: ClipSpec) -> InLoopProbing:
    """The probing of this process, which keeps the decoded clips from one check-up to the next."""
    return InLoopProbing(config, spec)


def work(job: Job) -> Iterator[tuple[Any, None]]:
    """Do a job; runs in a worker. Yields a `Share` with vectors as arrays, or a `ProbingResult`."""
    torch.set_num_threads(job.threads)
    prober, device = _kept(job.config, job.spec), device_called(job.device)
    prober.broken |= job.broken
    encoder = export.encoder_of(load_file(job.weights), job.card, job.shape, device)
    if job.vectors is None:
        vectors = prober.embed(encoder, device, rank=job.rank, world=job.world)
        yield Share({i: vector.numpy() for i, vector in vectors.items()}, prober.broken), None
    else:
        yield prober.evaluate(encoder, device, {i: torch.from_numpy(v) for i, v in job.vectors.items()}), None


class Checkups:
    """In-loop probing of a run; every training process has one and calls it at the same steps.

    Raises UserError for datasets that cannot be opened. Later failures are said, and the training goes on.
    """

    def __init__(
        self, config: ProbingConfig, recipe: Recipe, run: Path, *, device: torch.device, ranks: Ranks, workers: int
    ) -> None:
        self.recipe, self.path, self.device, self.ranks = recipe, run / WEIGHTS, device, ranks
        self._prober = InLoopProbing(config, recipe.spec)
        self._group: Any = dist.new_group(backend="gloo", timeout=WAIT) if ranks.world > 1 else None
        self._pool: Pool[Job] | None = (
            Pool(work, workers=1, slots=1, slot_bytes=1, timeout=SILENCE) if workers else None
        )

    @property
    def unreadable(self) -> dict[str, str]:
        """Unreadable examples so far: {id: reason}."""
        return self._prober.unreadable

    def __call__(self, step: int, weights: Mapping[str, Tensor]) -> ProbingResult | None:
        """Probe the encoder with `weights`, which only rank 0 needs to have; the result in rank 0, if there is one."""
        try:
            if self._pool or self._group:
                return self._shared(step, weights)
            return self._prober(export.build_encoder(weights, self.recipe, self.device), self.device)
        except Exception as error:  # whatever it is, the training is sound
            self._say(step, _cause(error))
            return None

    def close(self) -> None:
        """End the worker process."""
        if self._pool:
            self._pool.close()

    def _shared(self, step: int, weights: Mapping[str, Tensor]) -> ProbingResult | None:
        """Embed this process's share, exchange the vectors, and score all of them in rank 0."""
        problem = self._exchange(self._write(weights) if self.ranks.first else "")[0]
        if problem:
            raise StorageError(problem)
        shares: list[Share] = self._exchange(self._share())
        self._prober.broken |= {i: why for share in shares for i, why in share.broken.items()}
        if not self.ranks.first:
            return None
        errors = [share.error for share in shares if share.error]
        vectors = {i: vector for share in shares for i, vector in share.vectors.items()}
        result = Failed(errors[0]) if errors else self._try(replace(self._job(), vectors=vectors))
        self.path.unlink()
        if isinstance(result, Failed):
            self._say(step, result.cause)
            return None
        assert isinstance(result, ProbingResult)
        return result

    def _write(self, weights: Mapping[str, Tensor]) -> str:
        """Write the weights; returns why that failed, which the other processes must learn."""
        try:
            with atomic_file(self.path) as aside:
                save_file({name: tensor.contiguous() for name, tensor in weights.items()}, aside)
        except Exception as error:
            return _cause(error)
        return ""

    def _share(self) -> Share:
        share = self._try(self._job())
        return Share({}, {}, share.cause) if isinstance(share, Failed) else share

    def _job(self) -> Job:
        return Job(
            config=self._prober.config,
            spec=self.recipe.spec,
            card=export.card(self.recipe),
            shape=self.recipe.shape,
            weights=str(self.path),
            device=str(self.device),
            threads=torch.get_num_threads(),
            rank=self.ranks.rank,
            world=self.ranks.world,
            broken=self._prober.broken,
        )

    def _try(self, job: Job) -> Any:
        """The message of a job, or why there is none."""
        try:
            if self._pool is None:
                return next(work(job))[0]
            return [message for _, message, _ in self._pool.run([job])][-1]
        except Exception as error:
            return Failed(_cause(error))

    def _exchange(self, value: Any) -> list[Any]:
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self.ranks.world
        dist.all_gather_object(values, value, group=self._group)
        return values

    def _say(self, step: int, why: str) -> None:
        log.warning("the check-up at step %d failed: %s; the training goes on", step, why)
