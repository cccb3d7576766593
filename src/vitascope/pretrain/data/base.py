"""Interfaces of the pretraining data: a source is plain data and opens a reader, which can be resumed exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Int, UInt8
from torch import Tensor

from vitascope.core.errors import UserError

State: TypeAlias = dict[str, Any]
"""Position of a reader, JSON-serializable."""


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Size of a clip: number of frames and side of the square frames in pixels. Stills always have one frame."""

    frames: int
    size: int

    def __post_init__(self) -> None:
        for name in ("frames", "size"):
            if getattr(self, name) < 1:
                raise UserError(f"clips: {name} is a whole number from 1, not {getattr(self, name)!r}")


class Clips(NamedTuple):
    """A batch of clips from one source; a still is a clip of one frame."""

    pixels: UInt8[Tensor, "n t y x 3"]
    labels: Int[Tensor, "n"]
    """Class indices of the source, -1 for unlabeled clips."""
    source: str
    """Name of the source that the clips come from."""


@runtime_checkable
class Reader(Protocol):
    """An endless shuffled sequence of clips.

    After `restore(state)` it returns the batches that followed `state()`, bit for bit, if read in the same sizes.
    """

    @property
    def broken(self) -> dict[str, str]:
        """Unreadable files skipped so far: {id: reason}."""

    @property
    def seconds_waited(self) -> float:
        """Total seconds that `read` has waited for clips."""

    def read(self, n: int) -> Clips:
        """Return the next `n` clips. Raises UserError if the source has no readable clips."""

    def state(self) -> State:
        """Position after the last clip returned; prefetched clips do not count."""

    def restore(self, state: State) -> None:
        """Continue from `state`. Raises UserError if the state belongs to another source."""

    def merged(self, states: Sequence[State]) -> State:
        """The state for this process that goes on from those of all of another number of processes, in their order.

        Raises UserError if they belong to another source, or if it cannot be divided anew.
        """

    def close(self) -> None:
        """Stop threads and workers; reading again restarts them."""


@runtime_checkable
class ClipSource(Protocol):
    """A source of training clips: a frozen dataclass that is part of a recipe."""

    @property
    def name(self) -> str:
        """Name in logs."""

    @property
    def pretraining_datasets(self) -> tuple[str, ...]:
        """Names of the datasets it contains, as encoder cards list them."""

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> Reader:
        """Open the share of rank `rank` of `world` in the order given by `seed`, decoded by `workers` processes."""


def check_rank(rank: int, world: int) -> None:
    """Raise UserError unless 0 <= rank < world."""
    if not 0 <= rank < world:
        raise UserError(f"rank {rank} of {world}: ranks go from 0 to {world - 1}")
