"""View: which clips of an example are encoded, and how their tokens are reduced."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from vitascope.core.errors import UserError
from vitascope.core.types import LATER
from vitascope.sampling.samplers import Sampler

Reduce: TypeAlias = Literal["clip", "time", "grid"]
"""How `Tokens` are reduced: to the clip vector, to one vector per time step (mean over space), or not at all."""


@dataclass(frozen=True, slots=True)
class View:
    """How examples are sampled and encoded for a probe."""

    sampler: Sampler
    """Which clips of a video are read."""
    reduce: Reduce = "clip"
    """Reduction of the tokens of a clip: to one vector, to one per time step, or none."""
    stored: bool = True
    """Keep the vectors on disk; if False, encode them live, or store token grids while they fit the budget."""

    layer: str = field(default="", metadata=LATER)
    """Block whose mean patch tokens are read in place of the encoder's own vector, such as 3/12; empty: none. `all`, or
    numbers and `last` with commas, stand for one view each; see `features.layers`."""

    def __post_init__(self) -> None:
        if self.layer and self.reduce != "clip":
            raise UserError(
                f"layers={self.layer}: a layer is one vector per clip, but this probe reads tokens; use knn or linear"
            )

    @property
    def order_aware(self) -> bool:
        """Whether the vectors of a video tell in which order its clips come: a mean or a set of them does not."""
        return False
