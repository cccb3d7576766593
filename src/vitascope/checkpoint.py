"""Official weight files, read without running what they may contain."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Checkpoint:
    """What a weight file holds."""

    content: Any
    """Nested dictionaries of tensors."""
    config: dict[str, Any] = field(default_factory=dict)
    """Of a folder's config.json; empty where there is none."""


def read(path: str | Path) -> Checkpoint:
    """The content of a weight file."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return Checkpoint(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
