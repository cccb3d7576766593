"""Schedules of learning rates."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor

Value = TypeVar("Value", float, Tensor)


def cosine(step: int, steps: int, warm: int, peak: Value, final: Value | float = 0.0) -> Value:
    """Of `step` (from 1) of `steps`: linear up to `peak` over `warm` steps, then half a cosine down to `final`.

    `peak` may be a number for each head. Without warm-up the first step is already a little below the peak, the last
    one is at `final`: V-JEPA counts up before it looks.
    """
    if step < warm:
        return peak * (step / warm)
    return final + (peak - final) * (0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1))))
