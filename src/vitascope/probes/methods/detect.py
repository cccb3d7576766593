"""Spatio-temporal localization: boxes and classes of actors at keyframes, end to end on frozen token grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitascope.core.actors import NO_DETECTIONS, Detections, Keyframes
from vitascope.core.device import generator
from vitascope.core.errors import UserError
from vitascope.core.fields import BELOW_ONE, NOT_NEGATIVE, POSITIVE, check_fields
from vitascope.core.progress import ProgressLine, TrainingProgress
from vitascope.core.registry import unknown_variant
from vitascope.features.base import Batch, Features, check_finite
from vitascope.features.view import View
from vitascope.nn.schedules import cosine
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.detection.annotated import AnnotatedFrame, Between, annotated_frames, at_frames, padded_targets
from vitascope.probes.detection.boxes import corners
from vitascope.probes.detection.decoder import ActorDecoder, DecoderConfig, random_decoder
from vitascope.probes.detection.losses import FramePredictions, Weights, detection_loss
from vitascope.probes.detection.scoring import ActorDetection
from vitascope.probes.training import resume
from vitascope.probes.training.clipped_step import clipped_step
from vitascope.sampling.names import Around, Uniform, WholeFrame

READ_EXAMPLES = 64
"""Most keyframes read at once; gradients are accumulated to the batch."""
_AVA = View(WholeFrame(Around()), "grid", stored=False)
_SECOND = View(WholeFrame(Around(window=1.0)), "grid", stored=False)
_SPAN = View(WholeFrame(Uniform()), "grid", stored=False)


@dataclass(frozen=True, kw_only=True)
class DetectionProbe(ActorDetection):
    """An end-to-end decoder of actors on the token grid of one clip around each keyframe, as in the TWLV-I report.

    Queries, factorized into space and time, attend to each other and to the tokens of their time step; each predicts a
    box, the probability of an actor there, and its classes. Queries are assigned to actors by the Hungarian method. The
    encoder runs without autograd. Sizes and schedule are those of table 8; what the report does not state is named in
    the fields.
    """

    name: str = "detect"
    """Name as typed by users, with variant and options."""
    version: int = 1
    """Version; incremented whenever the same inputs would yield another score."""
    train: View = _AVA
    """View of the training videos."""
    test: View = _AVA
    """View of the test videos."""
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
    lr: Annotated[float, POSITIVE] = 1e-4
    """Peak learning rate of AdamW."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 1e-5
    """Weight decay of AdamW."""
    clip_grad_norm: Annotated[float, NOT_NEGATIVE] = 0.1
    """Maximum norm of the gradient, as in DETR; 0: no clipping."""
    epochs: Annotated[int, POSITIVE] = 50
    """Passes over the training keyframes."""
    warmup: Annotated[int, NOT_NEGATIVE] = 10
    """Epochs of linear warm-up; a half cosine to 0 follows."""
    batch: Annotated[int, POSITIVE] = 256
    """Keyframes per step; gradients are accumulated."""
    ema: Annotated[float, BELOW_ONE] = 0.0
    """Decay of a moving average of the weights that makes the predictions; 0: the weights of the last step do."""
    label_weight: Annotated[float, NOT_NEGATIVE] = 2.0
    """Weight of the classes in matching and loss."""
    distance_weight: Annotated[float, NOT_NEGATIVE] = 5.0
    """Weight of the L1 distance of center and size, as in DETR and TubeR."""
    overlap_weight: Annotated[float, NOT_NEGATIVE] = 2.0
    """Weight of the generalized IoU, as in DETR and TubeR."""
    presence_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the loss of there being an actor."""
    absent_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of queries without an actor in that loss, as in DETR and TubeR."""

    resumes: ClassVar[bool] = True
    reports_progress: ClassVar[bool] = True
    between: ClassVar[Between] = "repeated"
    """What is predicted between the middles of two time steps; no field, so that digests made without it stay valid."""

    def __post_init__(self) -> None:
        check_fields(self, self.name)
        if self.width % self.heads or self.width % 4:
            raise UserError(f"{self.name}: width = {self.width} must be a multiple of 4 and of heads = {self.heads}")
        if self.warmup > self.epochs:
            raise UserError(f"{self.name}: warmup = {self.warmup} must be at most epochs = {self.epochs}")
        if (self.train.reduce, self.test.reduce) != ("grid", "grid"):
            raise UserError(f"{self.name}: attends to tokens in space; its views must reduce to grid")

    def passes(self, train: int) -> int:
        """Return the number of passes over `train` keyframes."""
        return self.epochs

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
        if not any(e.truth.actors for e in train.examples):
            raise UserError(f"{self.name}: none of {len(train.examples)} training examples has an actor; annotate some")
        with ProgressLine(TrainingProgress(line, self.epochs * len(train.examples)), quiet=not line) as live:
            model = self._fit(train, seed=seed, scratch=scratch, live=live)
        return PredictionList(self._detections(model, test))

    def _frames(self, features: Features[Keyframes], batch: Batch, view: View) -> list[AnnotatedFrame]:
        """The annotated times of a batch and the time steps that show them."""
        return annotated_frames(features, batch, view, between=self.between)

    @property
    def _weights(self) -> Weights:
        return Weights(
            self.label_weight, self.distance_weight, self.overlap_weight, self.presence_weight, self.absent_weight
        )

    def _fit(
        self, train: Features[Keyframes], *, seed: int, scratch: resume.Scratch, live: ProgressLine
    ) -> ActorDecoder:
        """Train the decoder, every keyframe once per epoch."""
        draw = generator(seed)
        model = self._model(train, draw)
        device = model.slots.device
        average = deepcopy(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.lr, weight_decay=self.weight_decay, fused=True)
        dropping = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=draw)))
        facts = resume.LoopState(draw=draw, dropping=dropping)
        parts: dict[str, resume.Stateful] = {"model": model, "average": average, "optimizer": optimizer, "facts": facts}
        count = len(train.examples)
        epoch_steps = -(-count // self.batch)
        done = resume.resume(scratch, parts)
        live.resume_at(done * count)
        for epoch in range(done, self.epochs):
            order = torch.randperm(count, generator=draw).tolist()
            for number, start in enumerate(range(0, count, self.batch)):
                chosen = order[start : start + self.batch]
                self._accumulate(model, train, chosen, dropping, live)
                step = epoch * epoch_steps + number + 1
                rate = cosine(step, self.epochs * epoch_steps, self.warmup * epoch_steps, self.lr)
                clipped_step(optimizer, rate, max_norm=self.clip_grad_norm, name=self.name, scratch=scratch)
                resume.update_average(average, model, self.ema)
            resume.save(scratch, parts, epoch + 1)
        resume.delete(scratch)
        return average

    def _model(self, train: Features[Keyframes], draw: torch.Generator) -> ActorDecoder:
        """Return an untrained decoder for the grids of `train`."""
        first = next(iter(train.batches(1)), None)
        if first is None:
            raise UserError(f"{self.name}: none of {len(train.examples)} training videos could be encoded")
        steps, rows, columns, dim = first.values.shape[-4:]
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
        model = ActorDecoder((steps, rows, columns, dim), len(train.classes), config)
        return random_decoder(draw, model).to(first.values.device)

    def _accumulate(
        self,
        model: ActorDecoder,
        train: Features[Keyframes],
        chosen: Sequence[int],
        dropping: torch.Generator,
        live: ProgressLine,
    ) -> None:
        """Add the gradients of the keyframes `chosen`."""
        for batch in train.batches(min(self.batch, READ_EXAMPLES), chosen):
            frames = self._frames(train, batch, self.train)
            predicted = at_frames(model(_grids(train, batch), dropping), frames)
            targets = padded_targets(frames, len(train.classes)).to(batch.values.device)
            loss = detection_loss(predicted, targets, self._weights)
            (loss * (len(batch.owner) / len(chosen))).backward()
            for _ in batch.owner:
                live.step()

    @torch.no_grad()
    def _detections(self, model: ActorDecoder, test: Features[Keyframes]) -> list[Detections]:
        """Return the predictions for each example."""
        predictions = [NO_DETECTIONS] * len(test.examples)
        for batch in test.batches(READ_EXAMPLES):
            frames = self._frames(test, batch, self.test)
            by_frame = _last_layer(at_frames(model(_grids(test, batch)), frames))
            for row, owner in enumerate(batch.owner.tolist()):
                own = [i for i, frame in enumerate(frames) if frame.row == row]
                times = np.repeat([frames[i].time for i in own], self.queries)
                predictions[owner] = Detections(times, *(part[own].reshape(-1, *part.shape[2:]) for part in by_frame))
        return predictions


def _last_layer(predicted: FramePredictions) -> list[NDArray[np.float32]]:
    """Boxes, probability of an actor and of the classes, by frame and query."""
    boxes, presence, logits = (part[-1].float() for part in predicted)
    return [part.cpu().numpy() for part in (corners(boxes), presence.sigmoid(), logits.sigmoid())]


def _grids(features: Features[Keyframes], batch: Batch) -> Tensor:
    """The token grids of a batch, one clip per example, float32."""
    if batch.values.ndim != 6 or batch.values.shape[1] != 1:
        raise UserError(
            f"detect: needs one token grid per example, not vectors of shape {list(batch.values.shape[1:])}"
        )
    return check_finite(features, batch).values[:, 0].float()


@dataclass(frozen=True, kw_only=True)
class TubeProbe(DetectionProbe):
    """The decoder on the whole span of each example, with boxes at every annotated time of it.

    A box, presence and classes between the middles of two time steps are those of the query at both, interpolated: an
    actor moves on within a step, and training at every annotated time makes a query follow one actor.
    """

    name: str = "detect/tubes"
    """Name as typed by users, with variant and options."""
    train: View = _SPAN
    """View of the training videos."""
    test: View = _SPAN
    """View of the test videos."""

    between: ClassVar[Between] = "interpolated"


_TINY = DetectionProbe(
    name="detect/tiny",
    train=_SECOND,
    test=_SECOND,
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
_TINY_TUBES = {f.name: getattr(_TINY, f.name) for f in fields(_TINY)} | {"name": "detect/tubes-tiny"}
PRESETS: Mapping[str, DetectionProbe] = {
    "": DetectionProbe(),
    "tiny": _TINY,
    "tubes": TubeProbe(),
    "tubes-tiny": TubeProbe(**_TINY_TUBES | {"train": _SPAN, "test": _SPAN}),
}
VARIANTS: dict[str, str] = {
    "": "factorized queries on one clip around each keyframe, end to end; table 8 of the TWLV-I report",
    "tiny": "a small decoder on one second around each keyframe, for motionlab/detect and trial runs on a CPU",
    "tubes": "boxes at every annotated frame of a window, linked to tubes: for ucf101_24, jhmdb and multisports",
    "tubes-tiny": "detect/tubes with the decoder of detect/tiny, for motionlab/detect-tubes and trial runs on a CPU",
}
"""{variant: description}, as listed by `vitascope ls probes`."""


def build(variant: str = "") -> DetectionProbe:
    """Return the probe `detect/variant`, or `detect`."""
    known = PRESETS.get(variant)
    if known is None:
        raise unknown_variant("probes", "detect", variant, VARIANTS)
    return known
