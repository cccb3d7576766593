"""Losses and gradient norms of the steps since the last line of the log, kept on the device until they are read.

A step whose loss or gradient is not finite was skipped by the optimizers; two in a row are a reason to stop. All
processes hold the same values, averaged over them, and so agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from statistics import fmean
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PATIENCE = 2
"""Steps in a row that are not finite and stop the run."""
Means: TypeAlias = dict[str, float]


class Step(NamedTuple):
    """One step: its number, counted from 1, the source of its clips, and its values."""

    number: int
    source: str
    losses: Means
    """Unweighted loss of each target."""
    targets: Means
    """Mean of each target's values."""
    norm: float
    """Norm of the gradient."""

    @property
    def problem(self) -> str:
        """Which loss, gradient or target is not finite; empty for a sound step."""
        losses = [name for name, value in self.losses.items() if not isfinite(value)]
        targets = [name for name, value in self.targets.items() if not isfinite(value)]
        if not losses and isfinite(self.norm):
            return ""
        text = f"the loss of {', '.join(losses)}" if losses else "the gradient"
        text += " is not finite" if losses else " is not finite, although every loss is"
        return f"{text}; nor is the target of {', '.join(targets)}: check its teacher" if targets else text


class StepMeans(NamedTuple):
    """Mean losses of sound steps, overall and by source, and the gradient norm of the last one."""

    losses: Means
    by_source: dict[str, Means]
    norm: float


class StepHistory:
    """Collects the values of steps; only `read` waits for the device."""

    def __init__(self, names: Iterable[str], *, skipped: int = 0, in_a_row: int = 0) -> None:
        """Begin after `skipped` skipped steps, the last `in_a_row` of them in a row; `names` are the targets'."""
        self.names, self.skipped, self.in_a_row = list(names), skipped, in_a_row
        self.why = ""
        """Reason to stop: the second of two steps in a row that were not finite."""
        self._pending: list[tuple[int, str, Tensor]] = []
        self._steps: list[Step] = []

    def sound(self, values: Float[Tensor, "v"]) -> Bool[Tensor, ""]:
        """Whether losses and gradient norm of a step are finite, on its device; `values` as for `add`."""
        return torch.cat([values[: len(self.names)], values[-1:]]).isfinite().all()

    def add(self, number: int, source: str, values: Float[Tensor, "v"]) -> None:
        """Add a step: the losses and the means of the values of all targets, and the gradient norm."""
        self._pending.append((number, source, values))

    def read(self) -> None:
        """Copy the values of all steps so far from the device, and count those that were skipped."""
        pending, self._pending = self._pending, []
        rows: list[list[float]] = torch.stack([values for _, _, values in pending]).tolist() if pending else []
        for (number, source, _), row in zip(pending, rows, strict=True):
            step = self._step(number, source, row)
            self._steps.append(step)
            self.skipped += bool(step.problem)
            self.in_a_row = self.in_a_row + 1 if step.problem else 0
            if self.in_a_row >= PATIENCE and not self.why:
                self.why = f"steps {number - 1} and {number} could not be used: {step.problem}"

    def take(self) -> tuple[StepMeans | None, list[Step]]:
        """Return the means of the sound steps since the last call, None if there are none, and the skipped steps."""
        self.read()
        steps, self._steps = self._steps, []
        sound, skipped = [s for s in steps if not s.problem], [s for s in steps if s.problem]
        if not sound:
            return None, skipped
        sources = dict.fromkeys(step.source for step in sound)
        by_source = {source: _means([s.losses for s in sound if s.source == source]) for source in sources}
        return StepMeans(_means([s.losses for s in sound]), by_source, sound[-1].norm), skipped

    def _step(self, number: int, source: str, row: Sequence[float]) -> Step:
        count = len(self.names)
        losses, targets = (dict(zip(self.names, row[at : at + count], strict=True)) for at in (0, count))
        return Step(number, source, losses, targets, row[-1])


def _means(rows: Sequence[Mapping[str, float]]) -> Means:
    return {name: fmean(losses[name] for losses in rows) for name in rows[0]}
