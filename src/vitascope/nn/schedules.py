"""Learning rate schedules."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor

Value = TypeVar("Value", float, Tensor)


def trapezoid(step: int, steps: int, warm: int, decay: int, ends: tuple[float, float]) -> float:
    """Warmup-stable-decay: linear warm-up to the first of `ends`, constant, then linear to the second.

    The decay takes the last `decay` of `steps` steps. `step` counts from 1; as in V-JEPA 2's schedules, which increment
    before reading, the last step is exactly at the final value. Without decay it is constant after the warm-up.
    """
    peak, final = ends
    if step < warm:
        return peak * (step / warm)
    return peak + (final - peak) * max(step - (steps - decay), 0) / max(decay, 1)


def cosine(step: int, steps: int, warm: int, peak: Value, final: Value | float = 0.0) -> Value:
    """Cosine schedule: linear warm-up to `peak` over `warm` steps, then a half cosine to `final`.

    `step` counts from 1 to `steps`; `peak` may be a tensor with one value per head. As in V-JEPA, which increments
    before reading, the first step without warm-up is slightly below `peak` and the last step is exactly at `final`.
    """
    if step < warm:
        return peak * (step / warm)
    return final + (peak - final) * (0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1))))
