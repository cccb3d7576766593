"""How to run extraction, what it came to, and the keys of the stores that it fills."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from vitascope.core.types import Card, Dataset
from vitascope.features.batch_size import DEFAULT_BATCH
from vitascope.features.blocks import WHOLE, Shard
from vitascope.features.store import Key
from vitascope.features.view import View

PIPELINE = 2
"""Version of decoding and pixel arithmetic; incremented whenever the same file would yield different pixels."""

Compile: TypeAlias = Literal["off", "faster", "always"]
"""When encoders run compiled: never, where that was measured to be faster, or always; see `features.compiling`."""


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """How to run extraction; no option changes a vector."""

    device: str = "cpu"
    on: str = ""
    """Cluster to compute on, `ray` or `ray://host:port`; empty: this process and its workers."""
    cluster_device: str = ""
    """Device of the encoders on the cluster; empty: GPUs if it has some."""
    workers: int = 0
    """Decoding processes; 0: all cores but one, which is left to the encoder."""
    batch: int = DEFAULT_BATCH
    """Clips per encoder batch; 0: as many as a GPU is fastest with (found by trying), 8 on others."""
    timeout: float = 60.0
    """Seconds without a frame after which a video counts as failed."""
    retry_failed: bool = False
    """Retry examples that failed before."""
    full_digest: bool = False
    """Identify video files by all their bytes, not by samples of them."""
    shard: Shard = WHOLE
    """Which part of the dataset to embed."""
    quiet: bool = False
    """Print no progress."""

    @property
    def processes(self) -> int:
        """Number of decoding processes, with 0 resolved."""
        return self.workers or max(1, (os.cpu_count() or 2) - 1)


@dataclass(frozen=True)
class ExtractionSummary:
    """Summary of an extraction."""

    failures: Mapping[str, str] = field(default_factory=dict)
    """{example id: why it has no vector}, over all views."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """{example id: warnings about a video that was decoded anyway}."""
    encoded: int = 0
    """Examples encoded now."""
    clips: int = 0
    """Clips encoded now."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time by phase: embed (wall clock), decode, encode."""


def store_key(dataset: Dataset[Any], card: Card, view: View) -> Key:
    """Return the key under which the vectors of `dataset` through `view` are stored."""
    name = dataset.key or dataset.name
    return Key(dataset=name, card=card, sampler=view.sampler, reduce=view.reduce, pipeline=PIPELINE, layer=view.layer)
