"""Temporal action segmentation by ASFormer's head on frozen clip vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray

from vitascope.core.device import generator
from vitascope.core.errors import UserError
from vitascope.core.fields import BELOW_ONE, NOT_NEGATIVE, POSITIVE, MultipleOf, check_fields
from vitascope.core.progress import ProgressLine, TrainingProgress
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Timeline
from vitascope.features.base import Features
from vitascope.features.view import View
from vitascope.metrics import segmental
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.temporal.asformer import ASFormer, AttentionSpan, asformer_loss, random_asformer
from vitascope.probes.temporal.segmentation_base import TemporalSegmentation
from vitascope.probes.temporal.segmentation_data import Align, encoded_examples, frame_sequences, repeat_labels
from vitascope.probes.temporal.segmentation_presets import DATASET_SETTINGS, PRESETS, settings
from vitascope.probes.temporal.twlv1_table7 import OTHERS, windows
from vitascope.probes.training import resume
from vitascope.sampling.names import MultiClip

Array: TypeAlias = NDArray[Any]
ShuffleOrder: TypeAlias = Literal["each-epoch", "once"]
"""When the training videos are shuffled."""
FACTOR, PATIENCE = 0.5, 3
"""The learning rate is halved after more than three epochs without improvement."""
LABELED_FPS = 15
"""Labeled frames per second, for cost estimates: those of the datasets in the TWLV-I report."""


@dataclass(frozen=True, kw_only=True)
class SegmentationProbe(TemporalSegmentation):
    """ASFormer's head (Yi et al. 2021, arXiv 2110.08568) on the clip vectors of whole videos, frame by frame.

    One video per step, Adam, learning rate halved on plateaus of the training loss; the state after the last epoch is
    used. `segment` implements what the TWLV-I report intends, without the defects of its code, and uses its settings on
    50Salads, GTEA and Breakfast.
    """

    name: str = "segment"
    """Name as typed by users, with variant and options."""
    version: int = 1
    """Version; incremented whenever the same inputs would yield another score."""
    reports_progress: ClassVar[bool] = True
    train: View = OTHERS.view
    """View of the training videos."""
    test: View = OTHERS.view
    """View of the test videos."""
    frame_stride: Annotated[int, POSITIVE] = 1
    """Stride of the frames that are learned and labeled; the frames between take the previous label."""
    align: Align = "time"
    """Alignment of clips and frames: by the time of clip centers, or by stretching clips over all frames."""
    layers: Annotated[int, POSITIVE] = 8
    """Layers per stage (of four); the dilation doubles from layer to layer."""
    width: Annotated[int, POSITIVE, MultipleOf(2)] = 256
    """Channels of every layer; attention uses half of them."""
    attention_span: AttentionSpan = "window"
    """Frames that a frame attends to: a window around it, its block, or all."""
    channel_dropout: Annotated[float, BELOW_ONE] = 0.3
    """Dropout probability of a channel of the vectors."""
    smoothing_weight: Annotated[float, NOT_NEGATIVE] = 0.15
    """Weight of the smoothing loss between consecutive frames."""
    epochs: Annotated[int, POSITIVE] = 120
    """Passes over the training videos, with one video per step."""
    lr: Annotated[float, POSITIVE] = 5e-4
    """Initial learning rate, halved when the epoch loss plateaus."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 1e-5
    """Weight decay of Adam, added to the gradient."""
    order: ShuffleOrder = "each-epoch"
    """When the training videos are shuffled."""
    background: tuple[int, ...] = ()
    """Indices of background classes, whose runs are not segments."""
    style: segmental.Style = "sound"
    """Definition of edit score and F1: `sound`, or `published` as in the public code."""

    resumes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self, self.name)
        if (self.train.reduce, self.test.reduce) != ("clip", "clip") or not (self.train.stored and self.test.stored):
            raise UserError(f"{self.name}: reads one stored vector per clip; its views must reduce to clip")

    def for_dataset(self, family: str) -> SegmentationProbe:
        """Return the probe with the settings of the dataset, unless its name states others; or only with its window."""
        variant = self.name.partition("/")[2]
        if any(known in variant.split("-") for known in DATASET_SETTINGS):
            return self
        if family in DATASET_SETTINGS:
            return replace(_preset(variant, family), name=self.name)
        view = windows(family).view
        return replace(self, train=view, test=view)

    def passes(self, train: int) -> int:
        """Return the number of passes over `train` videos."""
        return self.epochs

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Return the multiply-adds, forward and backward; the number of frames follows from clips and their stride."""
        sampler = self.test.sampler
        stride = (sampler.stride or sampler.seconds) if isinstance(sampler, MultiClip) else 1 / LABELED_FPS
        video = load.train_clips * stride * LABELED_FPS
        keys = self.layers * video if self.attention_span == "full" else 2.0 ** (self.layers + 1)
        frame = load.dim * self.width + 4 * (6 * self.layers * self.width**2 + keys * self.width)
        frames_read = 3 * self.epochs * load.train * video + load.test * load.test_clips * stride * LABELED_FPS
        return float(frames_read * frame)

    def predict(
        self,
        train: Features[Timeline],
        test: Features[Timeline],
        *,
        seed: int,
        scratch: Path | None = None,
        line: str = "",
    ) -> PredictionList[Int64[Array, "_"]]:
        """Return the class of every frame of each test video, int64; empty if it could not be encoded.

        `seed` sets initialization, order and dropout; `line` labels the progress bar. With `scratch`, the state is
        saved there after every epoch, and an interrupted training resumes from it. Raises UserError if there is nothing
        to train on, a video has no or non-finite vectors, a label is outside the class list, or clips and labels differ
        in duration.
        """
        train_indices, test_indices = encoded_examples(train), encoded_examples(test)
        if not train_indices:
            raise UserError(f"{self.name}: none of {len(train.examples)} training videos has vectors; embed some first")
        for _ in frame_sequences(test, test_indices, every=self.frame_stride, align=self.align):
            pass  # report problems of the test set before training, not after
        with ProgressLine(TrainingProgress(line, self.epochs * len(train_indices)), quiet=not line) as live:
            model = self._fit(train, train_indices, generator(seed), scratch=scratch, live=live)
        missing = [e.id for i, e in enumerate(test.examples) if i not in set(test_indices)]
        return PredictionList(
            self._predict_labels(model, test, test_indices), **({"without vectors": missing} if missing else {})
        )

    def _fit(
        self,
        train: Features[Timeline],
        indices: list[int],
        draw: torch.Generator,
        *,
        scratch: resume.Scratch,
        live: ProgressLine,
    ) -> ASFormer:
        """Train the head."""
        first = next(frame_sequences(train, indices[:1], every=self.frame_stride, align=self.align))
        device, dim = first.values.device, first.values.shape[1]
        model = random_asformer(draw, self._model(dim, len(train.classes))).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=self.lr, weight_decay=self.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=FACTOR, patience=PATIENCE)
        dropout_generator = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=draw)))
        loop_state = resume.LoopState(draw=draw, dropping=dropout_generator, order=indices)
        parts: dict[str, resume.Stateful] = {
            "model": model,
            "optimizer": optimizer,
            "schedule": schedule,
            "facts": loop_state,
        }
        done = resume.resume(scratch, parts)
        live.resume_at(done * len(indices))
        for epoch in range(done, self.epochs):
            if epoch == 0 or self.order == "each-epoch":
                loop_state["order"] = [indices[i] for i in torch.randperm(len(indices), generator=draw).tolist()]
            total = torch.zeros((), device=device)
            for video in frame_sequences(train, loop_state["order"], every=self.frame_stride, align=self.align):
                optimizer.zero_grad()
                step_loss = asformer_loss(
                    model(video.values, dropout_generator), video.labels, smoothing=self.smoothing_weight
                )
                step_loss.backward()
                optimizer.step()
                total += step_loss.detach()
                live.step()
            if not total.isfinite():
                resume.delete(scratch)  # the state is of no use
                raise UserError(f"{self.name}: loss {float(total)} in epoch {epoch + 1}; lower lr")
            schedule.step(float(total))
            resume.save(scratch, parts, epoch + 1)
        resume.delete(scratch)
        return model

    def _model(self, dim: int, classes: int) -> ASFormer:
        return ASFormer(
            dim, classes, layers=self.layers, width=self.width, span=self.attention_span, mask=self.channel_dropout
        )

    @torch.no_grad()
    def _predict_labels(self, model: ASFormer, test: Features[Timeline], indices: list[int]) -> list[Int64[Array, "_"]]:
        """Return the most likely class of each frame by the last stage."""
        predictions = [np.empty(0, np.int64) for _ in test.examples]
        for i, video in zip(
            indices, frame_sequences(test, indices, every=self.frame_stride, align=self.align), strict=True
        ):
            labels = model(video.values)[-1].argmax(1)
            predictions[i] = repeat_labels(labels, self.frame_stride, test.examples[i].truth.frames)
        return predictions


VARIANTS: dict[str, str] = {
    "": "ASFormer's head on clip vectors; with the settings of 50Salads, GTEA and Breakfast on these datasets",
    "50salads": "`segment` as for 50Salads, on any dataset: every second frame is labeled, and repeated",
    "gtea": "`segment` as for GTEA, on any dataset: class 10 is background",
    "breakfast": "`segment` as for Breakfast, on any dataset: every frame attends to the whole video",
    "paper": "exactly table 7 of the TWLV-I report, by dataset; scored as in its published code",
    "paper-50salads": "`segment/paper` as for 50Salads, on any dataset",
    "paper-gtea": "`segment/paper` as for GTEA, on any dataset",
    "paper-breakfast": "`segment/paper` as for Breakfast, on any dataset",
    "published": "as in the repository of the TWLV-I report: block attention, stretched clips, no reshuffling",
    "published-50salads": "`segment/published` as for 50Salads, on any dataset",
    "published-gtea": "`segment/published` as for GTEA, on any dataset",
    "published-breakfast": "`segment/published` as for Breakfast, on any dataset",
    "original": "as in ASFormer's own code: 10 layers of width 64, block attention, clips stretched over frames",
    "original-50salads": "`segment/original` as for 50Salads, on any dataset",
    "original-gtea": "`segment/original` as for GTEA, on any dataset: channel dropout 0.5",
    "original-breakfast": "`segment/original` as for Breakfast, on any dataset",
}
"""{variant: description}, as listed by `vitascope ls probes`."""


def _preset(variant: str, family: str) -> SegmentationProbe:
    """Return the probe named by the words of `variant`, with the settings of `family` if they name no dataset."""
    words = variant.split("-")
    dataset = next((known for known in DATASET_SETTINGS if known in words), family)
    preset = next((p for p in PRESETS if p and p in words), "")
    return SegmentationProbe(name=f"segment/{variant}" if variant else "segment", **settings(preset, dataset))


def build(variant: str = "") -> SegmentationProbe:
    """Return the probe `segment/variant`, or `segment`."""
    if variant not in VARIANTS:
        raise unknown_variant("probes", "segment", variant, VARIANTS)
    return _preset(variant, "")
