"""Dense features: the vectors of a video one after another in time, as heads read them that look for actions in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.features.base import Features, finite, spans_of


class Dense(NamedTuple):
    """The vectors of one video."""

    values: Float[Tensor, "n d"]
    """One row a clip, in time order, float32."""
    spans: Float64[np.ndarray, "n 2"]
    """Seconds that each row speaks for."""
    duration: float
    """Of the video, seconds: as annotated, else the end of its last row."""


def dense(features: Features[Any], order: Sequence[int] | None = None) -> Iterator[Dense]:
    """The vectors of each example of `features`, in the order given (all, as they stand, when None), read one by one.

    ValueError: features that do not know their spans (encoded as they are read), an example without vectors or with
    grids, a value that is not a finite number, a span that ends before it starts.
    """
    each = spans_of(features)
    if len(each) != len(features.examples):
        raise UserError(
            f"the vectors of {len(features.examples)} examples come without the times they speak for; store them "
            "(View.stored), or import them with their grid"
        )
    for batch in features.batches(1, order):
        index = int(batch.owner[0])
        example, values = features.examples[index], finite(features, batch).values[0][batch.mask[0]].float()
        spans = np.asarray(each[index], np.float64).reshape(-1, 2)
        if values.ndim != 2 or not len(values):
            found = "no vector" if not len(values) else f"vectors of shape {tuple(values.shape[1:])}"
            raise UserError(f"{example.id}: {found}; dense heads read one vector a clip (reduce clip)")
        if not (spans[:, 0] <= spans[:, 1]).all():
            raise UserError(f"{example.id}: clip {int((spans[:, 0] > spans[:, 1]).argmax())} ends before it starts")
        rows = np.argsort(spans.mean(1), kind="stable")
        duration = float(spans.max()) if example.duration is None else example.duration
        yield Dense(values[rows.tolist()], spans[rows], duration)
