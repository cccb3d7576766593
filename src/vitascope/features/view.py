"""View: which clips of an example a probe reads, and what is kept of their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from vitascope.sampling.samplers import Sampler

Reduce: TypeAlias = Literal["clip", "time", "grid"]
"""What is kept of `Tokens`: the summary vector, the grid averaged over space, or the whole grid."""


@dataclass(frozen=True, slots=True)
class View:
    """How a probe wants examples seen."""

    sampler: Sampler
    reduce: Reduce = "clip"
    stored: bool = True
    """Vectors are small: kept on disk. Else encoded as they are read, or kept as long as a budget for grids allows."""
