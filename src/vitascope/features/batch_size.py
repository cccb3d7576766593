"""Batch size of an encoder on a GPU: found by trying, once for each encoder and kind of GPU, and kept in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from vitascope.core import files
from vitascope.core.device import torch
from vitascope.core.errors import UserError
from vitascope.core.files import cache
from vitascope.core.types import Card, digest

DEFAULT_BATCH = 8
"""Clips per batch where none is given and nothing is tried."""
GAIN = 1.03
"""A batch twice as large has to be this much faster per clip to be taken."""
LARGEST = 256
LARGEST_SECONDS = 2.0
"""Limits of what is tried: clips, and seconds of one batch."""


def fastest_batch(card: Card, device: torch.device, seconds: Callable[[int], float]) -> int:
    """Return the batch with which an encoder is fastest on a GPU; `seconds` measures one of so many clips."""
    path = _record(card, torch.cuda.get_device_name(device))
    known = _read(path)
    if not known:
        known = grow(seconds)
        files.write(path, json.dumps({"encoder": card.name, "batch": known}).encode())
    return known


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


def _record(card: Card, gpu: str) -> Path:
    """The file of what was found for a card on a kind of GPU."""
    return cache() / "batches" / f"{digest([card.behavior, gpu, torch.__version__])}.json"


def _read(path: Path) -> int:
    """The batch in a file; 0 if there is none, or none that could be one."""
    try:
        found = json.loads(path.read_bytes()).get("batch", 0)
    except (OSError, ValueError, AttributeError):
        return 0
    return found if isinstance(found, int) and 0 < found <= LARGEST else 0
