"""Temporal action localization by ActionFormer's head on frozen clip vectors."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vitascope.core.device import generator
from vitascope.core.errors import UserError
from vitascope.core.fields import ABOVE_ZERO, NOT_NEGATIVE, POSITIVE, SHARE, check_fields
from vitascope.core.progress import ProgressLine, TrainingProgress
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Segment
from vitascope.features.base import Features
from vitascope.features.view import View
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.temporal.actionformer import ActionFormer, Pyramid, random_actionformer, split_weight_decay
from vitascope.probes.temporal.external_scores import probe_scores
from vitascope.probes.temporal.localization_base import TemporalLocalization, Truth
from vitascope.probes.temporal.localization_data import (
    FIRST_VALIDATED_EPOCH,
    ExternalScores,
    Fit,
    StateSelection,
    ValidationSet,
    VideoSequence,
    check_actions,
    count_invalid,
    examples_with_vectors,
    hold_out,
    learning_rate,
    nominal_stride,
    pad_batch,
    random_crop,
    video_sequences,
)
from vitascope.probes.temporal.localization_presets import DATASET_SETTINGS, PRESETS_BY_DATASET, QUARTER, THUMOS14_TIOUS
from vitascope.probes.temporal.nms import NmsKind, VotingWeight, fuse_class_scores, nms, vote_boundaries
from vitascope.probes.temporal.point_targets import decode_proposals, training_losses
from vitascope.probes.temporal.twlv1_table7 import windows
from vitascope.probes.training import resume
from vitascope.probes.training.clipped_step import clipped_step


@dataclass(frozen=True, kw_only=True)
class LocalizationProbe(TemporalLocalization):
    """ActionFormer's head (Zhang et al. 2022, arXiv 2202.07925) on the clip vectors of whole videos.

    A feature pyramid with local attention predicts, at every point, class scores and the distances to start and end of
    an action. Trained by AdamW with warm-up and a half cosine; a moving average of the weights is used. `localize`
    implements what the TWLV-I report intends, with its settings for THUMOS14 and ActivityNet; `external` learns
    class-agnostic actions and takes classes from the file `scores` (`vitascope.probes.temporal.external_scores`).
    """

    name: str = "localize"
    """Name as typed by users, with variant and options."""
    version: int = 2
    """Version; incremented whenever the same inputs would yield another score."""
    reports_progress: ClassVar[bool] = True
    train: View = QUARTER
    """View of the training videos."""
    test: View = QUARTER
    """View of the test videos."""
    fit: Fit = "crop"
    """Treatment of long videos: cropped to `length` points in training, or resized to it."""
    length: Annotated[int, POSITIVE] = 2304
    """Points of the longest crop, or of every resized video."""
    width: Annotated[int, POSITIVE] = 256
    """Channels of every layer."""
    heads: Annotated[int, POSITIVE] = 4
    """Attention heads."""
    windows: tuple[int, ...] = (19, 19, 19, 19, 19, 19)
    """Attention window of each pyramid level, points; 1 or less: all."""
    positions: bool = False
    """Add sinusoidal position embeddings."""
    drop_path: Annotated[float, SHARE] = 0.1
    """Stochastic depth: probability of dropping a branch of a block."""
    epochs: Annotated[int, POSITIVE] = 45
    """Passes over the training videos after the warm-up."""
    warmup: Annotated[int, NOT_NEGATIVE] = 5
    """Epochs of linear warm-up, in addition to `epochs`."""
    min_steps: int = 1500
    """Minimum number of steps; the number of epochs, warm-up included, is scaled up to reach it."""
    batch: Annotated[int, POSITIVE] = 2
    """Videos per step."""
    drop_last: bool = False
    """Drop the incomplete batch at the end of each epoch."""
    lr: Annotated[float, POSITIVE] = 1e-4
    """Peak learning rate."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.05
    """Weight decay of convolution weights."""
    clip_grad_norm: Annotated[float, NOT_NEGATIVE] = 1.0
    """Maximum gradient norm; 0: no clipping."""
    ema: Annotated[float, SHARE] = 0.999
    """Decay of the moving average of the weights."""
    ema_warm: bool = True
    """Start with a lower decay, (1 + n) / (10 + n); else initial weights still make up a third after 1,000 steps."""
    label_smoothing: Annotated[float, SHARE] = 0.1
    """Label smoothing of the class targets."""
    regression_weight: float = 2.0
    """Weight of the distance loss."""
    normalizer: float = 100.0
    """Initial value of the running number of positive points per batch."""
    min_crop: Annotated[float, SHARE] = 0.9
    """Minimum share of a video that a crop keeps if the video is shorter than `length`."""
    margin: bool = False
    """Let actions exceed a crop by half a clip at both ends."""
    candidates: Annotated[int, POSITIVE] = 2000
    """Maximum number of proposals per pyramid level."""
    min_score: float = 0.001
    """Minimum score of a segment, before and after suppression."""
    min_length: float = 0.05
    """Minimum length of a proposal, points."""
    nms: NmsKind = "soft"
    """Non-maximum suppression: `soft` lowers the scores of overlapping segments, `hard` drops them."""
    nms_sigma: Annotated[float, POSITIVE] = 0.5
    """Width of the Gaussian of soft suppression; the larger, the weaker."""
    nms_iou_threshold: Annotated[float, SHARE] = 0.4
    """IoU above which hard suppression drops the segment with the lower score."""
    max_segments: Annotated[int, POSITIVE] = 200
    """Maximum number of segments per video."""
    voting_iou_threshold: float = 0.7
    """IoU from which proposals vote on the boundaries of a segment, with external class scores only."""
    voting: VotingWeight = "score"
    """Weight of a vote: the score, or the score times IoU."""
    external: bool = False
    """Learn class-agnostic actions, and take the classes of a video from the file `scores`."""
    scores: str = ""
    """Path of a file with class scores by another classifier."""
    top: Annotated[int, POSITIVE] = 2
    """Number of classes per video taken from `scores`."""
    softmax: bool = False
    """Apply a softmax to external scores above 1 or below 0, as in the repository of the TWLV-I report."""
    tiou_thresholds: Annotated[tuple[float, ...], ABOVE_ZERO] = THUMOS14_TIOUS
    """tIoU thresholds; the headline mAP is the mean over them."""
    select: StateSelection = "last"
    """State to use: the last, or the best on a held-out tenth of the training videos, or on the test videos."""

    resumes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self, self.name)
        if self.width % (2 * self.heads):
            raise UserError(f"{self.name}: width {self.width} is not a multiple of twice its {self.heads} heads")
        if not 1 <= len(self.windows) <= 6:
            raise UserError(f"{self.name}: {len(self.windows)} windows; give 1 to 6, one for each level")
        if self.length % 2 ** (len(self.windows) - 1):
            raise UserError(
                f"{self.name}: {self.length} points cannot be halved at every level; length must be a multiple of "
                f"{2 ** (len(self.windows) - 1)}"
            )
        if (self.train.reduce, self.test.reduce) != ("clip", "clip") or not (self.train.stored and self.test.stored):
            raise UserError(f"{self.name}: reads one stored vector per clip; its views must reduce to clip")

    def for_dataset(self, family: str) -> LocalizationProbe:
        """Return the probe with the settings of the dataset, unless its name states others; or only with its window."""
        variant = self.name.partition("/")[2]
        if any(known in variant for known in PRESETS_BY_DATASET):
            return self
        if family in PRESETS_BY_DATASET:
            return replace(_preset(variant, family), name=self.name)
        view = windows(family).view
        return replace(self, train=view, test=view)

    def passes(self, train: int) -> int:
        """Return the number of passes over `train` videos."""
        return self._epochs(train)[0]

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Return the multiply-adds, forward and backward; each level has half the points of the previous one."""
        embedding, blocks, two_heads = 3 * (load.dim + self.width), 12 * self.width * 3, 2 * 2 * 6 * self.width
        points = [self.length] * 2 if self.fit == "resize" else [load.train_clips, load.test_clips]
        points_read = 3 * load.train * self.passes(load.train) * points[0] + load.test * points[1]
        return float(points_read * self.width * (embedding + blocks + two_heads))

    def predict(
        self,
        train: Features[Truth],
        test: Features[Truth],
        *,
        seed: int,
        scratch: Path | None = None,
        line: str = "",
    ) -> PredictionList[list[Segment]]:
        """Return the actions of each test video, highest score first, times in seconds; none if it has no vectors.

        `seed` sets initialization, crops, order and dropout; `line` labels the progress bar. With `scratch`, the state
        is saved there after every epoch, and an interrupted training resumes from it. Raises UserError if there is no
        action to learn, a label is outside the class list, clip times are uneven, vectors are not finite, or `external`
        lacks scores.
        """
        train_indices, test_indices = examples_with_vectors(train), examples_with_vectors(test)
        check_actions(self.name, train, train_indices)
        draw = generator(seed)
        external_scores = self._external_scores(test, test_indices)
        fitted_on, validation = train_indices, None
        if self.select == "best-on-test":
            validation = ValidationSet(test, test_indices, external_scores)
        elif self.select == "held-out" and len(train_indices) > 1:
            held_out, fitted_on = hold_out(train_indices, draw)
            validation = ValidationSet(train, held_out, self._external_scores(train, held_out))
        with ProgressLine(TrainingProgress(line, math.prod(self._epochs(len(fitted_on)))), quiet=not line) as live:
            model = self._fit(train, sorted(fitted_on), draw, validation=validation, scratch=scratch, live=live)
        about = {
            "dropped": count_invalid([train.examples[i] for i in train_indices]),
            "without vectors": [test.examples[i].id for i in sorted({*range(len(test.examples))} - {*test_indices})],
        }
        notes = {name: value for name, value in about.items() if value}
        return PredictionList(self._predict_actions(model, ValidationSet(test, test_indices, external_scores)), **notes)

    @property
    def input_files(self) -> tuple[str, ...]:
        """The file of class scores, if they are taken from one."""
        return (self.scores,) if self.external and self.scores else ()

    def _external_scores(self, features: Features[Truth], indices: Sequence[int]) -> ExternalScores:
        """Return the class scores of an external classifier, where the probe takes them from one."""
        if not self.external:
            return None
        ids = [features.examples[i].id for i in indices]
        return probe_scores(self.name, self.scores, features.classes, ids, softmax=self.softmax)

    def _epochs(self, examples: int) -> tuple[int, int]:
        """Return the number of epochs and the steps per epoch."""
        steps = max(1, examples // self.batch) if self.drop_last else -(-examples // self.batch)
        return max(self.epochs + self.warmup, -(-self.min_steps // steps)), steps

    def _model(self, dim: int, classes: int, draw: torch.Generator) -> ActionFormer:
        sizes = {"width": self.width, "heads": self.heads, "positions": self.length if self.positions else 0}
        model = ActionFormer(dim, classes, windows=self.windows, drop_path=self.drop_path, **sizes)
        return random_actionformer(draw, model)

    def _fit(
        self,
        train: Features[Truth],
        indices: Sequence[int],
        draw: torch.Generator,
        *,
        validation: ValidationSet | None,
        scratch: resume.Scratch,
        live: ProgressLine,
    ) -> ActionFormer:
        """Train and return the averaged weights: the last, or the best on the validation set."""
        first = next(self._sequences(train, indices[:1], self.train))
        classes = 1 if self.external else len(train.classes)
        model = self._model(first.values.shape[1], classes, draw).to(first.values.device)
        average = copy.deepcopy(model)
        weights, others = split_weight_decay(model)
        groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=self.weight_decay, fused=True)
        epochs, epoch_steps = self._epochs(len(indices))
        warmup_steps = round(self.warmup * epochs / (self.epochs + self.warmup)) * epoch_steps
        loop_state = resume.LoopState(draw=draw, normalizer=self.normalizer, best=(-math.inf, {}))
        parts: dict[str, resume.Stateful] = {
            "model": model,
            "average": average,
            "optimizer": optimizer,
            "facts": loop_state,
        }
        done = resume.resume(scratch, parts)
        live.resume_at(done * epoch_steps)
        for epoch in range(done, epochs):
            for step, batch in enumerate(self._batches(train, indices, draw, epoch_steps), epoch * epoch_steps):
                padded = pad_batch(batch, windows=self.windows, limit=self.length)
                actions = padded.actions._replace(labels=padded.actions.labels * (not self.external))
                loss = training_losses(
                    *(model, padded.values, padded.mask, actions),
                    generator=draw,
                    normalizer=loop_state["normalizer"],
                    label_smoothing=self.label_smoothing,
                )
                (loss.classes + self.regression_weight * loss.offsets).backward()
                lr = learning_rate(step, epochs * epoch_steps, warmup_steps, self.lr)
                clipped_step(optimizer, lr, max_norm=self.clip_grad_norm, name=self.name, scratch=scratch)
                loop_state["normalizer"] = loss.normalizer
                decay = min(self.ema, (2 + step) / (11 + step)) if self.ema_warm else self.ema
                resume.update_average(average, model, decay)
                live.step()
            if validation is not None and (epoch >= FIRST_VALIDATED_EPOCH or epoch == epochs - 1):
                validated = self._validate(average, validation)
                loop_state["best"] = max(loop_state["best"], validated, key=lambda state: state[0])
            resume.save(scratch, parts, epoch + 1)
        resume.delete(scratch)
        if validation is not None:
            average.load_state_dict(loop_state["best"][1])
        return average

    def _validate(self, model: ActionFormer, validation: ValidationSet) -> tuple[float, dict[str, Tensor]]:
        """Return the mAP of the model on the validation set, and its weights."""
        predictions = self._predict_actions(model, validation)
        truth = [validation.features.examples[i].truth for i in validation.indices]
        score = self.score([predictions[i] for i in validation.indices], truth)["mAP"]
        return (0.0 if math.isnan(score) else score), copy.deepcopy(model.state_dict())

    def _sequences(self, features: Features[Truth], order: Sequence[int], view: View) -> Iterator[VideoSequence]:
        return video_sequences(features, order, fit=self.fit, length=self.length, stride=nominal_stride(view.sampler))

    def _batches(
        self, train: Features[Truth], indices: Sequence[int], draw: torch.Generator, steps: int
    ) -> Iterator[list[VideoSequence]]:
        """Yield batches with every video once, shuffled."""
        order = [indices[i] for i in torch.randperm(len(indices), generator=draw).tolist()]
        crop = partial(random_crop, generator=draw, limit=self.length, min_crop=self.min_crop, margin=self.margin)
        for step in range(steps):
            batch = self._sequences(train, order[step * self.batch : (step + 1) * self.batch], self.train)
            yield [crop(video) for video in batch] if self.fit == "crop" else list(batch)

    @torch.no_grad()
    def _predict_actions(self, model: ActionFormer, validation: ValidationSet) -> list[list[Segment]]:
        """Return the predicted actions of each example; none for those outside the set."""
        features, indices, external_scores = validation
        predictions: list[list[Segment]] = [[] for _ in features.examples]
        for i, video in zip(indices, self._sequences(features, indices, self.test), strict=True):
            padded = pad_batch([video], windows=self.windows, limit=self.length, exact=self.positions)
            scores = None if external_scores is None else external_scores[features.examples[i].id]
            predictions[i] = self._segments(model(padded.values, padded.mask), video, scores)
        return predictions

    def _segments(
        self, pyramid: Pyramid, video: VideoSequence, scores: Float64[np.ndarray, "k"] | None
    ) -> list[Segment]:
        all_proposals = decode_proposals(
            pyramid, 0, min_score=self.min_score, candidates=self.candidates, min_length=self.min_length
        )
        selected = nms(
            all_proposals,
            kind=self.nms,
            by=self.nms_sigma if self.nms == "soft" else self.nms_iou_threshold,
            min_score=self.min_score,
            max_segments=self.max_segments,
            by_class=not self.external,
        )
        if scores is not None:
            selected = fuse_class_scores(
                vote_boundaries(
                    selected, all_proposals, iou_threshold=self.voting_iou_threshold, weighting=self.voting
                ),
                scores,
                self.top,
            )
        order = np.argsort(-selected.scores, kind="stable")
        times = video.grid.seconds(selected.segments).clip(0.0, video.duration)
        rows = zip(times[order].tolist(), selected.labels[order].tolist(), selected.scores[order].tolist(), strict=True)
        return [Segment(start, end, label, score) for (start, end), label, score in rows]


VARIANTS: dict[str, str] = {
    "": "ActionFormer's head on clip vectors; with the settings of THUMOS14 and ActivityNet on these datasets",
    "thumos14": "`localize` as for THUMOS14, on any dataset",
    "activitynet": "`localize` as for ActivityNet, on any dataset: every video resized to 192 points",
    "paper": "exactly tables 7 and 9 or 10 of the TWLV-I report, learning rates included, by dataset",
    "paper-thumos14": "`localize/paper` as for THUMOS14, on any dataset",
    "paper-activitynet": "`localize/paper` as for ActivityNet, on any dataset",
    "published": "as in the repository of the TWLV-I report: the state that is best on the test set; marked in tables",
    "published-thumos14": "`localize/published` as for THUMOS14, on any dataset",
    "published-activitynet": "`localize/published` as for ActivityNet, on any dataset",
    "original": "as in ActionFormer's own code: width 512 on THUMOS14, position embeddings on ActivityNet",
    "original-thumos14": "`localize/original` as for THUMOS14, on any dataset",
    "original-activitynet": "`localize/original` as for ActivityNet, on any dataset",
    "external": "class-agnostic localization; class scores of another classifier from a file: +scores=FILE.json",
    "external-paper": "`localize/external` with the settings of tables 7 and 9 or 10 of the TWLV-I report",
    "external-published": "`localize/external` as in the repository of the TWLV-I report: softmax on some scores",
    "external-original": "`localize/external` as in ActionFormer's own code: votes weighted by score times IoU",
}
"""{variant: description}, as listed by `vitascope ls probes`."""


def _preset(variant: str, family: str) -> LocalizationProbe:
    """Return the probe named by the words of `variant`, with the settings of `family` if they name no dataset."""
    words = variant.split("-")
    dataset = next((known for known in PRESETS_BY_DATASET if known in words), family)
    preset = next((p for p in ("paper", "published", "original") if p in words), "")
    name = f"localize/{variant}" if variant else "localize"
    base = LocalizationProbe(name=name, external="external" in words)
    if dataset not in PRESETS_BY_DATASET and not preset:
        return base
    dataset = dataset if dataset in PRESETS_BY_DATASET else "thumos14"
    settings: dict[str, Any] = {**DATASET_SETTINGS[dataset], **PRESETS_BY_DATASET[dataset][preset]}
    return replace(base, **settings)


def build(variant: str = "") -> LocalizationProbe:
    """Return the probe `localize/variant`, or `localize`."""
    if variant not in VARIANTS:
        raise unknown_variant("probes", "localize", variant, VARIANTS)
    return _preset(variant, "")
