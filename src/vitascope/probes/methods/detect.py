"""Spatio-temporal localization: boxes and classes of actors at keyframes, end to end on frozen token grids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitascope.core.actors import Detections, Keyframes
from vitascope.core.errors import UserError
from vitascope.core.fields import BELOW_ONE, NOT_NEGATIVE, POSITIVE
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Example
from vitascope.features.base import Batch, Features
from vitascope.features.view import View
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.detection.boxes import centered, corners
from vitascope.probes.detection.decoder import ActorDecoder, DecoderConfig, Predicted, random_decoder
from vitascope.probes.detection.losses import FramePredictions, NoObject, Targets, Weights, detection_loss
from vitascope.probes.detection.roi_probe import ROI, RoiProbe
from vitascope.probes.detection.training import (
    ONE_SECOND,
    Grid,
    KeyframeHead,
    examples_of,
    grids,
    in_order,
    mixed_precision,
)
from vitascope.sampling.names import Around, WholeFrame


@dataclass(frozen=True, kw_only=True)
class DetectionProbe(KeyframeHead):
    """An end-to-end decoder of actors on the token grid of one clip around each keyframe, as in the TWLV-I report.

    Queries, factorized into space and time, attend to each other and to the tokens of their time step; each predicts a
    box, the probability of an actor there, and its classes. Queries are assigned to actors by the Hungarian method. The
    encoder runs without autograd. Sizes and schedule are those of table 8; what the report does not state is named in
    the fields.
    """

    name: str = "detect"
    """Name as typed by users, with variant and options."""
    layers: Annotated[int, POSITIVE] = 6
    """Layers of the decoder."""
    width: Annotated[int, POSITIVE] = 256
    """Channels of the decoder."""
    mlp: Annotated[int, POSITIVE] = 2048
    """Hidden channels of its MLPs."""
    heads: Annotated[int, POSITIVE] = 8
    """Attention heads."""
    queries: Annotated[int, POSITIVE] = 32
    """Queries of a time step: the most actors that can be found. Not stated in the report; TubeR has 15, DETR 100."""
    box_layers: Annotated[int, POSITIVE] = 3
    """Layers of the box head."""
    dropout: Annotated[float, BELOW_ONE] = 0.1
    """Dropout probability of the outputs of attention and MLPs."""
    drop_path: Annotated[float, BELOW_ONE] = 0.1
    """Probability of skipping a branch of a layer for an example."""
    anchors: bool = True
    """Predict boxes relative to a learned point of each query, at first spread over the frame. Not in the report."""
    clip_grad_norm: Annotated[float, NOT_NEGATIVE] = 0.1
    """Maximum norm of the gradient, as in DETR; 0: no clipping."""
    warmup: Annotated[int, NOT_NEGATIVE] = 10
    """Epochs of linear warm-up; a half cosine to 0 follows."""
    no_object: NoObject = "presence"
    """Queries without an actor: a probability of `presence` apart from the classes, or `zeros` for all classes."""
    label_weight: Annotated[float, NOT_NEGATIVE] = 2.0
    """Weight of the classes in matching and loss."""
    distance_weight: Annotated[float, NOT_NEGATIVE] = 5.0
    """Weight of the L1 distance of center and size, as in DETR and TubeR."""
    overlap_weight: Annotated[float, NOT_NEGATIVE] = 2.0
    """Weight of the generalized IoU, as in DETR and TubeR."""
    presence_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the loss of there being an actor."""
    absent_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of queries without an actor in that loss, or with `zeros` in that of classes, as in DETR and TubeR."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads or self.width % 4:
            raise UserError(f"{self.name}: width = {self.width} must be a multiple of 4 and of heads = {self.heads}")

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Return the multiply-adds, forward and backward."""
        tokens = load.tokens * self.width * (load.dim + 2 * self.layers * self.width)
        query = self.layers * (12 * self.width**2 + 2 * self.width * self.mlp)
        clip = tokens + self.queries * query
        return float(clip * (3 * load.train * self.epochs + load.test))

    def predict(
        self,
        train: Features[Keyframes],
        test: Features[Keyframes],
        *,
        seed: int,
        scratch: Path | None = None,
        line: str = "",
    ) -> PredictionList[Detections]:
        """Return the predicted actors of each test example; none if it could not be read.

        `seed` sets initialization, order and dropout; `line` labels the progress bar. With `scratch`, the state is
        saved there after every epoch, and an interrupted training resumes from it.
        """
        model = self._trained(train, seed=seed, scratch=scratch, line=line)
        return PredictionList(in_order(test, lambda batch: self._found(model, test, batch)))

    def _head(self, grid: Grid, classes: int, draw: torch.Generator) -> ActorDecoder:
        config = DecoderConfig(
            layers=self.layers,
            width=self.width,
            mlp=self.mlp,
            heads=self.heads,
            queries=self.queries,
            box_layers=self.box_layers,
            dropout=self.dropout,
            drop_path=self.drop_path,
            anchors=self.anchors,
        )
        return random_decoder(draw, ActorDecoder(grid, classes, config))

    def _loss(
        self, model: nn.Module, train: Features[Keyframes], batch: Batch, step: Sequence[int], dropping: torch.Generator
    ) -> Tensor:
        frames = annotated_frames(examples_of(train, batch), batch, self.train)
        with mixed_precision(batch.values.device):
            predicted = at_frames(model(grids(train, batch), dropping), frames)
        targets = padded_targets(frames, len(train.classes)).to(batch.values.device)
        weights = Weights(
            self.label_weight,
            self.distance_weight,
            self.overlap_weight,
            self.presence_weight,
            self.absent_weight,
            self.no_object,
        )
        return detection_loss(predicted, targets, weights) * (len(batch.owner) / len(step))

    def _found(self, model: nn.Module, test: Features[Keyframes], batch: Batch) -> Iterator[Detections]:
        """The predictions for the examples of a batch."""
        frames = annotated_frames(examples_of(test, batch), batch, self.test)
        boxes, presence, scores = _last_layer(at_frames(model(grids(test, batch)), frames))
        if self.no_object == "zeros":
            presence = np.ones_like(presence)
        for row in range(len(batch.owner)):
            own = [i for i, frame in enumerate(frames) if frame.row == row]
            times = np.repeat([frames[i].time for i in own], self.queries)
            yield Detections(times, *(part[own].reshape(-1, *part.shape[2:]) for part in (boxes, presence, scores)))


def _last_layer(predicted: FramePredictions) -> list[NDArray[np.float32]]:
    """Boxes, probability of an actor and of the classes, by frame and query."""
    boxes, presence, logits = (part[-1].float() for part in predicted)
    return [part.cpu().numpy() for part in (corners(boxes), presence.sigmoid(), logits.sigmoid())]


class AnnotatedFrame(NamedTuple):
    """An annotated time of an example of a batch."""

    row: int
    """Its example, by its place in the batch."""
    step: int
    """The time step of the token grid that shows it."""
    time: float
    """Seconds from the first frame of the video."""
    example: Example[Keyframes]


def annotated_frames(examples: Sequence[Example[Keyframes]], batch: Batch, view: View) -> list[AnnotatedFrame]:
    """The annotated times of examples and the time steps that show them."""
    steps = batch.values.shape[-4]
    return [
        AnnotatedFrame(row, time_step(e, time, steps, view), time, e)
        for row, e in enumerate(examples)
        for time in e.truth.times
    ]


def time_step(example: Example[Keyframes], time: float, steps: int, view: View) -> int:
    """The time step that shows `time` in a clip around the middle of the span; the middle is shown by step n // 2."""
    span = example.span or (time, time)
    sampler = view.sampler.inner if isinstance(view.sampler, WholeFrame) else view.sampler
    window = sampler.window if isinstance(sampler, Around) else None
    offset = (time - sum(span) / 2) / (window or 1.0)
    return min(max(int(np.floor(offset * steps + 1e-6)) + steps // 2, 0), steps - 1)


def at_frames(predicted: Predicted, frames: Sequence[AnnotatedFrame]) -> FramePredictions:
    """The predictions at annotated times."""
    row, step = [f.row for f in frames], [f.step for f in frames]
    return FramePredictions(*(part[:, row, step] for part in predicted))


def padded_targets(frames: Sequence[AnnotatedFrame], classes: int) -> Targets:
    """The annotated actors of the frames."""
    actors = [[a for a in f.example.truth.actors if a.time == f.time] for f in frames]
    most = max((len(of) for of in actors), default=0)
    boxes, labels = torch.zeros(len(frames), most, 4), torch.zeros(len(frames), most, classes)
    mask = torch.zeros(len(frames), most, dtype=torch.bool)
    for i, of in enumerate(actors):
        for j, actor in enumerate(of):
            boxes[i, j], mask[i, j] = centered(torch.tensor(actor.box)), True
            labels[i, j, list(actor.labels)] = 1.0
    return Targets(boxes, labels, mask)


PRESETS: Mapping[str, DetectionProbe | RoiProbe] = {
    "": DetectionProbe(),
    "tiny": DetectionProbe(
        name="detect/tiny",
        train=ONE_SECOND,
        test=ONE_SECOND,
        layers=3,
        width=128,
        mlp=128,
        heads=4,
        queries=10,
        dropout=0.0,
        drop_path=0.0,
        lr=1e-3,
        clip_grad_norm=1.0,
        epochs=20,
        warmup=2,
        batch=64,
    ),
    **ROI,
}
VARIANTS: dict[str, str] = {
    "": "factorized queries on one clip around each keyframe, end to end; table 8 of the TWLV-I report",
    "tiny": "a small decoder on one second around each keyframe, for motionlab/detect and trial runs on a CPU",
    "roi": "classes of given boxes: RoIAlign, and attention from each box to all tokens; VideoGLUE's settings",
    "roi-tiny": "a small one on one second around each keyframe, for motionlab/detect and trial runs on a CPU",
    "roi-slowfast": "classes of given boxes: RoIAlign on the mean over time, max-pooled, and a linear classifier",
    "roi-slowfast-tiny": "the same on one second around each keyframe, with a higher learning rate",
}
"""{variant: description}, as listed by `vitascope ls probes`."""


def build(variant: str = "") -> DetectionProbe | RoiProbe:
    """Return the probe `detect/variant`, or `detect`."""
    known = PRESETS.get(variant)
    if known is None:
        raise unknown_variant("probes", "detect", variant, VARIANTS)
    return known
