"""View: which clips of an example are encoded, how their tokens are reduced, and the vectors of clips aggregated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from vitascope.core.errors import UserError
from vitascope.core.types import LATER
from vitascope.features.aggregators import Aggregator
from vitascope.features.aggregators import describe as describe_aggregator
from vitascope.sampling.augmentations import find_drawn
from vitascope.sampling.names import Around, RandomClip, Reversed, Uniform, describe
from vitascope.sampling.samplers import Sampler, SamplerWrapper

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
    agg: Aggregator | None = field(default=None, metadata=LATER)
    """How the stored clip vectors of an example become one; none: they stay as they are."""
    layer: str = field(default="", metadata=LATER)
    """Block whose mean patch tokens are read in place of the encoder's own vector, such as 3/12; empty: none. `all`, or
    numbers and `last` with commas, stand for one view each; see `features.layers`."""

    def __post_init__(self) -> None:
        if self.agg is not None and (why := self.not_a_sequence()):
            raise UserError(f"agg={describe_aggregator(self.agg)}: {why}")
        if self.layer and (self.reduce != "clip" or not self.stored):
            why = "reads tokens; use knn or linear" if self.reduce != "clip" else "encodes its clips anew; add draws=8"
            raise UserError(f"layers={self.layer}: a layer is one stored vector per clip, but this probe {why}")

    @property
    def clips(self) -> View:
        """The view before aggregation, which the store knows."""
        return self if self.agg is None else replace(self, agg=None)

    @property
    def order_aware(self) -> bool:
        """Whether the vectors of a video tell in which order its clips come: a mean or a set of them does not."""
        return self.agg is not None and self.agg.sees_order

    @property
    def backwards(self) -> bool:
        """Whether the video plays backwards, so that its last clip comes first."""
        sampler, backwards = self.sampler, False
        while isinstance(sampler, SamplerWrapper):
            backwards ^= isinstance(sampler, Reversed)
            sampler = sampler.inner
        return backwards

    def not_a_sequence(self) -> str:
        """Why its vectors are no clips of a video in time, which could be aggregated or compared; empty if they are."""
        if self.reduce != "clip" or not self.stored:
            return (
                "needs stored clip vectors, but this probe reads tokens or encodes its clips anew; "
                "use knn/clip or linear"
            )
        if find_drawn(self.sampler) is not None:
            return f"the clips of {describe(self.sampler)} are drawn at random, not spread over the video"
        inner = self.sampler
        while isinstance(inner, SamplerWrapper):
            inner = inner.inner
        if isinstance(inner, (Uniform, Around, RandomClip)):
            return (
                f"{describe(self.sampler)} has one clip a video, so nothing is left to aggregate; use knn/clip, or "
                "add +train=multiclip:2+test=multiclip:2"
            )
        return ""
