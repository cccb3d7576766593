"""What is measured once for an encoder and a kind of device, and kept in the cache."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitascope.core import files
from vitascope.core.device import torch
from vitascope.core.files import cache
from vitascope.core.locks import SUFFIX, writer_lock
from vitascope.core.types import Card, digest


def kind_of(device: torch.device) -> str:
    """Return the kind of a device: devices of one kind compute alike."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"


def measured_once(card: Card, kind: str, what: str, measure: Callable[[], float], *, most: float = math.inf) -> float:
    """Return the number above 0, at most `most`, that is kept as `what` for a card and a kind of device.

    `measure` gives it the first time; processes that need it meanwhile wait. Nothing is kept of what it raises.
    """
    path = cache() / "batches" / f"{digest([card.behavior, kind, torch.__version__])}.json"
    if number := _kept(path, what, most):
        return number
    path.parent.mkdir(parents=True, exist_ok=True)
    with writer_lock(path.with_suffix(SUFFIX), path.parent):
        number = _kept(path, what, most) or measure()
        files.write(path, json.dumps({**_read(path), "encoder": card.name, what: number}).encode())
    return number


def _kept(path: Path, what: str, most: float) -> float:
    """The number in a file; 0 if there is none, or none that could be one."""
    number = _read(path).get(what)
    return number if isinstance(number, int | float) and 0 < number <= most else 0


def _read(path: Path) -> dict[str, Any]:
    """What a file has; nothing if there is none, or none of ours."""
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
