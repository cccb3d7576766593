"""The annotated times of a batch of examples, the time steps of the token grid that show them, and what is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch

from vitascope.core.actors import Keyframes
from vitascope.core.errors import UserError
from vitascope.core.types import Example, Span
from vitascope.features.base import Batch, Features
from vitascope.features.view import View
from vitascope.probes.detection.boxes import centered
from vitascope.probes.detection.decoder import Predicted
from vitascope.probes.detection.losses import FramePredictions, Targets
from vitascope.sampling.clip_window import clip_window, keyframe

Between: TypeAlias = Literal["repeated", "interpolated"]
"""What is predicted between the middles of two time steps: what the step that shows the time predicts, or the linear
interpolation of both. Before the middle of the first and after that of the last step, theirs is repeated."""
SAME = 1e-6
"""Seconds, or steps, that are taken for equal."""


class AnnotatedFrame(NamedTuple):
    """An annotated time of an example of a batch."""

    row: int
    """Its example, by its place in the batch."""
    step: int
    """The time step of the token grid that shows it, or the earlier one of two that are interpolated."""
    time: float
    """Seconds from the first frame of the video."""
    example: Example[Keyframes]
    share: float = 0.0
    """Weight of the time step after it in the interpolation, below 1."""


def annotated_frames(
    features: Features[Keyframes], batch: Batch, view: View, *, between: Between = "repeated"
) -> list[AnnotatedFrame]:
    """The annotated times of the examples of a batch and the time steps that show them."""
    steps = batch.values.shape[-4]
    owners = batch.owner.tolist()
    known = batch.spans if len(batch.spans) or not len(features.spans) else [features.spans[i] for i in owners]
    drawn = [_drawn(spans) for spans in known] or [None] * len(owners)
    frames: list[AnnotatedFrame] = []
    for row, (owner, clip) in enumerate(zip(owners, drawn, strict=True)):
        example = features.examples[owner]
        places = [place(position(example, time, steps, view, clip), steps, between) for time in example.truth.times]
        frames += [
            AnnotatedFrame(row, step, time, example, share)
            for time, (step, share) in zip(example.truth.times, places, strict=True)
        ]
    return frames


def _drawn(spans: Any) -> Span | None:
    """The interval of the only clip of an example."""
    return (float(spans[0][0]), float(spans[0][1])) if len(spans) else None


def place(position: float, steps: int, between: Between) -> tuple[int, float]:
    """The time step that shows a position (part k is from k to k + 1), and the weight of the step after it."""
    if between == "repeated":
        return min(max(math.floor(position + SAME), 0), steps - 1), 0.0
    middle = min(max(position - 0.5, 0.0), steps - 1.0)
    return int(middle), middle - int(middle)


def position(example: Example[Keyframes], time: float, steps: int, view: View, drawn: Span | None = None) -> float:
    """Where `time` falls in the clip of an example, in time steps; the keyframe of a clip around it is in the middle.

    `drawn` is the interval that the clip represents. UserError if the clip does not tell where the time is.
    """
    span = example.span or ((time, time) if drawn is None else None)
    window = clip_window(view.sampler, span, drawn)
    if window is not None:
        return window.position(time, steps)
    key = keyframe(view.sampler, span, drawn)
    if key is not None and abs(time - key) < SAME:
        return steps / 2
    raise UserError(untold(example.id, len(example.truth.times)))


def untold(example: str, times: int) -> str:
    """What is wrong where the clip of an example does not tell which of its time steps shows an annotated time."""
    many = f"{times} annotated times" if times > 1 else "an annotated time that is not in the middle"
    return (
        f"{example} has {many}, but the length of its clip in seconds is not known; use -t detect/tubes, or a view "
        "with a window, as wholeframe(around:window=1)"
    )


def at_frames(predicted: Predicted, frames: Sequence[AnnotatedFrame]) -> FramePredictions:
    """The predictions at annotated times."""
    row, step = [f.row for f in frames], [f.step for f in frames]
    first = FramePredictions(*(part[:, row, step] for part in predicted))
    if not any(f.share for f in frames):
        return first
    after = [f.step + (f.share > 0) for f in frames]
    share = torch.tensor([f.share for f in frames], device=predicted.boxes.device)
    return FramePredictions(
        *(
            torch.lerp(one, part[:, row, after], share.view(1, -1, *[1] * (one.ndim - 2)).to(one.dtype))
            for one, part in zip(first, predicted, strict=True)
        )
    )


def padded_targets(frames: Sequence[AnnotatedFrame], classes: int) -> Targets:
    """The annotated actors of the frames."""
    actors = [[a for a in f.example.truth.actors if a.time == f.time] for f in frames]
    most = max(map(len, actors), default=0)
    boxes, labels = torch.zeros(len(frames), most, 4), torch.zeros(len(frames), most, classes)
    mask = torch.zeros(len(frames), most, dtype=torch.bool)
    for i, of in enumerate(actors):
        for j, actor in enumerate(of):
            boxes[i, j], mask[i, j] = centered(torch.tensor(actor.box)), True
            labels[i, j, list(actor.labels)] = 1.0
    return Targets(boxes, labels, mask)
