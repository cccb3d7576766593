"""What the parts of `gpu.py` report, and how large they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Row(NamedTuple):
    """One measured number."""

    what: str
    value: float
    unit: str
    aim: str = ""
    """The limit that it has to keep, or the number aimed at."""
    ok: bool | None = None
    """Whether it keeps its limit; None where there is none."""


Report = Callable[[Row], None]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much the parts do."""

    goldens: int = 0
    """Encoders compared; 0: all."""
    epochs: int = 12
    """Epochs of the small trainings of probes."""
    steps: int = 20
    """Steps of pretraining, of which some are lost when it is killed."""
    batch: int = 32
    """Clips a step."""
    seconds: float = 1.0
    """Least time of a measurement."""
    queries: int = 100_000
    """Queries of kNN, on ten times as many vectors of `dim` values."""
    dim: int = 1024
    heads: int = 20
    """Attentive heads trained at once."""
    repeats: int = 5
    """Steps measured, of which the best counts."""
    videos: int = 256
    """Files of the pipeline."""


FULL = Size()
SMALL = Size(goldens=5, epochs=2, steps=6, batch=4, seconds=0.01, queries=100, dim=16, heads=2, repeats=1, videos=4)
"""For a CPU, in seconds: numbers that mean nothing, from the code that will run on a GPU."""


def at_most(what: str, value: float, limit: float, unit: str = "") -> Row:
    """A number that has to be small; one that is not a number is wrong."""
    return Row(what, value, unit, f"at most {limit:g}", value <= limit)


def aimed(what: str, value: float, aim: float, unit: str = "") -> Row:
    """A number that is hoped to be large."""
    return Row(what, value, unit, f"aim {aim:g}", value >= aim)
