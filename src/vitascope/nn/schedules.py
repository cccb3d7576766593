"""Learning rate schedules."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor

Value = TypeVar("Value", float, Tensor)


def cosine(step: int, steps: int, warm: int, peak: Value, final: Value | float = 0.0) -> Value:
    """Cosine schedule: linear warm-up to `peak` over `warm` steps, then a half cosine to `final`.

    `step` counts from 1 to `steps`; `peak` may be a tensor with one value per head. As in V-JEPA, which increments
    before reading, the first step without warm-up is slightly below `peak` and the last step is exactly at `final`.
    """
    if step < warm:
        return peak * (step / warm)
    return final + (peak - final) * (0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1))))
