"""Batch size of an encoder on a GPU: found by trying, once for each encoder and kind of GPU, and kept in the cache."""

from __future__ import annotations

from collections.abc import Callable

from vitascope.core.device import torch
from vitascope.core.errors import UserError
from vitascope.core.types import Card
from vitascope.features.measured import kind_of, measured_once

DEFAULT_BATCH = 8
"""Clips per batch where none is given and nothing is tried."""
GAIN = 1.03
"""A batch twice as large has to be this much faster per clip to be taken."""
LARGEST = 256
LARGEST_SECONDS = 2.0
"""Limits of what is tried: clips, and seconds of one batch."""


def fastest_batch(card: Card, device: torch.device, seconds: Callable[[int], float]) -> int:
    """Return the batch with which an encoder is fastest on a GPU; `seconds` measures one of so many clips."""
    return int(measured_once(card, kind_of(device), "batch", lambda: grow(seconds), most=LARGEST))


def grow(seconds: Callable[[int], float]) -> int:
    """Return the smallest batch, from `DEFAULT_BATCH` by doubling, of which twice as many gain little or do not fit."""
    size, before = DEFAULT_BATCH, seconds(DEFAULT_BATCH)
    while 2 * size <= LARGEST and before <= LARGEST_SECONDS / 2:
        try:
            twice = seconds(2 * size)
        except (UserError, torch.OutOfMemoryError):
            break
        if 2 * before < twice * GAIN:
            break
        size, before = 2 * size, twice
    return size
