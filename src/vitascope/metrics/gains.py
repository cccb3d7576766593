"""Gains of several alternatives over one reference on the same test examples, corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from vitascope.metrics.stats import Difference, Groups, holm, paired

ALPHA = 0.05
"""Significance level."""


class Gain(NamedTuple):
    """The gain of one alternative over the reference."""

    gap: Difference
    """Paired difference; its interval is that of this alternative alone, not of all together."""
    adjusted: float
    """p-value, Holm-adjusted over all alternatives."""

    @property
    def verdict(self) -> str:
        """`gain` or `loss` if it differs significantly from the reference, else empty."""
        return "" if self.adjusted >= ALPHA else "gain" if self.gap.value > 0 else "loss"


def gains(outcomes: Mapping[str, Float[ndarray, "n"]], reference: str, groups: Groups, *, seed: int) -> dict[str, Gain]:
    """Gains over the one called `reference` of all others, by name, from outcomes of examples in percent.

    Every interval is of its own generator with the same `seed`, so none depends on which others there are.
    """
    others = [name for name in outcomes if name != reference]
    gaps = {
        name: paired(outcomes[name], outcomes[reference], groups, rng=np.random.default_rng(seed)) for name in others
    }
    adjusted = dict(zip(others, holm([gaps[name].p for name in others]), strict=True))
    return {name: Gain(gaps[name], adjusted[name]) for name in others}
