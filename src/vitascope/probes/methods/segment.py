"""Temporal action segmentation: the class of every frame of a video, by ASFormer's head on frozen clip vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray

from vitascope.core.device import generator
from vitascope.core.errors import UserError
from vitascope.core.progress import ProgressLine, Training
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Timeline
from vitascope.features.base import Features
from vitascope.features.view import View
from vitascope.metrics import segmental
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.temporal.asformer import ASFormer, Reach, loss, random_asformer
from vitascope.probes.temporal.segmentation_base import TemporalSegmentation
from vitascope.probes.temporal.segmentation_data import Align, frames, readable, repeated
from vitascope.probes.temporal.segmentation_presets import PRESETS, SOUND, settings
from vitascope.probes.temporal.twlv1_table7 import OTHERS, windows
from vitascope.probes.training import resume
from vitascope.sampling.names import MultiClip

Array: TypeAlias = NDArray[Any]
Order: TypeAlias = Literal["each-epoch", "once"]
"""When the order of the training videos is drawn."""
FACTOR, PATIENCE = 0.5, 3
"""The learning rate is halved after more than three epochs without a smaller loss."""
LABELED = 15
"""Frames a second that are labeled, for a forecast: of every data set of the report."""


@dataclass(frozen=True, kw_only=True)
class SegmentationProbe(TemporalSegmentation):
    """ASFormer's head (Yi et al. 2021, arXiv 2110.08568) on the clip vectors of whole videos, frame by frame.

    A video a step, Adam, the learning rate halved where the loss of an epoch stands still; the state after the last
    epoch is what counts. `segment` is the report's intent with its defects put right, on 50Salads, GTEA and Breakfast
    with their settings.
    """

    name: str = "segment"
    version: int = 1
    shows: ClassVar[bool] = True
    train: View = OTHERS.view
    test: View = OTHERS.view
    frame_stride: int = 1
    """Of so many frames one is learned and labeled; the others are given the label of the one before."""
    align: Align = "time"
    layers: int = 8
    """Of each of the four stages; the dilation doubles from one to the next."""
    width: int = 256
    attention_span: Reach = "window"
    channel_dropout: float = 0.3
    """How often a channel of the vectors is left out in training."""
    smoothing_weight: float = 0.15
    """Of the loss, for changes from frame to frame."""
    epochs: int = 120
    lr: float = 5e-4
    weight_decay: float = 1e-5
    order: Order = "each-epoch"
    background: tuple[int, ...] = ()
    """Classes whose stretches are no segments."""
    style: segmental.Style = "sound"
    """How edit score and F1 are counted."""

    resumes = True

    def __post_init__(self) -> None:
        for name, known in (("align", Align), ("attention_span", Reach), ("order", Order), ("style", segmental.Style)):
            if (given := getattr(self, name)) not in get_args(known):
                raise UserError(f"{self.name}: {name} {given!r} is none of {', '.join(get_args(known))}")
        positive = ("frame_stride", "layers", "width", "epochs", "lr")
        wrong = [f"{n} = {getattr(self, n)}" for n in positive if not getattr(self, n) > 0]
        wrong += [f"{n} = {getattr(self, n)}" for n in ("smoothing_weight", "weight_decay") if getattr(self, n) < 0]
        wrong += [f"channel_dropout = {self.channel_dropout}"] if not 0 <= self.channel_dropout < 1 else []
        if wrong:
            raise UserError(
                f"{self.name}: {', '.join(wrong)}: {', '.join(positive)} must be positive, smoothing_weight and weight_decay "
                "not negative, channel_dropout from 0 to below 1"
            )
        if self.width % 2:
            raise UserError(f"{self.name}: width {self.width} is odd; attention takes half of it")
        if (self.train.reduce, self.test.reduce) != ("clip", "clip") or not (self.train.stored and self.test.stored):
            raise UserError(f"{self.name}: reads one stored vector a clip; its views keep clip")

    def on(self, family: str) -> SegmentationProbe:
        """As on 50Salads, GTEA or Breakfast, where the name does not say which; else with the windows of table 7."""
        variant = self.name.partition("/")[2]
        if any(known in variant.split("-") for known in SOUND):
            return self
        if family in SOUND:
            return replace(_made(variant, family), name=self.name)
        view = windows(family).view
        return replace(self, train=view, test=view)

    def passes(self, train: int) -> int:
        """How often `train` videos are read."""
        return self.epochs

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Forward and backward, of frames as many as clips are seconds apart."""
        sampler = self.test.sampler
        apart = (sampler.stride or sampler.seconds) if isinstance(sampler, MultiClip) else 1 / LABELED
        video = load.train_clips * apart * LABELED
        reached = self.layers * video if self.attention_span == "full" else 2.0 ** (self.layers + 1)
        frame = load.dim * self.width + 4 * (6 * self.layers * self.width**2 + reached * self.width)
        read = 3 * self.epochs * load.train * video + load.test * load.test_clips * apart * LABELED
        return float(read * frame)

    def predict(
        self,
        train: Features[Timeline],
        test: Features[Timeline],
        *,
        seed: int,
        scratch: Path | None = None,
        line: str = "",
    ) -> PredictionList[Int64[Array, "_"]]:
        """The class of every frame of each test video, int64; empty where it could not be encoded.

        `seed` sets the start, the order and what is left out; `line` begins a line of progress. With `scratch` the
        state is kept there after every epoch, and a training that was interrupted goes on from it. ValueError: nothing
        to train on, a video without vectors or with NaN, labels that there are not, clips and labels of different
        lengths of time.
        """
        among, asked = readable(train), readable(test)
        if not among:
            raise UserError(f"{self.name}: none of {len(train.examples)} training videos has vectors; embed some first")
        for _ in frames(test, asked, every=self.frame_stride, align=self.align):
            pass  # what is wrong with the test side is better known before the training than after it
        with ProgressLine(Training(line, self.epochs * len(among)), quiet=not line) as live:
            model = self._fit(train, among, generator(seed), scratch=scratch, live=live)
        missing = [e.id for i, e in enumerate(test.examples) if i not in set(asked)]
        return PredictionList(self._judge(model, test, asked), **({"without vectors": missing} if missing else {}))

    def _fit(
        self,
        train: Features[Timeline],
        among: list[int],
        draw: torch.Generator,
        *,
        scratch: resume.Scratch,
        live: ProgressLine,
    ) -> ASFormer:
        """The head after all epochs."""
        first = next(frames(train, among[:1], every=self.frame_stride, align=self.align))
        where, dim = first.values.device, first.values.shape[1]
        model = random_asformer(draw, self._model(dim, len(train.classes))).to(where)
        optimizer = torch.optim.Adam(model.parameters(), lr=self.lr, weight_decay=self.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=FACTOR, patience=PATIENCE)
        dropping = torch.Generator(where).manual_seed(int(torch.randint(2**62, (), generator=draw)))
        facts = resume.Facts(draw=draw, dropping=dropping, order=among)
        parts: dict[str, resume.Stateful] = {
            "model": model,
            "optimizer": optimizer,
            "schedule": schedule,
            "facts": facts,
        }
        done = resume.resume(scratch, parts)
        live.known(done * len(among))
        for epoch in range(done, self.epochs):
            if epoch == 0 or self.order == "each-epoch":
                facts["order"] = [among[i] for i in torch.randperm(len(among), generator=draw).tolist()]
            total = torch.zeros((), device=where)
            for seen in frames(train, facts["order"], every=self.frame_stride, align=self.align):
                optimizer.zero_grad()
                one = loss(model(seen.values, dropping), seen.labels, smoothing=self.smoothing_weight)
                one.backward()
                optimizer.step()
                total += one.detach()
                live.step()
            if not total.isfinite():
                resume.forget(scratch)  # there is nothing to go on from
                raise UserError(f"{self.name}: the loss of epoch {epoch + 1} is {float(total)}; lower lr")
            schedule.step(float(total))
            resume.keep(scratch, parts, epoch + 1)
        resume.forget(scratch)
        return model

    def _model(self, dim: int, classes: int) -> ASFormer:
        return ASFormer(
            dim, classes, layers=self.layers, width=self.width, reach=self.attention_span, mask=self.channel_dropout
        )

    @torch.no_grad()
    def _judge(self, model: ASFormer, test: Features[Timeline], asked: list[int]) -> list[Int64[Array, "_"]]:
        """What the last stage finds most likely."""
        found = [np.empty(0, np.int64) for _ in test.examples]
        for i, seen in zip(asked, frames(test, asked, every=self.frame_stride, align=self.align), strict=True):
            labels = model(seen.values)[-1].argmax(1)
            found[i] = repeated(labels, self.frame_stride, test.examples[i].truth.frames)
        return found


VARIANTS: dict[str, str] = {
    "": "the class of every frame: ASFormer's head on clip vectors; settings of 50Salads, GTEA and Breakfast on these",
    "50salads": "the settings for 50Salads, on any data set: every second frame is learned, and said for two",
    "gtea": "the settings for GTEA: stretches of class 10, background, are no segments",
    "breakfast": "the settings for Breakfast: every frame attends to the whole video",
    "paper": "table 7 of the report to the letter, as on the data set; scored as published",
    "paper-50salads": "the 50Salads column, on any data set",
    "paper-gtea": "the GTEA column",
    "paper-breakfast": "the Breakfast column",
    "published": "as the report's repository runs: blocks for windows, stretched clips, one order for all epochs",
    "published-50salads": "the same with its settings for 50Salads, on any data set",
    "published-gtea": "the same with its settings for GTEA",
    "published-breakfast": "the same with its settings for Breakfast",
    "original": "as ASFormer's authors run it: 10 layers 64 wide, blocks for windows, clips stretched over frames",
    "original-50salads": "the same with their settings for 50Salads, on any data set",
    "original-gtea": "the same with their settings for GTEA: half of the channels left out",
    "original-breakfast": "the same with their settings for Breakfast",
}
"""What follows `segment/`, and what it is."""


def _made(variant: str, family: str) -> SegmentationProbe:
    """The settings that the words of `variant` say, as on `family` where they do not."""
    words = variant.split("-")
    column = next((known for known in SOUND if known in words), family)
    preset = next((p for p in PRESETS if p and p in words), "")
    return SegmentationProbe(name=f"segment/{variant}" if variant else "segment", **settings(preset, column))


def build(variant: str = "") -> SegmentationProbe:
    """The probe called `segment/variant`, or `segment`."""
    if variant not in VARIANTS:
        raise unknown_variant("probes", "segment", variant, VARIANTS)
    return _made(variant, "")
