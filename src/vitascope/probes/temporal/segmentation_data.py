"""Videos as read by segmentation probes: a vector and a label per frame, vectors interpolated between clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.types import Timeline
from vitascope.features.base import Features
from vitascope.features.sequences import FeatureSequence, feature_sequences

Align: TypeAlias = Literal["time", "stretch"]
"""`time`: interpolate between the clips whose centers surround the frame in time. `stretch`: stretch all clips evenly
over all frames, ignoring their times, as in the published code: up to half a clip off at both ends."""
MAX_UNCOVERED, MAX_UNLABELED = 0.05, 0.5
"""Shares of the labeled duration: how much of its end may lack clips, and how far clips may exceed it."""


class FrameSequence(NamedTuple):
    """One video: a vector and a label per frame."""

    values: Float[Tensor, "t d"]
    labels: Int[Tensor, "t"]


def frame_sequences(
    features: Features[Timeline], order: Sequence[int], *, every: int, align: Align
) -> Iterator[FrameSequence]:
    """Yield the examples `order`, sampled at every `every`-th frame.

    Raises UserError for fewer than two such frames, a label outside the class list, or clips that end well before or
    after the labels, and as `feature_sequences` does.
    """
    for i, sequence in zip(order, feature_sequences(features, order), strict=True):
        example = features.examples[i]
        labels, fps = example.truth.labels, example.truth.fps
        sampled = labels[::every]
        outside = (sampled < 0) | (sampled >= len(features.classes))
        if outside.any():
            raise UserError(
                f"{example.id}: label {sampled[outside][0]} at frame {int(outside.argmax()) * every} is outside the "
                f"{len(features.classes)} classes (0 to {len(features.classes) - 1}); correct the labels or add the "
                "classes"
            )
        if len(sampled) < 2:
            raise UserError(
                f"{example.id}: {len(labels)} labeled frames, {len(sampled)} after striding; two are needed, so "
                "leave the video out"
            )
        if align == "time":
            _check_duration(example.id, sequence, len(labels), fps)
            positions = positions_by_time(sequence.spans, len(labels), fps)
        else:
            positions = positions_by_stretching(len(sequence.values), len(labels))
        values = interpolate_rows(sequence.values, positions[::every])
        yield FrameSequence(values, torch.from_numpy(sampled).to(values.device))


def positions_by_time(spans: Float64[np.ndarray, "n 2"], count: int, fps: float) -> Float64[np.ndarray, "t"]:
    """Return the fractional row of each of `count` frames, interpolating between the clip centers in time.

    Frames before the first and after the last clip get that clip.
    """
    positions: Float64[np.ndarray, "t"] = np.interp(
        (np.arange(count) + 0.5) / fps, spans.mean(1), np.arange(len(spans))
    )
    return positions


def positions_by_stretching(rows: int, count: int) -> Float64[np.ndarray, "t"]:
    """Return fractional rows for rows and frames that evenly divide the same duration."""
    return ((np.arange(count) + 0.5) * rows / count - 0.5).clip(0.0, rows - 1.0)


def interpolate_rows(values: Float[Tensor, "n d"], positions: Float64[np.ndarray, "t"]) -> Float[Tensor, "t d"]:
    """Interpolate linearly between rows."""
    low = torch.from_numpy(np.floor(positions).astype(np.int64)).to(values.device)
    share = torch.from_numpy(positions - np.floor(positions)).to(values)[:, None]
    return torch.lerp(values[low], values[(low + 1).clamp(max=len(values) - 1)], share)


def repeat_labels(labels: Int[Tensor, "t"], every: int, count: int) -> Int64[np.ndarray, "_"]:
    """Repeat each label `every` times and return the labels of all `count` frames."""
    return np.repeat(labels.cpu().numpy().astype(np.int64), every)[:count]


def encoded_examples(features: Features[Timeline]) -> list[int]:
    """Return the indices of the examples that could be encoded; UserError if one of these has no vectors."""
    indices = [i for i, e in enumerate(features.examples) if e.id not in features.failures]
    spans = features.spans
    missing = [features.examples[i].id for i in indices if len(spans) and not len(spans[i])]
    if missing:
        raise UserError(
            f"no vectors for {len(missing)} of {len(features.examples)} videos ({', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}); embed them or leave them out of the split"
        )
    return indices


def _check_duration(name: str, sequence: FeatureSequence, count: int, fps: float) -> None:
    """Raise UserError if labels and clips cannot cover the same part of the video."""
    labeled, end, clip = count / fps, float(sequence.spans[-1, 1]), float(np.diff(sequence.spans[-1])[0])
    if labeled - end > max(MAX_UNCOVERED * labeled, 2 * clip) or end - labeled > max(MAX_UNLABELED * labeled, 2 * clip):
        raise UserError(
            f"{name}: {count} labeled frames at {fps:g} fps cover {labeled:.1f} s, its {len(sequence.values)} clips "
            f"end at {end:.1f} s; embed the whole video, or correct the fps of the labels"
        )
