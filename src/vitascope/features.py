"""Features: what probes read. One interface whether the vectors come from the store or from a live encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

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


@runtime_checkable
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


READ = 4096
"""Examples read at once: a bound on what padding can cost."""


def rows(features: Features[T]) -> Rows:
    """All vectors of `features`, example by example, without padding, float32; not to be written to.

    ValueError: no examples, an example without a vector, a value that is not a finite number.
    """
    if not features.examples:
        raise ValueError("no examples with vectors on this side of the fold; embed some first")
    found = _stored(features) if isinstance(features, Stored) else _batched(features)
    _check(features, found)
    return found


def means(features: Features[T]) -> Rows:
    """As `rows`, with one vector an example: the mean of its vectors."""
    values, owner = rows(features)
    mean = torch.segment_reduce(values, "mean", lengths=torch.bincount(owner))
    return Rows(mean, torch.arange(len(mean), device=mean.device))


def alike(train: Rows, test: Rows) -> tuple[Rows, Rows]:
    """Both, if their vectors can be compared; ValueError: they have not the same shape."""
    (_, *ours), (_, *theirs) = train.values.shape, test.values.shape
    if ours != theirs:
        raise ValueError(f"vectors of {_size(ours)} numbers in training and {_size(theirs)} in test: embed both alike")
    return train, test


def truths(features: Features[int]) -> Int[Tensor, "e"]:
    """The class index of each example."""
    return torch.tensor([example.truth for example in features.examples], dtype=torch.int64)


def _check(features: Features[T], found: Rows) -> None:
    empty = torch.bincount(found.owner, minlength=len(features.examples)) == 0
    if empty.any():
        raise ValueError(f"no vector for {_named(features, empty)}; embed again or leave them out of the fold")
    finite = torch.isfinite(found.values).flatten(1).all(1)
    if not finite.all():
        broken = torch.zeros_like(empty)
        broken[found.owner[~finite]] = True
        raise ValueError(f"NaN or infinite vectors for {_named(features, broken)}; did the encoder overflow there?")


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _named(features: Features[T], chosen: Bool[Tensor, "e"]) -> str:
    which = chosen.nonzero().flatten().tolist()
    shown = ", ".join(features.examples[i].id for i in which[:3])
    return f"{len(which)} of {len(features.examples)} examples ({shown}{', ...' if len(which) > 3 else ''})"


def _batched(features: Features[T]) -> Rows:
    parts = [(b.values[b.mask].float(), b.owner[:, None].expand_as(b.mask)[b.mask]) for b in features.batches(READ)]
    return Rows(torch.cat([v for v, _ in parts]), torch.cat([i for _, i in parts]))


def _stored(features: Stored) -> Rows:
    return Rows(features.values.float(), torch.repeat_interleave(features.first.diff()))


@dataclass(frozen=True)
class Stored:
    """Features already in memory: all vectors in one tensor, `first[i]:first[i + 1]` those of example i."""

    examples: Sequence[Example[int]]
    classes: Sequence[str]
    values: Float[Tensor, "r *shape"]
    first: Int[Tensor, "bounds"]
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
