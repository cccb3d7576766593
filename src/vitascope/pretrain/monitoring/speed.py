"""Speed of training between two lines of the log: clips, steps, waiting for data, share of the matrix peak, memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Speed(NamedTuple):
    """Means since the last line of the log; arguments of `LogWriter.step`."""

    clips_per_second: float
    steps_per_second: float
    waiting: float
    """Share of the time spent waiting for data, 0 to 1."""
    mfu: float | None
    """Operations of the model over those that plain matrix products would reach, 0 to 1 (Chowdhery et al. 2022)."""


class Speedometer:
    """Counts clips, steps and the model's operations against a clock."""

    def __init__(self, waited: Callable[[], float], *, clock: Callable[[], float] = time.perf_counter) -> None:
        """Start now; `waited` returns the seconds spent waiting for data so far, `clock` seconds."""
        self._waited, self._clock = waited, clock
        self._clips, self._steps, self._flops = 0, 0, 0.0
        self._restart()

    def step(self, clips: int, flops: float) -> None:
        """Count a step of `clips` clips and `flops` floating point operations, of all processes."""
        self._clips, self._steps, self._flops = self._clips + clips, self._steps + 1, self._flops + flops

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time of the block, which is spent on something else."""
        began = self._clock()
        yield
        self._began += self._clock() - began

    @property
    def seconds_waited(self) -> float:
        """Seconds spent waiting for data since the last line."""
        return self._waited() - self._waited_before

    def take(self, seconds_waited: float, peak: float) -> Speed:
        """Return the means since the last call; `peak` is the rate of matrix products of all devices, 0 if unknown.

        `seconds_waited` is the longest of all processes: one that waits delays the others, which would count the delay
        as computation.
        """
        seconds = max(self._clock() - self._began, 1e-9)
        rates = (self._clips / seconds, self._steps / seconds, min(seconds_waited / seconds, 1.0))
        mfu = self._flops / seconds / peak if peak and self._flops else None
        self._restart()
        return Speed(*rates, mfu)

    def _restart(self) -> None:
        self._began, self._waited_before = self._clock(), self._waited()
        self._clips, self._steps, self._flops = 0, 0, 0.0
