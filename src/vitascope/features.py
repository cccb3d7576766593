"""Features: what probes read. One interface whether the vectors come from the store or from a live encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitascope.types import Example, Span

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Batch(NamedTuple):
    """Vectors of b examples, padded to the most views any of them has; `owner` points into `Features.examples`."""

    values: Float[Tensor, "b n *shape"]
    mask: Bool[Tensor, "b n"]
    owner: Int[Tensor, "b"]


class Features(Protocol[T_co]):
    """The examples of one side of a fold and their vectors."""

    @property
    def examples(self) -> Sequence[Example[T_co]]:
        """In the order that `Batch.owner` counts."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """What a truth index means."""
        ...

    def batches(self, size: int, order: Sequence[int] | None = None) -> Iterator[Batch]:
        """Every example once, in the order given (all, as they stand, when None); nothing is dropped."""
        ...


class Rows(NamedTuple):
    """Every vector of some features, one a row, and the position of the example it belongs to."""

    values: Float[Tensor, "r *shape"]
    owner: Int[Tensor, "r"]


def rows(features: Features[T]) -> Rows:
    """All vectors of `features`, example by example, without padding, float32."""
    parts = [(b.values[b.mask], b.owner[:, None].expand_as(b.mask)[b.mask]) for b in features.batches(4096)]
    return Rows(torch.cat([v for v, _ in parts]).float(), torch.cat([i for _, i in parts]))


@dataclass(frozen=True)
class Stored:
    """Features already in memory: all vectors in one tensor, `first[i]:first[i + 1]` those of example i."""

    examples: Sequence[Example[int]]
    classes: Sequence[str]
    values: Float[Tensor, "r *shape"]
    first: Int[Tensor, "e+1"]
    spans: Sequence[Sequence[Span]] = ()

    def batches(self, size: int, order: Sequence[int] | None = None) -> Iterator[Batch]:
        """Slices of the one tensor; see `Features.batches`."""
        indices = torch.arange(len(self.examples)) if order is None else torch.as_tensor(order)
        for start in range(0, len(indices), size):
            yield self._batch(indices[start : start + size])

    def _batch(self, owner: Int[Tensor, "b"]) -> Batch:
        counts = self.first[owner + 1] - self.first[owner]
        column = torch.arange(int(counts.max()) if len(counts) else 0)
        mask = column[None] < counts[:, None]
        place = (self.first[owner][:, None] + column[None]).clamp(max=max(len(self.values) - 1, 0))
        values = self.values[place]
        values[~mask] = 0
        return Batch(values, mask, owner)
