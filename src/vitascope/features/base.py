"""Features: what probes read. One interface whether the vectors come from the store or from a live encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.types import Example, Timeline

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

    @property
    def failures(self) -> Mapping[str, str]:
        """{example id: why}: what could not be read, so far; such an example is in no batch."""
        ...

    def batches(self, size: int, order: Sequence[int] | None = None, draw: int | None = None) -> Iterator[Batch]:
        """Every example once, in the order given (all, as they stand, when None); nothing is dropped.

        With `draw` only one vector of each: number `draw`, counted round and round, of those that are stored; or the
        draw of that number, where the view draws without end.
        """
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
    _some(features)
    found = _stored(features) if isinstance(features, StoredFeatures) else _batched(features)
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
        raise UserError(f"vectors of {_size(ours)} numbers in training and {_size(theirs)} in test: embed both alike")
    return train, test


def truths(features: Features[int]) -> Int[Tensor, "e"]:
    """The class index of each example; ValueError: no examples, or one of a class that there is not."""
    _some(features)
    if isinstance(features.examples[0].truth, (tuple, Timeline)):
        raise UserError(
            f"the labels of {features.examples[0].id} have times, and this probe tells one class a video; ask one that "
            "localizes or segments, see `vitascope ls probes`"
        )
    labels = torch.tensor([example.truth for example in features.examples], dtype=torch.int64)
    outside = (labels < 0) | (labels >= len(features.classes))
    if outside.any():
        raise UserError(
            f"label {int(labels[outside][0])} for {_named(features, outside)}: there are {len(features.classes)} "
            f"classes, 0 to {len(features.classes) - 1}; correct the labels or add the classes"
        )
    return labels


def finite(features: Features[T], batch: Batch) -> Batch:
    """`batch`, where all its values are finite numbers; else ValueError, which names the examples."""
    if batch.values.sum(dtype=torch.float32).isfinite():  # one pass, nothing to store; only doubt looks closer
        return batch
    wrong = torch.zeros(len(features.examples), dtype=torch.bool)
    wrong[batch.owner.cpu()] = ~torch.isfinite(batch.values).flatten(1).all(1).cpu()
    if wrong.any():
        raise UserError(_broken(features, wrong))
    return batch


def _some(features: Features[T]) -> None:
    if not features.examples:
        raise UserError("no examples with vectors on this side of the fold; embed some first")


def _broken(features: Features[T], chosen: Bool[Tensor, "e"]) -> str:
    return f"NaN or infinite vectors for {_named(features, chosen)}; did the encoder overflow there?"


def _check(features: Features[T], found: Rows) -> None:
    empty = torch.bincount(found.owner, minlength=len(features.examples)) == 0
    if empty.any():
        raise UserError(f"no vector for {_named(features, empty)}; embed again or leave them out of the fold")
    finite = torch.isfinite(found.values).flatten(1).all(1)
    if not finite.all():
        broken = torch.zeros_like(empty)
        broken[found.owner[~finite]] = True
        raise UserError(_broken(features, broken))


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _named(features: Features[T], chosen: Bool[Tensor, "e"]) -> str:
    which = chosen.nonzero().flatten().tolist()
    shown = ", ".join(features.examples[i].id for i in which[:3])
    return f"{len(which)} of {len(features.examples)} examples ({shown}{', ...' if len(which) > 3 else ''})"


def _batched(features: Features[T]) -> Rows:
    parts = [(b.values[b.mask].float(), b.owner[:, None].expand_as(b.mask)[b.mask]) for b in features.batches(READ)]
    values = torch.cat([v for v, _ in parts])
    return Rows(values, torch.cat([i for _, i in parts]).to(values.device))


def _stored(features: StoredFeatures) -> Rows:
    return Rows(features.values.float(), torch.repeat_interleave(features.first.diff()).to(features.values.device))


@dataclass(frozen=True)
class Spans(Sequence[Float64[np.ndarray, "_ 2"]]):
    """The stretches that the vectors of each example speak for: one table of seconds, read example by example."""

    rows: Float64[np.ndarray, "r 2"]
    first: Int[Tensor, "bounds"]

    def __len__(self) -> int:
        return len(self.first) - 1

    def __getitem__(self, index: Any) -> Any:
        """Starts and ends of example `index`, row by row."""
        return self.rows[int(self.first[index]) : int(self.first[index + 1])]


EachSpans: TypeAlias = Sequence[Any]
"""For each example n x 2, start and end of each of its vectors in seconds; empty where they are not known."""


def spans_of(features: Features[Any]) -> EachSpans:
    """What the vectors of each example speak for, where `features` know it; empty where they do not."""
    found: EachSpans = getattr(features, "spans", ())
    return found


@dataclass(frozen=True)
class StoredFeatures:
    """Features already in memory: all vectors in one tensor, `first[i]:first[i + 1]` those of example i.

    Truths of any kind: which, `Dataset.kind` says.
    """

    examples: Sequence[Example[Any]]
    classes: Sequence[str]
    values: Float[Tensor, "r *shape"]
    first: Int[Tensor, "bounds"]
    spans: EachSpans = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    def batches(self, size: int, order: Sequence[int] | None = None, draw: int | None = None) -> Iterator[Batch]:
        """Slices of the one tensor; see `Features.batches`."""
        for places in _places(self.first, size, order, draw):
            yield _padded(self.values[places.rows], places)


@dataclass(frozen=True)
class MemmapFeatures:
    """Features on disk, too many to hold: rows are read when a batch wants them. Read like `StoredFeatures`."""

    examples: Sequence[Example[Any]]
    classes: Sequence[str]
    take: Callable[[Int[Tensor, "m"]], Float[Tensor, "m *shape"]]
    """The rows of these numbers."""
    first: Int[Tensor, "bounds"]
    failures: Mapping[str, str] = field(default_factory=dict)
    spans: EachSpans = ()

    def batches(self, size: int, order: Sequence[int] | None = None, draw: int | None = None) -> Iterator[Batch]:
        """Read batch by batch; see `Features.batches`."""
        for places in _places(self.first, size, order, draw):
            yield _padded(self.take(places.rows), places)


class _Places(NamedTuple):
    """Where the vectors of a batch stand: the rows, one after another, which of the padded places they fill, whose."""

    rows: Int[Tensor, "m"]
    mask: Bool[Tensor, "b n"]
    owner: Int[Tensor, "b"]


def _places(
    first: Int[Tensor, "bounds"], size: int, order: Sequence[int] | None, draw: int | None
) -> Iterator[_Places]:
    indices = torch.arange(len(first) - 1) if order is None else torch.as_tensor(order)
    for owner in torch.split(indices, size):
        start, counts = first[owner], first[owner + 1] - first[owner]
        if draw is not None:
            start, counts = start + draw % counts.clamp(min=1), counts.clamp(max=1)
        column = torch.arange(int(counts.max()) if len(counts) else 0)
        mask = column[None] < counts[:, None]
        yield _Places((start[:, None] + column[None])[mask], mask, owner)


def _padded(values: Float[Tensor, "m *shape"], places: _Places) -> Batch:
    if places.mask.all():
        return Batch(values.unflatten(0, places.mask.shape), places.mask, places.owner)
    padded = values.new_zeros((*places.mask.shape, *values.shape[1:]))
    padded[places.mask] = values
    return Batch(padded, places.mask, places.owner)


@dataclass(frozen=True)
class RelabeledFeatures:
    """Features whose classes are read as something else: class c as class `of[c]` of `classes`."""

    inner: Features[int]
    of: Sequence[int]
    classes: Sequence[str]

    @cached_property
    def examples(self) -> Sequence[Example[int]]:
        """The same, each with its other truth."""
        return [replace(e, truth=self.of[e.truth]) for e in self.inner.examples]

    @property
    def failures(self) -> Mapping[str, str]:
        """The same."""
        return self.inner.failures

    def batches(self, size: int, order: Sequence[int] | None = None, draw: int | None = None) -> Iterator[Batch]:
        """The same; see `Features.batches`."""
        return self.inner.batches(size, order, draw)


@dataclass(frozen=True)
class ChainedFeatures:
    """Several features one after another, to be asked after one training."""

    parts: Sequence[Features[Any]]

    @cached_property
    def examples(self) -> Sequence[Example[Any]]:
        """Of all parts."""
        return [e for part in self.parts for e in part.examples]

    @cached_property
    def spans(self) -> EachSpans:
        """Of all parts, where all know them."""
        each: list[Any] = [spans for part in self.parts for spans in spans_of(part)]
        return each if len(each) == len(self.examples) else ()

    @property
    def classes(self) -> Sequence[str]:
        """Of any part."""
        return self.parts[0].classes

    @property
    def failures(self) -> Mapping[str, str]:
        """Of all parts."""
        return {i: why for part in self.parts for i, why in part.failures.items()}

    def batches(self, size: int, order: Sequence[int] | None = None, draw: int | None = None) -> Iterator[Batch]:
        """Part by part; they cannot be read in another order."""
        assert order is None, "chained features are read as they stand"
        start = 0
        for part in self.parts:
            yield from (b._replace(owner=b.owner + start) for b in part.batches(size, draw=draw))
            start += len(part.examples)


def chained(parts: Sequence[Features[T]]) -> Features[T]:
    """All `parts` as one; one part as it is."""
    return parts[0] if len(parts) == 1 else ChainedFeatures(parts)
