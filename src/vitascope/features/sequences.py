"""Feature sequences: clip vectors of a video in temporal order, as localization and segmentation heads read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.features.base import Features, check_finite


class FeatureSequence(NamedTuple):
    """The clip vectors of one video."""

    values: Float[Tensor, "n d"]
    """One row per clip, in temporal order, float32."""
    spans: Float64[np.ndarray, "n 2"]
    """Start and end of the clip of each row, seconds."""
    duration: float
    """Duration of the video, seconds: as annotated, else the end of its last clip."""


def feature_sequences(features: Features[Any], order: Sequence[int] | None = None) -> Iterator[FeatureSequence]:
    """Yield the clip vectors of each example of `features`, in the given order (all in their own order if None).

    Raises UserError if the features have no spans (those encoded live), or an example has no vectors, token grids
    instead of vectors, a value that is not finite, or a span that ends before it starts.
    """
    spans_per_example = features.spans
    if len(spans_per_example) != len(features.examples):
        raise UserError(
            f"the vectors of {len(features.examples)} examples have no time spans; store them (View.stored), or import "
            "them with their time grid"
        )
    for batch in features.batches(1, order):
        index = int(batch.owner[0])
        example, values = features.examples[index], check_finite(features, batch).values[0][batch.mask[0]].float()
        spans = np.asarray(spans_per_example[index], np.float64).reshape(-1, 2)
        if values.ndim != 2 or not len(values):
            problem = "no vector" if not len(values) else f"vectors of shape {tuple(values.shape[1:])}"
            raise UserError(
                f"{example.id}: {problem}; localization and segmentation read one vector per clip (reduce clip)"
            )
        if not (spans[:, 0] <= spans[:, 1]).all():
            raise UserError(f"{example.id}: clip {int((spans[:, 0] > spans[:, 1]).argmax())} ends before it starts")
        rows = np.argsort(spans.mean(1), kind="stable")
        duration = float(spans.max()) if example.duration is None else example.duration
        yield FeatureSequence(values[rows.tolist()], spans[rows], duration)
