"""Sources held in the memory of the training device: decoded once, indexed and augmented there, bit for bit as read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.pretrain.data.base import Clips, ClipSource, ClipSpec, Reader, State
from vitascope.pretrain.data.resumable import Merge, ResumableReader

GIGABYTE = 10**9


class Memory:
    """Room on a device for the data of all sources together."""

    def __init__(self, device: torch.device, gigabytes: float) -> None:
        self.device, self.limit = device, gigabytes
        self.free = int(gigabytes * GIGABYTE)

    def take(self, name: str, size: int) -> None:
        """Reserve `size` bytes. Raises UserError if they do not fit into what is left."""
        if size > self.free:
            raise UserError(
                f"{name}: its {size / GIGABYTE:.3g} GB do not fit the {self.free / GIGABYTE:.3g} GB left of --hold "
                f"{self.limit:g}; hold more, or train without --hold"
            )
        self.free -= size


class HeldItem(NamedTuple):
    """A clip by its place in memory, or a record of a file that is unreadable."""

    id: str
    next_state: State
    rows: tuple[int, ...] = ()
    """Rows of the tensor that is held."""
    symmetry: int = 0
    """Number of the transformation of the clip, of those that its source has."""
    label: int = -1
    error: str = ""


HeldItems: TypeAlias = Callable[[State, dict[str, str]], Iterator[HeldItem]]
"""Makes the endless sequence from a state on."""
Gather: TypeAlias = Callable[[Sequence[HeldItem]], UInt8[Tensor, "n t y x 3"]]
"""Makes a batch of items, on the device."""


@runtime_checkable
class HoldingSource(Protocol):
    """A source that can be held in memory."""

    def hold(self, spec: ClipSpec, memory: Memory, *, seed: int, rank: int = 0, world: int = 1) -> Reader:
        """Read everything into `memory`. Raises UserError if it does not fit, or cannot be held."""


def hold(source: ClipSource, spec: ClipSpec, memory: Memory, *, seed: int, rank: int, world: int) -> Reader:
    """Hold a source in memory; its batches and states are those of `source.open`. Raises UserError if it cannot be."""
    if not isinstance(source, HoldingSource):
        raise UserError(f"{source.name}: a {type(source).__name__} cannot be held in memory; train without --hold")
    return source.hold(spec, memory, seed=seed, rank=rank, world=world)


class HeldReader(ResumableReader):
    """A `Reader` of clips in memory; its batches and states are those of the ordinary reader."""

    def __init__(
        self,
        name: str,
        items_from: HeldItems,
        gather: Gather,
        start: State,
        *,
        data: str,
        merge: Merge | None = None,
    ) -> None:
        super().__init__(name, start, data=data, merge=merge)
        self._items_from, self._gather = items_from, gather
        self._items: Iterator[HeldItem] | None = None

    def read(self, n: int) -> Clips:
        """Return the next `n` clips, on the device."""
        if n < 1:
            raise UserError(f"{self.name}: a batch has at least one clip, not {n}")
        began = time.perf_counter()
        if self._items is None:
            self._items = self._items_from(self._position, dict(self.broken))
        chosen = list(islice(self._readable(self._items), n))
        pixels = self._gather(chosen)
        self.seconds_waited += time.perf_counter() - began
        return Clips(pixels, torch.tensor([item.label for item in chosen]), self.name)

    def _readable(self, items: Iterator[HeldItem]) -> Iterator[HeldItem]:
        for item in items:
            self._position = item.next_state
            if item.error:
                self.broken[item.id] = item.error
            else:
                yield item

    def close(self) -> None:
        """Forget what comes next; what is held stays."""
        self._items = None
