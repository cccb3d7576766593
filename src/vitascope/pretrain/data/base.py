"""What every source of clips promises: plain data that opens into a reader, and a reader that can be taken up again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Int, UInt8
from torch import Tensor

from vitascope.core.errors import UserError

State: TypeAlias = dict[str, Any]
"""Where a reader is, as JSON can hold it."""


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """What a clip is: how many frames, and the side of a square frame in pixels. Stills have one frame in any case."""

    frames: int
    size: int

    def __post_init__(self) -> None:
        for name in ("frames", "size"):
            if getattr(self, name) < 1:
                raise UserError(f"clips: {name} is a whole number from 1, not {getattr(self, name)!r}")


class Clips(NamedTuple):
    """A batch of one source; a still is a clip of one frame."""

    pixels: UInt8[Tensor, "n t y x 3"]
    labels: Int[Tensor, "n"]
    """Classes as the source numbers them, -1 where none is known or none was asked for."""
    source: str
    """Name of the source."""


@runtime_checkable
class Reader(Protocol):
    """An endless shuffled sequence of clips. After `restore(state)` come the batches that would have come after
    `state()`, to the last bit, if they are asked for in the same sizes."""

    @property
    def broken(self) -> dict[str, str]:
        """What could not be read so far, by id, and why; it was left out."""

    @property
    def waited(self) -> float:
        """Seconds that `read` has waited for clips, in all."""

    def read(self, n: int) -> Clips:
        """The next `n` clips. ValueError where the source has none that can be read."""

    def state(self) -> State:
        """Behind the last clip given out, whatever was prepared beyond it."""

    def restore(self, state: State) -> None:
        """Go where `state` was taken. ValueError where it is another source's."""

    def close(self) -> None:
        """End threads and workers; reading again starts them anew."""


@runtime_checkable
class ClipSource(Protocol):
    """Frozen plain data that a recipe holds."""

    @property
    def name(self) -> str:
        """What logs call it."""

    @property
    def pretraining_datasets(self) -> tuple[str, ...]:
        """The data sets in it, as cards name them."""

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> Reader:
        """The part of the sequence of `seed` that rank `rank` of `world` reads, prepared by `workers` processes."""


def check_share(rank: int, world: int) -> None:
    """ValueError unless there is a rank `rank` among `world`."""
    if not 0 <= rank < world:
        raise UserError(f"rank {rank} of {world}: ranks count from 0 to {world - 1}")
