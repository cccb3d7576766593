"""Videos as read by localization probes: clip vectors at points evenly spaced in time, and actions at these points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.types import Example, Segment
from vitascope.features.base import Features
from vitascope.features.sequences import FeatureSequence, feature_sequences
from vitascope.nn.schedules import cosine
from vitascope.probes.temporal.actionformer import padded_length
from vitascope.probes.temporal.localization_base import Truth
from vitascope.probes.temporal.point_targets import Actions
from vitascope.sampling.names import MultiClip, Sampler

Fit: TypeAlias = Literal["crop", "resize"]
"""`crop`: point i is clip i, and long videos are cropped in training. `resize`: every video gets `length` points."""
MAX_CROP_TRIES = 200
"""Crops drawn until one contains an action."""
MIN_ACTION_SHARE = 0.5
"""Share of an action that a crop must contain for the action to be learned."""
STRIDE_TOLERANCE = 0.01
"""Relative deviation of clip times from an even stride."""

FINAL_LR = 1e-8
"""Learning rate at the end of the cosine."""


@dataclass(frozen=True)
class PointGrid:
    """Points evenly spaced in time."""

    origin: float
    """Time of point 0, seconds."""
    step: float
    """Time from one point to the next, seconds."""

    def points(self, seconds: Float64[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
        """Convert seconds to fractional points."""
        return (seconds - self.origin) / self.step

    def seconds(self, points: Float64[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
        """Convert points to seconds."""
        return points * self.step + self.origin


class VideoSequence(NamedTuple):
    """One video: a vector per point, and its actions."""

    values: Float[Tensor, "t d"]
    """One row per point."""
    segments: Float[Tensor, "n 2"]
    """Start and end of each action, in points."""
    labels: Int[Tensor, "n"]
    grid: PointGrid
    duration: float
    """Duration of the video, seconds."""


class PaddedBatch(NamedTuple):
    """A batch of videos, padded to one length."""

    values: Float[Tensor, "b d t"]
    mask: Bool[Tensor, "b t"]
    actions: Actions


def examples_with_vectors(features: Features[Any]) -> list[int]:
    """Return the indices of the examples that have vectors."""
    spans = features.spans
    return [
        i for i, e in enumerate(features.examples) if e.id not in features.failures and (not spans or len(spans[i]))
    ]


def video_sequences(
    features: Features[tuple[Segment, ...]], order: Sequence[int], *, fit: Fit, length: int, stride: float | None
) -> Iterator[VideoSequence]:
    """Yield the examples `order`.

    `length`: points per video with `resize`. `stride`: nominal stride of the clips in seconds, None if unknown. Raises
    UserError for uneven clip times or another stride, and as `feature_sequences` does.
    """
    for i, sequence in zip(order, feature_sequences(features, order), strict=True):
        example = features.examples[i]
        step = _clip_stride(example.id, sequence.spans, stride)
        values, grid = (
            (_resize(sequence, step, length)) if fit == "resize" else (sequence.values, _clip_grid(sequence, step))
        )
        truth = [s for s in example.truth if is_valid(s, sequence.duration)]
        seconds = np.array([(s.start, s.end) for s in truth], np.float64).reshape(-1, 2)
        segments = torch.from_numpy(grid.points(seconds)).float().to(values.device)
        labels = torch.tensor([s.label for s in truth], dtype=torch.int64, device=values.device)
        yield VideoSequence(
            values, segments.clamp(max=length) if fit == "resize" else segments, labels, grid, sequence.duration
        )


def is_valid(segment: Segment, duration: float) -> bool:
    """Return whether a segment starts within the video and ends after its start."""
    return segment.start < segment.end and segment.start < duration


def count_invalid(examples: Sequence[Example[tuple[Segment, ...]]]) -> dict[str, int]:
    """Return {example id: number} of ignored segments: reversed, empty or past the end of the video."""
    counts = {
        e.id: sum(not is_valid(s, np.inf if e.duration is None else e.duration) for s in e.truth) for e in examples
    }
    return {i: n for i, n in counts.items() if n}


def check_actions(name: str, train: Features[tuple[Segment, ...]], indices: Sequence[int]) -> None:
    """Raise UserError if no training video has vectors and actions, or a label is outside the class list."""
    labels = {s.label: e.id for i in indices for e in [train.examples[i]] for s in e.truth}
    outside = [label for label in labels if not 0 <= label < len(train.classes)]
    if outside:
        raise UserError(
            f"{name}: label {outside[0]} of {labels[outside[0]]} is outside the {len(train.classes)} classes (0 to "
            f"{len(train.classes) - 1}); correct the labels or add the classes"
        )
    if not labels:
        raise UserError(
            f"{name}: no annotated action in {len(indices)} training videos with vectors; embed or annotate some"
        )


def nominal_stride(sampler: Sampler) -> float | None:
    """Return the stride of a sliding window in seconds; None for other samplers."""
    if not isinstance(sampler, MultiClip):
        return None
    return float(sampler.seconds if sampler.stride is None else sampler.stride)


def _clip_stride(name: str, spans: Float64[np.ndarray, "n 2"], nominal: float | None) -> float:
    """Return the time from one clip to the next in seconds."""
    steps = np.diff(spans[:, 0])
    if not len(steps):
        return float(spans[0, 1] - spans[0, 0]) if nominal is None else nominal
    step = float(np.median(steps))
    if step <= 0 or np.abs(steps - step).max() > STRIDE_TOLERANCE * step:
        raise UserError(
            f"{name}: clips are {steps.min():.4g} to {steps.max():.4g} s apart; localization needs evenly spaced "
            "clips, as from a sliding window"
        )
    if nominal is not None and abs(step - nominal) > STRIDE_TOLERANCE * nominal:
        raise UserError(
            f"{name}: clips are {step:.4g} s apart, but the view has {nominal:.4g} s; set the sampler they were made "
            "with (train= and test=), or embed again"
        )
    return step


def _clip_grid(sequence: FeatureSequence, step: float) -> PointGrid:
    """Return the grid whose point i is the center of clip i: g = (t - T / 2) / T_s."""
    return PointGrid(float(sequence.spans[0].mean()), step)


def _resize(sequence: FeatureSequence, step: float, length: int) -> tuple[Float[Tensor, "t d"], PointGrid]:
    """Interpolate linearly to `length` points over the time that the clips cover: g = t / E * length - 1 / 2."""
    begin, end = float(sequence.spans[0, 0]), float(sequence.spans[0, 1])
    covered = (len(sequence.values) - 1) * step + end - begin
    values = F.interpolate(sequence.values.mT[None], length, mode="linear", align_corners=False)[0].mT
    return values, PointGrid(begin + covered / length / 2, covered / length)


def random_crop(
    video: VideoSequence, generator: torch.Generator, *, limit: int, min_crop: float, margin: bool
) -> VideoSequence:
    """Draw a crop of `limit` points, or of a shorter video a share between `min_crop` and 1.

    Redrawn until it contains at least half of an action; others are dropped, the remaining ones clipped to the crop.
    With `margin`, actions may exceed the crop by half a clip at both ends (ActionFormer since 2022).
    """
    length = len(video.values)
    size = limit
    if length <= limit:
        size = _random_int(max(round(min_crop * length), 1), length, generator)
        if size == length:
            return video
    extra = video.grid.origin / video.grid.step if margin else 0.0  # half a clip, as the first one starts at 0
    for _ in range(MAX_CROP_TRIES):
        begin = _random_int(0, length - size, generator)
        clipped = video.segments.clamp(begin - extra, begin + size + extra)
        share = clipped.diff(dim=1)[:, 0] / video.segments.diff(dim=1)[:, 0]
        keep = share >= MIN_ACTION_SHARE
        if keep.any() or not len(keep):
            break
    return video._replace(
        values=video.values[begin : begin + size], segments=clipped[keep] - begin, labels=video.labels[keep]
    )


def _random_int(low: int, high: int, generator: torch.Generator) -> int:
    """Draw an integer from `low` to `high`, inclusive."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def pad_batch(
    batch: Sequence[VideoSequence], *, windows: Sequence[int], limit: int, exact: bool = False
) -> PaddedBatch:
    """Collate videos, padded with zeros to `actionformer.padded_length`."""
    first = batch[0].values
    length = padded_length(max(len(s.values) for s in batch), windows, limit, exact=exact)
    rows = first.new_zeros(len(batch), length, first.shape[1])  # a row per point, as the network reads them
    mask = torch.zeros(len(batch), length, dtype=torch.bool, device=first.device)
    for i, video in enumerate(batch):
        rows[i, : len(video.values)] = video.values
        mask[i, : len(video.values)] = True
    owner = torch.arange(len(batch)).repeat_interleave(torch.tensor([len(s.labels) for s in batch]))
    actions = Actions(
        torch.cat([s.segments for s in batch]), torch.cat([s.labels for s in batch]), owner.to(first.device)
    )
    return PaddedBatch(rows.mT, mask, actions)


def learning_rate(step: int, steps: int, warm: int, peak: float) -> float:
    """Return the rate at `step` (from 0): linear warm-up from 0 over `warm` steps, then a half cosine down to 1e-8."""
    if step < warm:
        return peak * step / max(warm - 1, 1)
    return cosine(step, steps, warm, peak, FINAL_LR)


ExternalScores: TypeAlias = Mapping[str, Float64[np.ndarray, "k"]] | None
"""Class scores by video id from another classifier; None if the probe predicts classes itself."""


class ValidationSet(NamedTuple):
    """Examples to evaluate."""

    features: Features[Truth]
    indices: Sequence[int]
    external_scores: ExternalScores


StateSelection: TypeAlias = Literal["last", "held-out", "best-on-test"]
"""State to use: the last, or the best on a held-out tenth of the training videos, or on the test videos."""


FIRST_VALIDATED_EPOCH = 5
"""First epoch (from 0) whose state can be selected."""


HELD_OUT_ONE_IN = 10
"""One training video in so many is held out."""


def hold_out(indices: Sequence[int], generator: torch.Generator) -> tuple[list[int], list[int]]:
    """A random tenth of the training videos, at least one, in ascending order; and the others."""
    order = [indices[i] for i in torch.randperm(len(indices), generator=generator).tolist()]
    count = max(1, len(indices) // HELD_OUT_ONE_IN)
    return sorted(order[:count]), order[count:]
