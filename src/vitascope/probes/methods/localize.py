"""Temporal action localization: which actions a video holds and when, by ActionFormer's head on frozen clip vectors."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vitascope.core.device import generator
from vitascope.core.errors import UserError
from vitascope.core.progress import ProgressLine, Training
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Segment
from vitascope.features.base import Features
from vitascope.features.view import View
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.temporal.actionformer import ActionFormer, Pyramid, decayed, random_actionformer
from vitascope.probes.temporal.external_scores import class_scores
from vitascope.probes.temporal.localization_base import TemporalLocalization, Truth
from vitascope.probes.temporal.localization_data import (
    Fit,
    Outside,
    ValidationSet,
    VideoSequence,
    check,
    cropped,
    crowd,
    invalid,
    rate,
    readable,
    said_stride,
    sights,
)
from vitascope.probes.temporal.localization_presets import COLUMNS, QUARTER, SOUND, TENTHS
from vitascope.probes.temporal.nms import Suppression, Weighting, classified, conditional_softmax, suppressed, voted
from vitascope.probes.temporal.point_targets import proposals, trained
from vitascope.probes.temporal.twlv1_table7 import windows
from vitascope.probes.training import resume

Choice: TypeAlias = Literal["last", "held-out", "best-on-test"]
"""Which state counts: the last, or the best on a tenth of the training videos, or on the test videos."""
WATCHED = 5
"""Epochs before the first state that may be chosen, where one is."""
SHARE = 10
"""Of which one part of the training videos is held out."""


@dataclass(frozen=True, kw_only=True)
class LocalizationProbe(TemporalLocalization):
    """ActionFormer's head (Zhang et al. 2022, arXiv 2202.07925) on the clip vectors of whole videos.

    A pyramid of local attention says at every point how likely each class is and how far off its start and end are;
    AdamW with warm-up and half a cosine, an average of the weights over the steps is what counts. `localize` is the
    report's intent, on THUMOS14 and ActivityNet with their numbers; `external` learns where actions are, of any class,
    and takes the classes from the file `scores` (`vitascope.probes.temporal.external_scores`).
    """

    name: str = "localize"
    version: int = 1
    shows: ClassVar[bool] = True
    train: View = QUARTER
    test: View = QUARTER
    fit: Fit = "crop"
    length: int = 2304
    """Points of the longest crop, or of every video where it is resized."""
    width: int = 256
    heads: int = 4
    windows: tuple[int, ...] = (19, 19, 19, 19, 19, 19)
    """Points that attention sees at each level; 1 or less: all."""
    positions: bool = False
    """Sinusoids are added to the vectors."""
    drop_path: float = 0.1
    """How often a branch of a block is left out in training."""
    epochs: int = 45
    """After those of the warm-up."""
    warmup: int = 5
    min_steps: int = 1500
    """Epochs are lengthened in proportion until they make so many steps."""
    batch: int = 2
    drop_last: bool = False
    """Batches are whole: what is left of an epoch is dropped."""
    lr: float = 1e-4
    weight_decay: float = 0.05
    """Of the weights of convolutions."""
    clip_grad_norm: float = 1.0
    """Largest norm of the gradient; 0: any."""
    ema: float = 0.999
    """Share of the average that a step leaves."""
    ema_warm: bool = True
    """The average first forgets faster, (1 + n) / (10 + n): else the start is a third of it after 1,000 steps."""
    label_smoothing: float = 0.1
    regression_weight: float = 2.0
    """Of the loss of distances."""
    normalizer: float = 100.0
    """Positive points of a batch that the running count begins with."""
    min_crop: float = 0.9
    """Of a video that is shorter than `length`, the least that is seen at once."""
    margin: bool = False
    """Crops keep half a clip more of the actions that they cut."""
    candidates: int = 2000
    """Proposals of each level."""
    min_score: float = 0.001
    """Least probability, before and after suppression."""
    min_length: float = 0.05
    """Points that a proposal must be longer than."""
    nms: Suppression = "soft"
    nms_sigma: float = 0.5
    """Of soft suppression: the larger, the less overlap costs."""
    nms_iou_threshold: float = 0.4
    """Of hard suppression: overlap beyond which the less likely of two is dropped."""
    max_segments: int = 200
    """Segments of a video."""
    voting_iou_threshold: float = 0.7
    """Overlap from which proposals vote on a segment, without classes of its own."""
    voting: Weighting = "score"
    external: bool = False
    scores: str = ""
    """File of the scores of classes by another classifier."""
    top: int = 2
    """Classes of a video that are taken from it."""
    softmax: bool = False
    """Scores above 1 or below 0 go through a softmax first, as in the report's repository."""
    tiou_thresholds: tuple[float, ...] = TENTHS
    """Overlaps from which a prediction is right; the score is the mean over them."""
    select: Choice = "last"

    resumes = True

    def __post_init__(self) -> None:
        for field, known in (("select", Choice), ("nms", Suppression)):
            if (given := getattr(self, field)) not in get_args(known):
                raise UserError(f"{self.name}: {field} {given!r} is none of {', '.join(get_args(known))}")
        positive = (
            "length",
            "width",
            "heads",
            "epochs",
            "batch",
            "lr",
            "candidates",
            "nms_sigma",
            "max_segments",
            "top",
        )
        wrong = [f"{n} = {getattr(self, n)}" for n in positive if not getattr(self, n) > 0]
        wrong += [
            f"{n} = {getattr(self, n)}" for n in ("warmup", "weight_decay", "clip_grad_norm") if getattr(self, n) < 0
        ]
        shares = ("drop_path", "ema", "label_smoothing", "min_crop", "nms_iou_threshold")
        wrong += [f"{n} = {getattr(self, n)}" for n in shares if not 0 <= getattr(self, n) <= 1]
        wrong += [f"tiou_thresholds = {t}" for t in self.tiou_thresholds if not 0 < t <= 1]
        if wrong:
            raise UserError(
                f"{self.name}: {', '.join(wrong)}: {', '.join(positive)} must be positive, warmup, weight_decay and "
                f"clip_grad_norm not negative, {', '.join(shares)} and tiou_thresholds between 0 and 1"
            )
        if self.width % (2 * self.heads):
            raise UserError(f"{self.name}: width {self.width} is no multiple of twice its {self.heads} heads")
        if not 1 <= len(self.windows) <= 6:
            raise UserError(f"{self.name}: {len(self.windows)} windows; give 1 to 6, one for each level")
        if self.length % 2 ** (len(self.windows) - 1):
            raise UserError(
                f"{self.name}: {self.length} points cannot be halved at every level; length is a multiple of "
                f"{2 ** (len(self.windows) - 1)}"
            )
        if (self.train.reduce, self.test.reduce) != ("clip", "clip") or not (self.train.stored and self.test.stored):
            raise UserError(f"{self.name}: reads one stored vector a clip; its views keep clip")

    def on(self, family: str) -> LocalizationProbe:
        """As on THUMOS14 or ActivityNet, where the name does not say which; else with the windows of table 7."""
        variant = self.name.partition("/")[2]
        if any(known in variant for known in COLUMNS):
            return self
        if family in COLUMNS:
            return replace(_made(variant, family), name=self.name)
        view = windows(family).view
        return replace(self, train=view, test=view)

    def passes(self, train: int) -> int:
        """How often `train` videos are read."""
        return self._epochs(train)[0]

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Forward and backward; each level has half the points of the one before."""
        w = self.width
        embedding, blocks, two_heads = 3 * (load.dim + w) * w, 12 * w * w * 3, 2 * 2 * 6 * w * w
        points = [self.length] * 2 if self.fit == "resize" else [load.train_clips, load.test_clips]
        read = 3 * load.train * self.passes(load.train) * points[0] + load.test * points[1]
        return float(read * (embedding + blocks + two_heads))

    def predict(
        self,
        train: Features[Truth],
        test: Features[Truth],
        *,
        seed: int,
        scratch: Path | None = None,
        line: str = "",
    ) -> PredictionList[list[Segment]]:
        """The actions of each test video, most likely first, seconds; none where it has no vectors.

        `seed` sets the start, the crops, the order and what is left out; `line` begins a line of progress. With
        `scratch` the state is kept there after every epoch, and a training that was interrupted goes on from it.
        ValueError: no action to learn, a label that there is not, vectors at uneven times or NaN, no scores where
        `external` wants them.
        """
        among, asked = readable(train), readable(test)
        check(self.name, train, among)
        draw = generator(seed)
        outside = self._outside(test, asked)
        used, watch = among, None
        if self.select == "best-on-test":
            watch = ValidationSet(test, asked, outside)
        elif self.select == "held-out" and len(among) > 1:
            order = [among[i] for i in torch.randperm(len(among), generator=draw).tolist()]
            count = max(1, len(among) // SHARE)
            held, used = sorted(order[:count]), order[count:]
            watch = ValidationSet(train, held, self._outside(train, held))
        with ProgressLine(Training(line, math.prod(self._epochs(len(used)))), quiet=not line) as live:
            model = self._fit(train, sorted(used), draw, watch=watch, scratch=scratch, live=live)
        about = {
            "dropped": invalid([train.examples[i] for i in among]),
            "without vectors": [test.examples[i].id for i in sorted({*range(len(test.examples))} - {*asked})],
        }
        told = {name: value for name, value in about.items() if value}
        return PredictionList(self._judge(model, ValidationSet(test, asked, outside)), **told)

    def _outside(self, features: Features[Truth], which: Sequence[int]) -> Outside:
        if not self.external:
            return None
        if not self.scores:
            raise UserError(f"{self.name}: takes classes from a file; name it: {self.name}+scores:FILE.json")
        found = class_scores(self.scores, features.classes, [features.examples[i].id for i in which])
        return {video: conditional_softmax(s) for video, s in found.items()} if self.softmax else found

    def _epochs(self, examples: int) -> tuple[int, int]:
        """Epochs, and steps of one."""
        an_epoch = max(1, examples // self.batch) if self.drop_last else -(-examples // self.batch)
        return max(self.epochs + self.warmup, -(-self.min_steps // an_epoch)), an_epoch

    def _model(self, dim: int, classes: int, draw: torch.Generator) -> ActionFormer:
        model = ActionFormer(
            dim,
            classes,
            width=self.width,
            heads=self.heads,
            windows=self.windows,
            positions=self.length if self.positions else 0,
            drop_path=self.drop_path,
        )
        return random_actionformer(draw, model)

    def _fit(
        self,
        train: Features[Truth],
        among: Sequence[int],
        draw: torch.Generator,
        *,
        watch: ValidationSet | None,
        scratch: resume.Scratch,
        live: ProgressLine,
    ) -> ActionFormer:
        """The averaged weights after all epochs, or those of them that did best on what is watched."""
        first = next(self._sights(train, among[:1], self.train))
        classes = 1 if self.external else len(train.classes)
        model = self._model(first.values.shape[1], classes, draw).to(first.values.device)
        average = copy.deepcopy(model)
        weights, others = decayed(model)
        groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=self.weight_decay, fused=True)
        epochs, an_epoch = self._epochs(len(among))
        warm = round(self.warmup * epochs / (self.epochs + self.warmup)) * an_epoch
        facts = resume.Facts(draw=draw, normalizer=self.normalizer, best=(-math.inf, {}))
        parts: dict[str, resume.Stateful] = {"model": model, "average": average, "optimizer": optimizer, "facts": facts}
        done = resume.resume(scratch, parts)
        live.known(done * an_epoch)
        for epoch in range(done, epochs):
            for step, batch in enumerate(self._batches(train, among, draw, an_epoch), epoch * an_epoch):
                seen = crowd(batch, levels=len(self.windows), most=self.length)
                actions = seen.actions._replace(labels=seen.actions.labels * (not self.external))
                loss = trained(
                    model,
                    seen.values,
                    seen.mask,
                    actions,
                    generator=draw,
                    normalizer=facts["normalizer"],
                    label_smoothing=self.label_smoothing,
                )
                (loss.classes + self.regression_weight * loss.offsets).backward()
                self._step(optimizer, rate(step, epochs * an_epoch, warm, self.lr), scratch=scratch)
                facts["normalizer"] = loss.normalizer
                resume.averaged(average, model, min(self.ema, (2 + step) / (11 + step)) if self.ema_warm else self.ema)
                live.step()
            if watch is not None and (epoch >= WATCHED or epoch == epochs - 1):
                facts["best"] = max(facts["best"], self._reached(average, watch), key=lambda best: best[0])
            resume.keep(scratch, parts, epoch + 1)
        resume.forget(scratch)
        if watch is not None:
            average.load_state_dict(facts["best"][1])
        return average

    def _step(self, optimizer: torch.optim.Optimizer, lr: float, *, scratch: resume.Scratch) -> None:
        """One update by gradients that are cut to the largest norm."""
        every = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(every, self.clip_grad_norm or math.inf)
        if not norm.isfinite():
            resume.forget(scratch)  # there is nothing to go on from
            raise UserError(f"{self.name}: the gradient is {float(norm)} with a learning rate of {lr:.3g}; lower lr")
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad()

    def _reached(self, model: ActionFormer, watch: ValidationSet) -> tuple[float, dict[str, Tensor]]:
        """How well the model does on what is watched, and its weights."""
        said = self._judge(model, watch)
        truth = [watch.features.examples[i].truth for i in watch.which]
        score = self.score([said[i] for i in watch.which], truth)["mAP"]
        return (0.0 if math.isnan(score) else score), copy.deepcopy(model.state_dict())

    def _sights(self, features: Features[Truth], order: Sequence[int], view: View) -> Iterator[VideoSequence]:
        return sights(features, order, fit=self.fit, length=self.length, stride=said_stride(view.sampler))

    def _batches(
        self, train: Features[Truth], among: Sequence[int], draw: torch.Generator, steps: int
    ) -> Iterator[list[VideoSequence]]:
        """Every video once, in an order that is drawn."""
        order = [among[i] for i in torch.randperm(len(among), generator=draw).tolist()]
        for step in range(steps):
            batch = list(self._sights(train, order[step * self.batch : (step + 1) * self.batch], self.train))
            if self.fit == "crop":
                batch = [cropped(s, draw, most=self.length, min_crop=self.min_crop, margin=self.margin) for s in batch]
            yield batch

    @torch.no_grad()
    def _judge(self, model: ActionFormer, watch: ValidationSet) -> list[list[Segment]]:
        """The actions of each example, of those that are not watched none."""
        features, which, outside = watch
        found: list[list[Segment]] = [[] for _ in features.examples]
        for i, sight in zip(which, self._sights(features, which, self.test), strict=True):
            alone = crowd([sight], levels=len(self.windows), most=self.length)
            scores = None if outside is None else outside[features.examples[i].id]
            found[i] = self._segments(model(alone.values, alone.mask), sight, scores)
        return found

    def _segments(self, said: Pyramid, sight: VideoSequence, scores: Float64[np.ndarray, "k"] | None) -> list[Segment]:
        every = proposals(said, 0, min_score=self.min_score, candidates=self.candidates, min_length=self.min_length)
        kept = suppressed(
            every,
            kind=self.nms,
            by=self.nms_sigma if self.nms == "soft" else self.nms_iou_threshold,
            min_score=self.min_score,
            max_segments=self.max_segments,
            by_class=not self.external,
        )
        if scores is not None:
            kept = classified(
                voted(kept, every, iou_threshold=self.voting_iou_threshold, weighting=self.voting), scores, self.top
            )
        order = np.argsort(-kept.scores, kind="stable")
        times = sight.grid.seconds(kept.segments).clip(0.0, sight.duration)
        rows = zip(times[order].tolist(), kept.labels[order].tolist(), kept.scores[order].tolist(), strict=True)
        return [Segment(start, end, label, score) for (start, end), label, score in rows]


VARIANTS: dict[str, str] = {
    "": "which actions and when: ActionFormer's head on clip vectors; settings of THUMOS14 and ActivityNet on these",
    "thumos14": "the settings for THUMOS14, on any data set",
    "activitynet": "the settings for ActivityNet: every video resized to 192 points",
    "paper": "tables 7 and 9 or 10 of the report to the letter, learning rates included, as on the data set",
    "paper-thumos14": "the THUMOS14 column, on any data set",
    "paper-activitynet": "the ActivityNet column",
    "published": "as the report's repository runs: the state that is best on the test side; marked so",
    "published-thumos14": "the same with its settings for THUMOS14, on any data set",
    "published-activitynet": "the same with its settings for ActivityNet",
    "original": "as ActionFormer's authors run it: 512 wide on THUMOS14, position codes on ActivityNet",
    "original-thumos14": "the same with their settings for THUMOS14, on any data set",
    "original-activitynet": "the same with their settings for ActivityNet",
    "external": "where actions are; the classes by another classifier, whose scores are in a file: +scores:FILE.json",
    "external-paper": "the same, tables 7 and 9 or 10",
    "external-published": "the same, as the report's repository: softmax over some videos' scores",
    "external-original": "the same, as ActionFormer's authors: votes by score times overlap",
}
"""What follows `localize/`, and what it is."""


def _made(variant: str, family: str) -> LocalizationProbe:
    """The settings that the words of `variant` say, as on `family` where they do not."""
    words = variant.split("-")
    column = next((known for known in COLUMNS if known in words), family)
    preset = next((p for p in ("paper", "published", "original") if p in words), "")
    name = f"localize/{variant}" if variant else "localize"
    plain = LocalizationProbe(name=name, external="external" in words)
    if column not in COLUMNS and not preset:
        return plain
    column = column if column in COLUMNS else "thumos14"
    settings: dict[str, Any] = {**SOUND[column], **COLUMNS[column][preset]}
    return replace(plain, **settings)


def build(variant: str = "") -> LocalizationProbe:
    """The probe called `localize/variant`, or `localize`."""
    if variant not in VARIANTS:
        raise unknown_variant("probes", "localize", variant, VARIANTS)
    return _made(variant, "")
