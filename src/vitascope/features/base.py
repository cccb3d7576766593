"""Features that probes read, with one interface whether they come from the store or from a live encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from vitascope.core.device import torch
from vitascope.core.errors import UserError
from vitascope.core.types import Example, Timeline
from vitascope.features.stored_rows import StoredRows, all_finite

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


SpansPerExample: TypeAlias = Sequence[Any]
"""For each example an n x 2 table: start and end of each of its vectors, seconds; empty if unknown."""


class Batch(NamedTuple):
    """Vectors of b examples, padded to the largest number of views; `owner` indexes `Features.examples`."""

    values: Float[torch.Tensor, "b n *shape"]
    mask: Bool[torch.Tensor, "b n"]
    owner: Int[torch.Tensor, "b"]
    spans: SpansPerExample = ()
    """Of the examples of the batch, where `Features.spans` does not know them since clips are drawn anew."""


@runtime_checkable
class Features(Protocol[T_co]):
    """The examples of one split of a fold and their vectors."""

    @property
    def examples(self) -> Sequence[Example[T_co]]:
        """The examples in the order that `Batch.owner` indexes."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Class names, indexed by label."""
        ...

    @property
    def failures(self) -> Mapping[str, str]:
        """{example id: reason} of the examples that could not be read so far; they appear in no batch."""
        ...

    @property
    def spans(self) -> SpansPerExample:
        """The time spans of the vectors of each example; empty if they are not known."""
        ...

    def batches(self, size: int, order: Sequence[int] | None = None, draw: int | None = None) -> Iterator[Batch]:
        """Yield every example once, in the given order (all in their own order if None); nothing is dropped.

        With `draw`, yield one vector per example: the stored vector number `draw` modulo their count, or a fresh draw
        of that number where the view augments without limit.
        """
        ...


class FlatArrays(NamedTuple):
    """All vectors of some features as an array in the precision in which they are kept, and their examples."""

    values: Float[np.ndarray, "r *shape"] | StoredRows
    owner: Int[np.ndarray, "r"]


class FlatVectors(NamedTuple):
    """All vectors of some features, one per row, and the index of the example each belongs to."""

    values: Float[torch.Tensor, "r *shape"]
    owner: Int[torch.Tensor, "r"]


READ_EXAMPLES = 4096
"""Examples read per batch; bounds the memory lost to padding."""


def all_vectors(features: Features[T]) -> FlatVectors:
    """Return all vectors of `features`, example by example, unpadded, float32; treat them as read-only.

    Raises UserError if there are no examples, an example has no vector, or a value is not finite.
    """
    vectors = kept_vectors(features)
    return vectors._replace(values=vectors.values.float())


def kept_vectors(features: Features[T]) -> FlatVectors:
    """Like `all_vectors`, in the precision in which they are in memory: half, where the store has no more."""
    _check_not_empty(features)
    vectors = _flatten_stored(features) if isinstance(features, StoredFeatures) else _flatten_batches(features)
    _check_vectors(features, vectors)
    return vectors


def kept_arrays(features: Features[T], *, mean: bool = False) -> FlatArrays | FlatVectors:
    """Like `kept_vectors`, or with `mean` like `kept_means`, as arrays unless they are on a GPU.

    Vectors of the store are there as arrays, or stay in its files: no tensor is needed for them.
    """
    if isinstance(features, StoredFeatures) and isinstance(features.values, (np.ndarray, StoredRows)):
        counts = np.diff(features.offsets)
        if len(counts) and counts.min() == 1 == (counts.max() if mean else 1):
            arrays = FlatArrays(features.values, np.repeat(np.arange(len(counts)), counts))
            if all_finite(arrays.values):
                return arrays
    vectors = (kept_means if mean else kept_vectors)(features)
    return vectors if vectors.values.is_cuda else FlatArrays(*(part.numpy() for part in vectors))


def mean_vectors(features: Features[T]) -> FlatVectors:
    """Return the mean vector of each example; otherwise like `all_vectors`."""
    means = kept_means(features)
    return means._replace(values=means.values.float())


def kept_means(features: Features[T]) -> FlatVectors:
    """Like `mean_vectors`; where every example has one vector, in the precision in which it is in memory."""
    values, owner = kept_vectors(features)
    counts = torch.bincount(owner)
    if len(values) == len(counts):
        return FlatVectors(values, owner)
    parts, row = [], 0
    for lengths in torch.split(counts, READ_EXAMPLES):
        rows = int(lengths.sum())
        parts.append(torch.segment_reduce(values[row : row + rows].float(), "mean", lengths=lengths))
        row += rows
    return FlatVectors(torch.cat(parts), torch.arange(len(counts), device=values.device))


Flat = TypeVar("Flat", FlatVectors, FlatArrays, FlatVectors | FlatArrays)


def check_same_shape(train: Flat, test: Flat) -> tuple[Flat, Flat]:
    """Return both if their vectors have the same shape; raise UserError otherwise."""
    (_, *train_shape), (_, *test_shape) = train.values.shape, test.values.shape
    if train_shape != test_shape:
        raise UserError(
            f"training vectors have shape {_shape_text(train_shape)}, test vectors {_shape_text(test_shape)}; "
            "embed both with one view"
        )
    return train, test


def class_labels(features: Features[int]) -> Int[torch.Tensor, "e"]:
    """Return `label_array` as a tensor."""
    return torch.from_numpy(label_array(features))


def label_array(features: Features[int]) -> Int[np.ndarray, "e"]:
    """Return the class index of each example; UserError if there are none, or a label is outside the class list."""
    _check_not_empty(features)
    if has_several_labels(features.examples):
        raise UserError(
            "examples have several labels, but this probe predicts one class; use -t linear, attentive or knn"
        )
    if isinstance(features.examples[0].truth, (tuple, Timeline)):
        raise UserError(
            f"{features.examples[0].id} is annotated with times, but this probe predicts one class per video; choose a "
            "localization or segmentation probe from `vitascope ls probes`"
        )
    labels = np.array([example.truth for example in features.examples], np.int64)
    outside = (labels < 0) | (labels >= len(features.classes))
    if outside.any():
        raise UserError(
            f"label {int(labels[outside][0])} of {_list_examples(features, outside)} is outside the "
            f"{len(features.classes)} classes (0 to {len(features.classes) - 1}); correct the labels or add the classes"
        )
    return labels


def has_several_labels(examples: Sequence[Example[Any]]) -> bool:
    """Return whether the ground truth of the examples is a tuple of class indices each (multi-label)."""
    truths = [e.truth for e in examples]
    return any(truths) and all(isinstance(t, tuple) and all(isinstance(label, int) for label in t) for t in truths)


def check_finite(features: Features[T], batch: Batch) -> Batch:
    """Return `batch` if all its values are finite; else raise UserError naming the examples."""
    if batch.values.sum(dtype=torch.float32).isfinite():  # one cheap pass; look closer only if it fails
        return batch
    non_finite = torch.zeros(len(features.examples), dtype=torch.bool)
    non_finite[batch.owner.cpu()] = ~torch.isfinite(batch.values).flatten(1).all(1).cpu()
    if non_finite.any():
        raise UserError(_non_finite_message(features, non_finite))
    return batch


def _check_not_empty(features: Features[T]) -> None:
    if not features.examples:
        raise UserError("no example of this split has vectors; run `vitascope embed` first")


def _non_finite_message(features: Features[T], mask: Bool[torch.Tensor, "e"]) -> str:
    return f"NaN or infinite vectors for {_list_examples(features, mask)}; did the encoder overflow there?"


def _check_vectors(features: Features[T], vectors: FlatVectors) -> None:
    empty = torch.bincount(vectors.owner, minlength=len(features.examples)) == 0
    if empty.any():
        raise UserError(f"no vectors for {_list_examples(features, empty)}; embed them or leave them out of the fold")
    parts = zip(vectors.values.split(READ_EXAMPLES), vectors.owner.split(READ_EXAMPLES), strict=True)
    broken = torch.zeros_like(empty)
    for values, owner in parts:
        if not values.sum(dtype=torch.float32).isfinite():  # one cheap pass; look closer only if it fails
            broken[owner[~torch.isfinite(values).flatten(1).all(1)]] = True
    if broken.any():
        raise UserError(_non_finite_message(features, broken))


def _shape_text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _list_examples(features: Features[T], mask: Bool[torch.Tensor | np.ndarray, "e"]) -> str:
    indices = np.flatnonzero(mask).tolist()
    names = ", ".join(features.examples[i].id for i in indices[:3])
    return f"{len(indices)} of {len(features.examples)} examples ({names}{', ...' if len(indices) > 3 else ''})"


def _flatten_batches(features: Features[T]) -> FlatVectors:
    parts = [
        (b.values[b.mask].float(), b.owner[:, None].expand_as(b.mask)[b.mask]) for b in features.batches(READ_EXAMPLES)
    ]
    values = torch.cat([v for v, _ in parts])
    return FlatVectors(values, torch.cat([i for _, i in parts]).to(values.device))


def _flatten_stored(features: StoredFeatures) -> FlatVectors:
    values, offsets = features.tensor, torch.as_tensor(features.offsets)
    return FlatVectors(values, torch.repeat_interleave(offsets.diff()).to(values.device))


@dataclass(frozen=True)
class ClipSpans(Sequence[Float64[np.ndarray, "_ 2"]]):
    """Time spans of the vectors of each example, kept in one table and indexed by example."""

    table: Float64[np.ndarray, "r 2"]
    """Start and end of every vector, seconds."""
    offsets: Int[torch.Tensor | np.ndarray, "bounds"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        """Start and end of each vector of example `index`, seconds."""
        return self.table[int(self.offsets[index]) : int(self.offsets[index + 1])]


@dataclass(frozen=True)
class StoredFeatures:
    """Features with one array of vectors, of which example i has rows `offsets[i]:offsets[i + 1]`.

    `Dataset.kind` determines the type of the ground truth.
    """

    examples: Sequence[Example[Any]]
    classes: Sequence[str]
    values: Float[torch.Tensor | np.ndarray, "r *shape"] | StoredRows
    """In single precision, or as the store has them, perhaps in its files; see `all_vectors` and `kept_vectors`."""
    offsets: Int[torch.Tensor | np.ndarray, "bounds"]
    spans: SpansPerExample = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def tensor(self) -> Float[torch.Tensor, "r *shape"]:
        """All vectors in memory, without a copy where they are."""
        return torch.as_tensor(self.values.in_memory if isinstance(self.values, StoredRows) else self.values)

    def batches(self, size: int, order: Sequence[int] | None = None, draw: int | None = None) -> Iterator[Batch]:
        """Yield slices of the tensor; see `Features.batches`."""
        values = self.tensor
        for batch in _batch_rows(torch.as_tensor(self.offsets), size, order, draw):
            yield _pad_batch(values[batch.rows].float(), batch)


@dataclass(frozen=True)
class MemmapFeatures:
    """Features left on disk, with the interface of `StoredFeatures`; rows are read batch by batch."""

    examples: Sequence[Example[Any]]
    classes: Sequence[str]
    take: Callable[[Int[torch.Tensor, "m"]], Float[torch.Tensor, "m *shape"]]
    """Reads rows by index."""
    offsets: Int[torch.Tensor, "bounds"]
    failures: Mapping[str, str] = field(default_factory=dict)
    spans: SpansPerExample = ()

    def batches(self, size: int, order: Sequence[int] | None = None, draw: int | None = None) -> Iterator[Batch]:
        """Read batches from disk; see `Features.batches`."""
        for batch in _batch_rows(self.offsets, size, order, draw):
            yield _pad_batch(self.take(batch.rows), batch)


class _BatchRows(NamedTuple):
    """Rows of the vectors of a batch, the mask of the padded slots they fill, and the examples they belong to."""

    rows: Int[torch.Tensor, "m"]
    mask: Bool[torch.Tensor, "b n"]
    owner: Int[torch.Tensor, "b"]


def _batch_rows(
    offsets: Int[torch.Tensor, "bounds"], size: int, order: Sequence[int] | None, draw: int | None
) -> Iterator[_BatchRows]:
    indices = torch.arange(len(offsets) - 1) if order is None else torch.as_tensor(order)
    for owner in torch.split(indices, size):
        start, counts = offsets[owner], offsets[owner + 1] - offsets[owner]
        if draw is not None:
            start, counts = start + draw % counts.clamp(min=1), counts.clamp(max=1)
        column = torch.arange(int(counts.max()) if len(counts) else 0)
        mask = column[None] < counts[:, None]
        yield _BatchRows((start[:, None] + column[None])[mask], mask, owner)


def _pad_batch(values: Float[torch.Tensor, "m *shape"], batch: _BatchRows) -> Batch:
    if batch.mask.all():
        return Batch(values.unflatten(0, batch.mask.shape), batch.mask, batch.owner)
    padded = values.new_zeros((*batch.mask.shape, *values.shape[1:]))
    padded[batch.mask] = values
    return Batch(padded, batch.mask, batch.owner)


@dataclass(frozen=True)
class RelabeledFeatures:
    """Features with mapped labels: class c of `inner` becomes class `mapping[c]` of `classes`."""

    inner: Features[int]
    mapping: Sequence[int]
    classes: Sequence[str]

    @cached_property
    def examples(self) -> Sequence[Example[int]]:
        """The examples of `inner` with mapped labels."""
        return [replace(e, truth=self.mapping[e.truth]) for e in self.inner.examples]

    @property
    def spans(self) -> SpansPerExample:
        """The time spans of `inner`."""
        return self.inner.spans

    @property
    def failures(self) -> Mapping[str, str]:
        """The failures of `inner`."""
        return self.inner.failures

    def batches(self, size: int, order: Sequence[int] | None = None, draw: int | None = None) -> Iterator[Batch]:
        """Yield the batches of `inner`; see `Features.batches`."""
        return self.inner.batches(size, order, draw)


@dataclass(frozen=True)
class ChainedFeatures:
    """Several test feature sets, concatenated so that one trained probe predicts all of them."""

    parts: Sequence[Features[Any]]

    @cached_property
    def examples(self) -> Sequence[Example[Any]]:
        """The examples of all parts."""
        return [e for part in self.parts for e in part.examples]

    @cached_property
    def spans(self) -> SpansPerExample:
        """The time spans of all parts; empty unless every part knows them."""
        each: list[Any] = [spans for part in self.parts for spans in part.spans]
        return each if len(each) == len(self.examples) else ()

    @property
    def classes(self) -> Sequence[str]:
        """The class list, which all parts share."""
        return self.parts[0].classes

    @property
    def failures(self) -> Mapping[str, str]:
        """The failures of all parts."""
        return {i: why for part in self.parts for i, why in part.failures.items()}

    def batches(self, size: int, order: Sequence[int] | None = None, draw: int | None = None) -> Iterator[Batch]:
        """Yield the batches of one part after another; no other order is supported."""
        assert order is None, "chained features are read in their own order"
        start = 0
        for part in self.parts:
            yield from (b._replace(owner=b.owner + start) for b in part.batches(size, draw=draw))
            start += len(part.examples)


def chain(parts: Sequence[Features[T]]) -> Features[T]:
    """Concatenate `parts`; a single part is returned as it is."""
    return parts[0] if len(parts) == 1 else ChainedFeatures(parts)
