"""Data card: what a dataset holds, as it was evaluated, and what a video costs; bounded plain data kept with a result.

The report reads it; no score depends on it, and no digest contains it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from vitascope.core.actors import Keyframes
from vitascope.core.text import clipped
from vitascope.core.types import Card, Dataset, Example, Segment, Timeline
from vitascope.evaluation.result_schema import QUARTILES
from vitascope.features.base import Features, StoredFeatures
from vitascope.features.extraction_options import ExtractionSummary
from vitascope.features.source import BYTES_PER_VALUE
from vitascope.sampling.names import clips_of
from vitascope.sampling.samplers import Sampler

MAX_CLASSES = 1000
"""Classes whose sizes are kept; of more, the sizes in descending order at so many places."""
MAX_FOLDS = 50
MAX_NOTES, MAX_NOTE = 8, 200
BINS = 12
"""Bars of the histogram of lengths."""


class Extent(NamedTuple):
    """What was read of some videos through the view of a probe."""

    seconds: Mapping[str, float] = {}
    """{example id: seconds from the start of its first clip to the end of its last}; empty if unknown."""
    clips: Mapping[str, int] = {}
    """{example id: number of its clips}; empty if unknown."""
    values: int = 0
    """Values stored of one clip; 0 if they are not stored."""


UNMEASURED = Extent()


def extent(features: Features[Any]) -> Extent:
    """Measure the clips of some features by the spans that come with them, without reading a vector."""
    spans = features.spans
    if len(spans) != len(features.examples):
        return UNMEASURED
    tables = {e.id: table for e, table in zip(features.examples, spans, strict=True) if len(table)}
    seconds = {i: float(np.max(table) - np.min(table)) for i, table in tables.items()}
    values = math.prod(features.values.shape[1:]) if isinstance(features, StoredFeatures) else 0
    return Extent(seconds, {i: len(table) for i, table in tables.items()}, values)


def merged(extents: Iterable[Extent]) -> Extent:
    """The extent of all folds together."""
    each = list(extents)
    seconds = {i: length for one in each for i, length in one.seconds.items()}
    clips = {i: n for one in each for i, n in one.clips.items()}
    return Extent(seconds, clips, max((one.values for one in each), default=0))


def data_card(dataset: Dataset[Any], measured: Extent) -> dict[str, Any]:
    """What the dataset holds: examples, lengths, classes and their sizes, groups and folds, as plain data."""
    tested = {i for fold in dataset.folds for i in fold.test}
    used = tested | {i for fold in dataset.folds for i in fold.train}
    examples = [e for e in dataset.examples if e.id in used]
    return {
        "examples": len(examples),
        "tested": len(tested),
        "absent": len(dataset.missing_files),
        "lengths": _lengths(examples, measured),
        "classes": _sizes(dataset, examples),
        "tested_classes": _sizes(dataset, [e for e in examples if e.id in tested]),
        "groups": _groups(examples),
        "folds": [
            {"name": clipped(fold.name, MAX_NOTE), "train": len(fold.train), "test": len(fold.test)}
            for fold in dataset.folds[:MAX_FOLDS]
        ],
        "fold_count": len(dataset.folds),
        "divided": len(dataset.divided_groups),
        "layout": clipped(dataset.layout, MAX_NOTE),
        "notes": [clipped(note, MAX_NOTE) for note in dataset.notes[:MAX_NOTES]],
    }


def cost_card(card: Card, sampler: Sampler, measured: Extent, summary: ExtractionSummary) -> dict[str, Any]:
    """What a test video costs through the view of the probe: clips, stored bytes, and clips encoded in this run.

    Where clips are drawn anew, and so not counted, they are those of a video of ten seconds.
    """
    clips = fmean(measured.clips.values()) if measured.clips else float(clips_of(sampler, card.frames))
    return {
        "clips": round(clips, 3),
        "bytes": round(BYTES_PER_VALUE * measured.values * clips, 1),
        "gflops": card.gflops,
        "encoded": summary.clips,
    }


def _lengths(examples: Sequence[Example[Any]], measured: Extent) -> dict[str, Any]:
    """Quartiles and histogram of the lengths in seconds: of the examples as annotated, else of their clips."""
    annotated = [length for e in examples if (length := _annotated(e)) is not None]
    known = len(annotated) == len(examples)
    values = np.array(annotated if known else [*measured.seconds.values()], float)
    values = values[np.isfinite(values)]
    if not len(values):
        return {}
    low, high = float(values.min()), float(values.max())
    # lengths that differ by rounding alone are one
    counts, _ = np.histogram(values, BINS, (low, high if high - low > 1e-6 * max(high, 1.0) else low + 1.0))
    return {
        "of": "annotated" if known else "clips",
        "count": len(values),
        "quartiles": [round(float(q), 3) for q in np.percentile(values, QUARTILES)],
        "histogram": counts.tolist(),
    }


def _annotated(example: Example[Any]) -> float | None:
    """Length of an example by its annotations, seconds; None if they do not tell."""
    if example.span is not None and math.isfinite(example.span[1]):
        return example.span[1] - example.span[0]
    return example.duration


def _sizes(dataset: Dataset[Any], examples: Iterable[Example[Any]]) -> list[int]:
    """Labels of each class, in the order of the classes; of very many classes, quantiles of the sizes, descending."""
    counts = Counter(label for e in examples for label in labels(e.truth))
    sizes = [counts[label] for label in range(len(dataset.classes))]
    if len(sizes) <= MAX_CLASSES:
        return sizes
    ordered = sorted(sizes, reverse=True)
    return [ordered[round(i * (len(ordered) - 1) / (MAX_CLASSES - 1))] for i in range(MAX_CLASSES)]


def labels(truth: Any) -> list[int]:
    """The class indices in the ground truth of an example: one, several, or one for each action, run or actor."""
    if type(truth) is int:
        return [truth]
    if isinstance(truth, Timeline):
        return [label for label, _ in truth.runs]
    if isinstance(truth, Keyframes):
        return truth.labels
    if isinstance(truth, tuple):
        return [one.label if isinstance(one, Segment) else int(one) for one in truth]
    return [int(truth)]


def _groups(examples: Sequence[Example[Any]]) -> dict[str, int]:
    """Number of groups, of examples in them, size of the largest, and number of files."""
    sizes = Counter(e.group for e in examples if e.group)
    return {
        "count": len(sizes),
        "grouped": sizes.total(),
        "largest": max(sizes.values(), default=0),
        "files": len({e.path for e in examples if e.path}),
    }
