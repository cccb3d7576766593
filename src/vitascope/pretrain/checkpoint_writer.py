"""Write the checkpoints of a run from a thread, while training goes on."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from vitascope.pretrain import checkpoint
from vitascope.pretrain.distributed import Ranks


class CheckpointWriter:
    """Copies the state of a run and writes it, one checkpoint at a time, each as `checkpoint.write` does.

    An error of the thread is raised by the next call of `save`, `check` or `wait`, in all processes alike.
    """

    def __init__(self, run: Path, ranks: Ranks, *, background: bool = True) -> None:
        """Without `background`, `save` returns when the checkpoint is written. A collective of all processes."""
        self.run, self.ranks, self.background = run, ranks, background
        # not within `write`: filters are those of all threads
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized", UserWarning)
        self._own_ranks = ranks.with_own_group() if background else ranks
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def save(
        self,
        step: int,
        model: nn.Module,
        optimizers: Iterable[Optimizer],
        *,
        metadata: Mapping[str, Any],
        healthy: Path | None = None,
    ) -> Path:
        """Begin to write a checkpoint once the last one is written; returns its folder."""
        self.wait()
        state = checkpoint.snapshot(model, optimizers, copied=self.background)
        write = partial(checkpoint.write, metadata=metadata, ranks=self._own_ranks, healthy=healthy)
        if self.background:
            self._writing = self._pool.submit(write, self.run, step, state)
        else:
            write(self.run, step, state)
        return checkpoint.folder_of(self.run, step)

    def check(self) -> None:
        """Raise the error of the thread, if it has failed in any process; a collective of all processes."""
        failed = self._writing is not None and self._writing.done() and self._writing.exception() is not None
        if any(self.ranks.gather(failed)):
            self.wait()

    def wait(self) -> None:
        """Wait until the last checkpoint is written. Raises StorageError if that failed."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Wait for the thread; the error that ends the run is another one."""
        with suppress(Exception):
            self.wait()
        self._pool.shutdown()
