"""Videos as a localizer reads them: clip vectors on a grid of points, and the actions on the same grid."""

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
from vitascope.features.base import Features, spans_of
from vitascope.features.sequences import Dense, dense
from vitascope.nn.schedules import cosine
from vitascope.probes.temporal.actionformer import padded
from vitascope.probes.temporal.localization_base import Truth
from vitascope.probes.temporal.point_targets import Actions
from vitascope.sampling.names import MultiClip, Sampler

Fit: TypeAlias = Literal["crop", "resize"]
"""Long videos are cropped in training, point i being clip i; or every video is resized to so many points."""
TRIES = 200
"""Windows drawn until one holds an action."""
INSIDE = 0.5
"""Of an action's length that a window must hold for it to be learned."""
UNEVEN = 0.01
"""Of a stride that clips may be off."""

FINAL = 1e-8
"""Learning rate that the cosine goes down to."""


@dataclass(frozen=True)
class PointGrid:
    """Points evenly spaced in time."""

    origin: float
    """Seconds of point 0."""
    step: float
    """Seconds from one point to the next."""

    def points(self, seconds: Float64[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
        """Times as (fractions of) points."""
        return (seconds - self.origin) / self.step

    def seconds(self, points: Float64[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
        """The other way."""
        return points * self.step + self.origin


class VideoSequence(NamedTuple):
    """A video as a localizer reads it."""

    values: Float[Tensor, "t d"]
    """A row a point."""
    segments: Float[Tensor, "n 2"]
    """In points; empty where the truth is not for it to see."""
    labels: Int[Tensor, "n"]
    grid: PointGrid
    duration: float
    """Seconds."""


class PaddedBatch(NamedTuple):
    """A batch, padded."""

    values: Float[Tensor, "b d t"]
    mask: Bool[Tensor, "b t"]
    actions: Actions


def readable(features: Features[Any]) -> list[int]:
    """The examples that have vectors."""
    spans = spans_of(features)
    return [
        i for i, e in enumerate(features.examples) if e.id not in features.failures and (not spans or len(spans[i]))
    ]


def sights(
    features: Features[tuple[Segment, ...]], order: Sequence[int], *, fit: Fit, length: int, stride: float | None
) -> Iterator[VideoSequence]:
    """The examples of these numbers, one by one.

    `length`: points that `resize` gives every video. `stride`: seconds that clips are said to be apart, None where
    nothing is said. ValueError: clips at uneven times, or another stride apart; and what `dense` refuses.
    """
    for i, found in zip(order, dense(features, order), strict=True):
        example = features.examples[i]
        step = _stride(example.id, found.spans, stride)
        values, grid = (_resized(found, step, length)) if fit == "resize" else (found.values, _clips(found, step))
        truth = [s for s in example.truth if valid(s, found.duration)]
        seconds = np.array([(s.start, s.end) for s in truth], np.float64).reshape(-1, 2)
        segments = torch.from_numpy(grid.points(seconds)).float().to(values.device)
        labels = torch.tensor([s.label for s in truth], dtype=torch.int64, device=values.device)
        yield VideoSequence(
            values, segments.clamp(max=length) if fit == "resize" else segments, labels, grid, found.duration
        )


def valid(segment: Segment, duration: float) -> bool:
    """Whether it begins within the video and ends after that."""
    return segment.start < segment.end and segment.start < duration


def invalid(examples: Sequence[Example[tuple[Segment, ...]]]) -> dict[str, int]:
    """{id: how many} of the segments that are not learned, being reversed, empty or past the end of the video."""
    counts = {e.id: sum(not valid(s, np.inf if e.duration is None else e.duration) for s in e.truth) for e in examples}
    return {i: n for i, n in counts.items() if n}


def check(name: str, train: Features[tuple[Segment, ...]], among: Sequence[int]) -> None:
    """ValueError: no training video with vectors, no action in any, a label that there is not."""
    labels = {s.label: e.id for i in among for e in [train.examples[i]] for s in e.truth}
    outside = [label for label in labels if not 0 <= label < len(train.classes)]
    if outside:
        raise UserError(
            f"{name}: label {outside[0]} of {labels[outside[0]]}: there are {len(train.classes)} classes, 0 to "
            f"{len(train.classes) - 1}; correct the labels or add the classes"
        )
    if not labels:
        raise UserError(f"{name}: not one action in {len(among)} training videos with vectors; embed or annotate some")


def said_stride(sampler: Sampler) -> float | None:
    """Seconds between the clips of a sliding window; None of what does not say."""
    if not isinstance(sampler, MultiClip):
        return None
    return float(sampler.seconds if sampler.stride is None else sampler.stride)


def _stride(name: str, spans: Float64[np.ndarray, "n 2"], said: float | None) -> float:
    """Seconds from one clip to the next."""
    steps = np.diff(spans[:, 0])
    if not len(steps):
        return float(spans[0, 1] - spans[0, 0]) if said is None else said
    step = float(np.median(steps))
    if step <= 0 or np.abs(steps - step).max() > UNEVEN * step:
        raise UserError(
            f"{name}: clips are {steps.min():.4g} to {steps.max():.4g} s apart; a localizer needs them evenly spaced, "
            "as a sliding window makes them"
        )
    if said is not None and abs(step - said) > UNEVEN * said:
        raise UserError(
            f"{name}: clips are {step:.4g} s apart and were said to be {said:.4g} s; give the sampler they were made "
            "with (train: and test:), or embed again"
        )
    return step


def _clips(found: Dense, step: float) -> PointGrid:
    """Point i is the middle of clip i: g = (t - T / 2) / T_s."""
    return PointGrid(float(found.spans[0].mean()), step)


def _resized(found: Dense, step: float, length: int) -> tuple[Float[Tensor, "t d"], PointGrid]:
    """`length` points over all that the clips cover, linear between clips: g = t / E * length - 1 / 2."""
    begin, end = float(found.spans[0, 0]), float(found.spans[0, 1])
    covered = (len(found.values) - 1) * step + end - begin
    values = F.interpolate(found.values.mT[None], length, mode="linear", align_corners=False)[0].mT
    return values, PointGrid(begin + covered / length / 2, covered / length)


def cropped(
    sight: VideoSequence, generator: torch.Generator, *, most: int, min_crop: float, margin: bool
) -> VideoSequence:
    """A window drawn from the video: of `most` points, or of a shorter video between `min_crop` of it and all.

    Drawn anew until an action is in it by half; actions that are not are left out, the others clipped to it. With
    `margin` the window is wider by half a clip at both ends where actions are clipped (ActionFormer since 2022).
    """
    length = len(sight.values)
    size = most
    if length <= most:
        size = _between(max(round(min_crop * length), 1), length, generator)
        if size == length:
            return sight
    wider = sight.grid.origin / sight.grid.step if margin else 0.0  # half a clip, as the first starts at 0
    for _ in range(TRIES):
        begin = _between(0, length - size, generator)
        within = sight.segments.clamp(begin - wider, begin + size + wider)
        share = within.diff(dim=1)[:, 0] / sight.segments.diff(dim=1)[:, 0]
        keep = share >= INSIDE
        if keep.any() or not len(keep):
            break
    return sight._replace(
        values=sight.values[begin : begin + size], segments=within[keep] - begin, labels=sight.labels[keep]
    )


def _between(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number, both ends included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def crowd(batch: Sequence[VideoSequence], *, levels: int, most: int) -> PaddedBatch:
    """Videos side by side, padded with zeros as far as the longest needs; `most` as in `nn.actionformer.padded`."""
    first = batch[0].values
    places = padded(max(len(s.values) for s in batch), levels, most)
    values = first.new_zeros(len(batch), first.shape[1], places)
    mask = torch.zeros(len(batch), places, dtype=torch.bool, device=first.device)
    for i, sight in enumerate(batch):
        values[i, :, : len(sight.values)] = sight.values.mT
        mask[i, : len(sight.values)] = True
    owner = torch.arange(len(batch)).repeat_interleave(torch.tensor([len(s.labels) for s in batch]))
    actions = Actions(
        torch.cat([s.segments for s in batch]), torch.cat([s.labels for s in batch]), owner.to(first.device)
    )
    return PaddedBatch(values, mask, actions)


def rate(step: int, steps: int, warm: int, peak: float) -> float:
    """Learning rate of `step` (from 0): 0 up to `peak` at the last of `warm` steps, then half a cosine down to 1e-8."""
    if step < warm:
        return peak * step / max(warm - 1, 1)
    return cosine(step, steps, warm, peak, FINAL)


Outside: TypeAlias = Mapping[str, Float64[np.ndarray, "k"]] | None
"""Scores of classes by video, where they come from elsewhere."""


class ValidationSet(NamedTuple):
    """Examples to be judged."""

    features: Features[Truth]
    which: Sequence[int]
    outside: Outside
