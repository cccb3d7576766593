"""Aggregation of stored clip vectors, after the store: one encoding serves every aggregator.

What is learned without labels from the training videos: the mean, which is subtracted from all clip vectors, and the
leading principal components for aggregators that take products of dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

from vitascope.core.device import torch
from vitascope.core.errors import UserError
from vitascope.features.aggregators import Aggregator, describe, interpolation
from vitascope.features.base import Features, StoredFeatures, all_vectors, mean_vectors
from vitascope.features.view import View

CHUNK = 1 << 23
"""Values aggregated at a time: 32 MB."""
ROWS = 1 << 14
"""Clip vectors multiplied at a time for the principal components."""
UNEVEN = 1e-3
"""Relative difference of two steps of time from which clips are interpolated at equal steps."""
LEAST = 1e-4
"""Length of a block, relative to that of the clip vectors, below which it is rounding, and not scaled up to 1."""


class Sequences(NamedTuple):
    """The clip vectors of examples in order of time, those of an example one after another."""

    values: Float[torch.Tensor, "r d"]
    counts: Int[torch.Tensor, "e"]

    @property
    def first(self) -> Int[torch.Tensor, "e"]:
        """The row at which each example begins."""
        return self.counts.cumsum(0) - self.counts

    def take(self, examples: Int[torch.Tensor, "m"]) -> Sequences:
        """Those of `examples`, in the order given."""
        counts = self.counts[examples]
        starts = torch.repeat_interleave(self.first[examples], counts)
        return Sequences(self.values[starts + _within(counts)], counts)

    def backwards(self) -> Sequences:
        """Every example from its last vector to its first."""
        ends = torch.repeat_interleave(self.first + self.counts - 1, self.counts)
        return Sequences(self.values[ends - _within(self.counts)], self.counts)


def _within(counts: Int[torch.Tensor, "e"]) -> Int[torch.Tensor, "r"]:
    """The position of each row within its example."""
    starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    return torch.arange(len(starts), device=counts.device) - starts


@dataclass(frozen=True)
class FittedAggregator:
    """An aggregator with the mean and the components of the training clips."""

    aggregator: Aggregator
    mean: Float[torch.Tensor, "d"]
    components: Float[torch.Tensor, "d p"] | None
    """Orthonormal columns; None: all dimensions as they are."""

    def __call__(self, clips: Float[torch.Tensor, "m n d"]) -> Float[torch.Tensor, "m _"]:
        """One vector for each of m videos of n clips."""
        centered = clips - self.mean
        projected = centered if self.components is None else centered @ self.components
        blocks = self.aggregator.blocks(centered, projected)
        if len(blocks) == 1:
            alone: torch.Tensor = blocks[0]
            return alone
        floor = LEAST * centered.square().sum(dim=2).mean(dim=1, keepdim=True).sqrt() + 1e-12
        return torch.cat([b / torch.maximum(b.norm(dim=1, keepdim=True), floor) for b in blocks], dim=1)

    def apply(self, features: Features[Any], *, backwards: bool = False) -> StoredFeatures:
        """Features with one vector per example; `backwards` takes the clips from the last to the first."""
        sequences = in_time(features) if self.aggregator.sees_order else as_stored(features)
        parts = list(self._parts(sequences, backwards))
        places, vectors = (torch.cat(part) for part in zip(*parts, strict=True))
        values = torch.empty_like(vectors)
        values[places] = vectors
        offsets = torch.arange(len(features.examples) + 1)
        return StoredFeatures(features.examples, features.classes, values, offsets, failures=features.failures)

    def _parts(
        self, sequences: Sequences, backwards: bool
    ) -> Iterator[tuple[Int[torch.Tensor, "m"], Float[torch.Tensor, "m _"]]]:
        """Yield indices of examples with equally many clips, and their vectors."""
        first, dim = sequences.first, sequences.values.shape[1]
        for count in sequences.counts.unique().tolist():
            of_count = (sequences.counts == count).nonzero()[:, 0]
            for places in torch.split(of_count, max(1, CHUNK // (count * dim))):
                rows = first[places, None] + torch.arange(count, device=first.device)
                clips = sequences.values[rows.flip(1) if backwards else rows]
                yield places, self(clips)


def fit(aggregator: Aggregator, train: Features[Any]) -> FittedAggregator:
    """Fit an aggregator to the clip vectors of the training examples."""
    values = all_vectors(train).values
    if values.ndim != 2:
        raise UserError(f"agg={describe(aggregator)}: needs one vector per clip, not token grids")
    mean = mean_vectors(train).values.double().mean(dim=0).float()
    needed = aggregator.projects
    components = principal_components(values, mean, needed) if 0 < needed < values.shape[1] else None
    return FittedAggregator(aggregator, mean, components)


def aggregated(
    train: Features[Any], tests: Sequence[Features[Any]], train_view: View, test_views: Sequence[View]
) -> tuple[Features[Any], list[Features[Any]]]:
    """Training and test features with the aggregation of their views; without one, as they are."""
    if any(view.agg != train_view.agg for view in test_views):
        raise UserError("training and test vectors are aggregated differently; set agg once, for both")
    if train_view.agg is None:
        return train, list(tests)
    fitted = fit(train_view.agg, train)
    tested = [fitted.apply(test, backwards=view.backwards) for test, view in zip(tests, test_views, strict=True)]
    return fitted.apply(train, backwards=train_view.backwards), list(tested)


def principal_components(
    values: Float[torch.Tensor, "r d"], mean: Float[torch.Tensor, "d"], count: int
) -> Float[torch.Tensor, "d count"]:
    """The leading principal directions, largest variance first; their largest entry is positive."""
    covariance = torch.zeros(2 * [values.shape[1]], dtype=torch.float64, device=values.device)
    for part in values.split(ROWS):
        around = (part - mean).double()
        covariance += around.T @ around
    directions = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :count]
    largest = directions.abs().argmax(dim=0, keepdim=True)
    components: torch.Tensor = directions * directions.gather(0, largest).sign()
    return components.float()


def as_stored(features: Features[Any]) -> Sequences:
    """All clip vectors, in the order in which they are stored."""
    values, owner = all_vectors(features)
    return Sequences(values, torch.bincount(owner))


def in_time(features: Features[Any]) -> Sequences:
    """Clip vectors by the start of their clips, at equal steps of time.

    Crops of the same time are averaged. Clips at unequal steps are interpolated linearly at as many equal steps.
    Vectors without times (no spans, or all empty) are taken as they are stored.
    """
    sequences = as_stored(features)
    spans = _spans(features, sequences)
    owner = np.repeat(np.arange(len(sequences.counts)), sequences.counts.cpu().numpy())
    order = np.lexsort((spans[:, 1], spans[:, 0], owner))
    keys = np.column_stack([owner, spans])[order]
    is_new = np.append(True, (keys[1:] != keys[:-1]).any(axis=1))
    values = sequences.values
    if not (order == np.arange(len(order))).all():
        values = values[torch.from_numpy(order).to(values.device)]
    merged = _averaged(values, is_new)
    counts = np.bincount(owner[order][is_new], minlength=len(sequences.counts))
    even = _at_equal_steps(merged, keys[is_new, 1], counts)
    return Sequences(even, torch.from_numpy(counts).to(values.device))


def _spans(features: Features[Any], sequences: Sequences) -> Float64[np.ndarray, "r 2"]:
    """Start and end of every vector; the index of the vector and the next one where an example has no times."""
    counts = sequences.counts.cpu().numpy()
    rows = np.arange(counts.sum(), dtype=float)
    known = [np.asarray(spans, float).reshape(-1, 2) for spans in features.spans]
    if [len(spans) for spans in known] != counts.tolist():
        return np.column_stack([rows, rows + 1])
    table = np.concatenate(known)
    first = np.cumsum(counts) - counts
    lengths = np.maximum.reduceat(table[:, 1], first) - np.minimum.reduceat(table[:, 0], first)
    without = np.repeat(~(lengths > 0), counts)[:, None]
    return np.where(without, np.column_stack([rows, rows + 1]), table)


def _averaged(values: Float[torch.Tensor, "r d"], is_new: np.ndarray) -> Float[torch.Tensor, "s d"]:
    """The means of runs of vectors, which begin where `is_new`."""
    if is_new.all():
        return values
    lengths = np.diff(np.append(np.flatnonzero(is_new), len(is_new)))
    mean: torch.Tensor = torch.segment_reduce(values, "mean", lengths=torch.from_numpy(lengths).to(values.device))
    return mean


def _at_equal_steps(
    values: Float[torch.Tensor, "r d"], starts: Float64[np.ndarray, "r"], counts: np.ndarray
) -> Float[torch.Tensor, "r d"]:
    """The vectors of each example, interpolated at equal steps between its first and last start if need be."""
    changed = values
    first = np.cumsum(counts) - counts
    for begin, count in zip(first[counts > 2].tolist(), counts[counts > 2].tolist(), strict=True):
        times = starts[begin : begin + count]
        steps = np.diff(times)
        if np.ptp(steps) <= UNEVEN * steps.mean():
            continue
        changed = values.clone() if changed is values else changed
        places = np.interp(np.linspace(times[0], times[-1], count), times, np.arange(count))
        weights = interpolation(torch.from_numpy(places), count).to(values)
        changed[begin : begin + count] = weights @ values[begin : begin + count]
    return changed
