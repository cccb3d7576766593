"""What a file of predictions scores, and pairwise comparison of several files on the same truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from vitascope.core.text import counted, nearest
from vitascope.core.types import Score
from vitascope.metrics.stats import Difference, holm, paired_draws, redrawn

SEED = 0
"""Random seed of all resamples."""
DRAWS = 1000
"""Resamples of the videos."""
Statistic: TypeAlias = Callable[[Int64[ndarray, "b u"]], Float64[ndarray, "b 1"]]
"""The headline in percent for each resample, given how often each unit occurs in it."""


@dataclass(frozen=True)
class Scored:
    """Scores of one file of predictions."""

    name: str
    scores: Mapping[str, Score]
    """In percent, the headline first."""
    per_class: Mapping[str, Score]
    statistic: Statistic
    """Of resamples of all units, which are the same for all files."""
    units: int
    """Number of units (videos, or examples) that are resampled."""
    notes: Sequence[str] = ()
    exact: Mapping[str, float] = field(default_factory=dict)
    """Numbers as their evaluators print them, to full precision."""
    diagnosis: Mapping[str, Any] = field(default_factory=dict)
    """Plain data: error types and parts of the data."""

    @property
    def headline(self) -> str:
        """Name of the headline score."""
        return next(iter(self.scores))


@dataclass(frozen=True)
class Comparison:
    """Paired difference of the headline of two files, first minus second, with the p-value adjusted over all pairs."""

    first: str
    second: str
    difference: Difference
    adjusted: float


def compared(files: Sequence[Scored]) -> list[Comparison]:
    """All pairs, by bootstrap of the same resamples of units for every file."""
    if len(files) < 2:
        return []
    draws = [_draws(file) for file in files]
    pairs = list(combinations(range(len(files)), 2))
    each = []
    for a, b in pairs:
        gap = files[a].scores[files[a].headline].value - files[b].scores[files[b].headline].value
        each.append(paired_draws(gap, draws[a] - draws[b], n=files[a].units, units=files[a].units))
    adjusted = holm([difference.p for difference in each])
    return [
        Comparison(files[a].name, files[b].name, difference, p)
        for (a, b), difference, p in zip(pairs, each, adjusted, strict=True)
    ]


def _draws(file: Scored) -> Float64[ndarray, "draws"]:
    values: Float64[ndarray, "draws"] = redrawn(
        file.statistic, file.units, draws=DRAWS, rng=np.random.default_rng(SEED)
    )[:, 0]
    return values


def unknown_videos(names: Sequence[str], known: Sequence[str], what: str) -> str:
    """A note on videos of the predictions that the truth does not have; empty if there are none."""
    listed = set(known)
    unknown = [name for name in names if name not in listed]
    if not unknown:
        return ""
    near = nearest(unknown[0], known)
    return f"{counted(len(unknown), 'video')} of {what} not in the truth, such as {unknown[0]!r}{near}"


def plain(value: Any) -> Any:
    """Data for JSON: scores as objects, NaN as null."""
    if isinstance(value, Score):
        return {name: plain(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
