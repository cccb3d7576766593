"""Spatio-temporal localization: boxes and classes of actors at keyframes, end to end on frozen token grids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitascope.core.actors import Detections, Keyframes
from vitascope.core.errors import UserError
from vitascope.core.fields import BELOW_ONE, NOT_NEGATIVE, POSITIVE
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Dataset
from vitascope.features.base import Batch, Features
from vitascope.features.view import View
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.detection.annotated import (
    Between,
    annotated_frames,
    at_frames,
    padded_targets,
    untold,
)
from vitascope.probes.detection.boxes import corners
from vitascope.probes.detection.decoder import ActorDecoder, DecoderConfig, random_decoder
from vitascope.probes.detection.losses import FramePredictions, NoObject, Weights, detection_loss
from vitascope.probes.detection.roi_probe import ROI, RoiProbe
from vitascope.probes.detection.training import (
    ONE_SECOND,
    WHOLE_SPAN,
    Grid,
    KeyframeHead,
    grids,
    in_order,
    mixed_precision,
)
from vitascope.sampling.clip_window import clip_window


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

    between: ClassVar[Between] = "repeated"
    """What is predicted between the middles of two time steps; no field, so that digests made without it stay valid."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads or self.width % 4:
            raise UserError(f"{self.name}: width = {self.width} must be a multiple of 4 and of heads = {self.heads}")

    def check_dataset(self, dataset: Dataset[Keyframes]) -> None:
        """Raise UserError for examples annotated at several times that a clip of the views would not tell apart."""
        for view in (self.train, self.test):
            for e in dataset.examples:
                if len(e.truth.times) > 1 and clip_window(view.sampler, e.span, e.span) is None:
                    raise UserError(f"{self.name} on {dataset.name}: {untold(e.id, len(e.truth.times))}")

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
        frames = annotated_frames(train, batch, self.train, between=self.between)
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
        frames = annotated_frames(test, batch, self.test, between=self.between)
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


@dataclass(frozen=True, kw_only=True)
class TubeProbe(DetectionProbe):
    """The decoder on the whole span of each example, with boxes at every annotated time of it.

    Box, presence and classes between the middles of two time steps are those of the query at both, interpolated:
    actors move on within a step. Queries are matched to actors at each time, as at keyframes.
    """

    name: str = "detect/tubes"
    """Name as typed by users, with variant and options."""
    train: View = WHOLE_SPAN
    """View of the training videos."""
    test: View = WHOLE_SPAN
    """View of the test videos."""

    between: ClassVar[Between] = "interpolated"


_TINY = DetectionProbe(
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
)
_TINY_TUBES = {f.name: getattr(_TINY, f.name) for f in fields(_TINY)} | {
    "name": "detect/tubes-tiny",
    "train": WHOLE_SPAN,
    "test": WHOLE_SPAN,
    "batch": 16,  # each of them has many annotated times
}
PRESETS: Mapping[str, DetectionProbe | RoiProbe] = {
    "": DetectionProbe(),
    "tiny": _TINY,
    "tubes": TubeProbe(),
    "tubes-tiny": TubeProbe(**_TINY_TUBES),
    **ROI,
}
VARIANTS: dict[str, str] = {
    "": "factorized queries on one clip around each keyframe, end to end; table 8 of the TWLV-I report",
    "tiny": "a small decoder on one second around each keyframe, for motionlab/detect and trial runs on a CPU",
    "tubes": "boxes at every annotated frame of a window, linked to tubes: for ucf101_24, jhmdb and multisports",
    "tubes-tiny": "detect/tubes with the decoder of detect/tiny, for motionlab/detect-tubes and trial runs on a CPU",
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
