"""The vectors of a map: of the same examples, in the same order, by every encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vitascope.core.errors import UserError
from vitascope.core.text import counted
from vitascope.core.types import Card, Dataset, Example
from vitascope.encoders.base import Encoder
from vitascope.evaluation.maps.files import MAX_POINTS
from vitascope.evaluation.maps.points import Points, Scale, Unit
from vitascope.features.base import all_vectors, mean_vectors
from vitascope.features.extraction_options import ExtractionOptions
from vitascope.features.imports.twelvelabs import Published
from vitascope.features.source import FeatureSource, prepare_together
from vitascope.features.view import View
from vitascope.sampling.samplers import Sampler


@dataclass(frozen=True)
class _Read:
    """What one encoder has of the examples."""

    values: Float[ndarray, "r d"]
    counts: dict[str, int]
    """Number of vectors by example."""
    spans: Float[ndarray, "r 2"]


def read_vectors(
    dataset: Dataset[Any],
    examples: Sequence[Example[int]],
    encoders: Sequence[Encoder | Card],
    *,
    unit: Unit,
    sampler: Sampler,
    root: Any,
    options: ExtractionOptions,
) -> tuple[Points, list[Float[ndarray, "n d"]], list[str]]:
    """Return the points, the vectors of each encoder, and notes on examples that are left out.

    What the store lacks is encoded first. Examples that one encoder has no vector of, or another number of clips of
    than the others, are left out of all maps. UserError where nothing is left, or a vector is NaN or infinite.
    """
    view = View(Published("clips") if dataset.cards and unit == "clip" else sampler)
    asked = replace(dataset, examples=tuple(examples))  # no other needs to be encoded
    sources = [FeatureSource(e, asked, root, options) for e in encoders]
    prepare_together([(source, [view]) for source in sources])
    read = [_read(source, view, unit) for source in sources]
    counts = [{each.counts.get(e.id, 0) for each in read} for e in examples]
    kept = [e for e, of in zip(examples, counts, strict=True) if len(of) == 1 and 0 not in of]
    notes = [] if len(kept) == len(examples) else [_left_out(len(examples) - len(kept), read)]
    if not kept:
        raise UserError(f"{dataset.name}: no example has vectors of every encoder; {_left_out(len(examples), read)}")
    rows = [_rows(each, kept) for each in read]
    sizes = [read[0].counts[e.id] for e in kept]
    if sum(sizes) > MAX_POINTS:
        raise UserError(f"{sum(sizes):,} points; a map holds {MAX_POINTS:,}: set --share or --class")
    points = Points(
        tuple(kept),
        np.concatenate([np.arange(size) for size in sizes]),
        np.repeat(np.arange(len(kept)), sizes),
        read[0].spans[rows[0]],
    )
    return points, [each.values[of] for each, of in zip(read, rows, strict=True)], notes


def _left_out(count: int, read: Sequence[_Read]) -> str:
    return f"{counted(count, 'example')} left out: without vectors of {'every' if len(read) > 1 else 'the'} encoder"


def _read(source: FeatureSource, view: View, unit: Unit) -> _Read:
    available = [e.id for e in source.dataset.examples if e.id not in source.dataset.missing_files]
    with source:
        source.prepare([view])
        features = source.features(view, available)
        values, owner = (mean_vectors if unit == "video" else all_vectors)(features)
        counts = np.bincount(owner.cpu().numpy(), minlength=len(features.examples))
        spans = [_span(features.spans[i], unit) for i in range(len(features.examples))]
    return _Read(
        values.cpu().numpy().reshape(len(values), -1),
        {e.id: int(count) for e, count in zip(features.examples, counts, strict=True)},
        np.concatenate(spans),
    )


def _span(spans: Any, unit: Unit) -> Float[ndarray, "c 2"]:
    """The spans of the clips of an example, or the one around them all."""
    table = np.asarray(spans, float).reshape(-1, 2)
    return table if unit == "clip" else np.array([[table[:, 0].min(), table[:, 1].max()]])


def _rows(read: _Read, examples: Sequence[Example[int]]) -> Int[ndarray, "n"]:
    """The rows of the vectors of `examples`."""
    ends = dict(zip(read.counts, np.cumsum(list(read.counts.values())), strict=True))
    return np.concatenate([np.arange(ends[e.id] - read.counts[e.id], ends[e.id]) for e in examples])


def scaled(vectors: Float[ndarray, "n d"], scale: Scale) -> Float[ndarray, "n d"]:
    """The vectors as they are, with each dimension of mean 0 and variance 1 (constant ones 0), or of length 1."""
    changed = vectors
    if scale == "standardized":
        deviation = vectors.std(0)
        changed = (vectors - vectors.mean(0)) / np.where(deviation > 0, deviation, 1.0)
    if scale == "unit":
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        changed = vectors / np.where(norms > 0, norms, 1.0)
    return changed


def check_vectors(name: str, vectors: Float[ndarray, "n d"]) -> None:
    """Raise UserError for vectors that no picture can show: a single one, of one dimension, or all of them equal."""
    if len(vectors) < 2:
        raise UserError(
            f"{name}: a map of {counted(len(vectors), 'point')}; choose at least two, see --class and --share"
        )
    if vectors.shape[1] < 2:
        raise UserError(f"{name}: vectors of one dimension; a map needs at least two")
    if not np.ptp(vectors, axis=0).any():
        raise UserError(
            f"{name}: all {len(vectors)} vectors are equal, so there is nothing to show; `vitascope check` the encoder"
        )
