"""Spatio-temporal localization with given boxes: what the actors in them do, by RoIAlign on frozen token grids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitascope.core.actors import Detections, Keyframes
from vitascope.core.data_warning import DataWarning
from vitascope.core.errors import UserError
from vitascope.core.fields import BELOW_ONE, NOT_NEGATIVE, POSITIVE, SHARE
from vitascope.core.log import log
from vitascope.core.types import Dataset, Example
from vitascope.features.base import Batch, Features
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.detection.given_boxes import NO_BOXES, GivenBoxes, detected_boxes, digest_of, true_boxes
from vitascope.probes.detection.roi import RoiConfig, RoiHead, random_roi
from vitascope.probes.detection.training import (
    ONE_SECOND,
    Grid,
    KeyframeHead,
    examples_of,
    grids,
    in_order,
    mixed_precision,
)


@dataclass(frozen=True, kw_only=True)
class RoiProbe(KeyframeHead):
    """Classes of given boxes, as in earlier work: in training the true ones, in testing those of a detector.

    Tokens with learned position features are averaged over time; RoIAlign and a maximum give one vector for each box,
    which attends to all tokens of the clip and is classified, each class on its own. That is VideoGLUE's head; without
    positions and layers it is SlowFast's. Without `detections` the true boxes are given in testing too, and the score
    tells only whether actions are known.
    """

    name: str = "detect/roi"
    """Name as typed by users, with variant and options."""
    detections: str = ""
    """File with the boxes of a detector for testing: csv as for AVA or a pickle of proposals; empty: the true boxes."""
    detections_digest: str = field(init=False, default="")
    """Digest of that file, so that another file is another result."""
    least_score: Annotated[float, SHARE] = 0.0
    """Least score of a detection that is used."""
    weigh: bool = True
    """Multiply the probabilities of the classes by the score of the detection."""
    cells: Annotated[int, POSITIVE] = 7
    """Cells of RoIAlign along each side of a box."""
    positions: bool = True
    """Add learned features of the time and place of each token."""
    normalize: bool = True
    """Normalize each token first, as encoders differ in scale. Not stated by VideoGLUE."""
    layers: Annotated[int, NOT_NEGATIVE] = 1
    """Decoder layers in which a box attends to all tokens; 0: its features are classified directly."""
    width: Annotated[int, POSITIVE] = 768
    """Channels of these layers."""
    heads: Annotated[int, POSITIVE] = 6
    """Attention heads."""
    mlp: Annotated[int, POSITIVE] = 3072
    """Hidden channels of the MLP of a layer. Not stated by VideoGLUE."""
    dropout: Annotated[float, BELOW_ONE] = 0.5
    """Dropout probability of the input of the classifier."""
    warmup: Annotated[float, NOT_NEGATIVE] = 1.8226
    """Epochs of linear warm-up, 1500 of AVA's steps; a half cosine to 0 follows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "detections_digest", digest_of(self.detections))
        if self.layers and self.width % self.heads:
            raise UserError(f"{self.name}: width = {self.width} must be a multiple of heads = {self.heads}")

    def warnings(self, tested: int) -> list[DataWarning]:
        """That the true boxes are given in testing, if they are."""
        text = (
            f"GIVEN BOXES: {self.name} has the true boxes of the {tested} test examples: its scores tell whether the "
            "actions are known, not whether people are found; +detections=FILE takes the boxes of a detector"
        )
        return [] if self.detections else [DataWarning("given", tested, tested, text)]

    def check_dataset(self, dataset: Dataset[Keyframes]) -> None:
        """Raise UserError for a file of detections that cannot be read or has none at a test keyframe."""
        if self.detections:
            tested = {i for fold in dataset.folds for i in fold.test}
            detected_boxes(self.detections, [e for e in dataset.examples if e.id in tested], self.least_score)

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Return the multiply-adds, forward and backward, with three boxes a keyframe."""
        layer = 2 * self.width**2 + 3 * (2 * self.width**2 + 2 * self.width * self.mlp) / max(load.tokens, 1)
        clip = load.tokens * (load.dim * self.width * bool(self.layers) + self.layers * layer)
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
        """Return the classes of the given boxes of each test example; none if it could not be read.

        For the arguments see `KeyframeHead`. Raises UserError as `check_dataset` does.
        """
        given, about = self._given(test.examples)
        model = self._trained(train, seed=seed, scratch=scratch, line=line)
        return PredictionList(in_order(test, lambda batch: self._found(model, test, batch, given)), boxes=about)

    def _given(self, examples: Sequence[Example[Keyframes]]) -> tuple[BoxesOf, str]:
        """The boxes to classify in testing, and what they are; of detections that is logged too."""
        if not self.detections:
            return true_boxes, "true boxes"
        detected = detected_boxes(self.detections, examples, self.least_score)
        about = "; ".join((f"detections of {self.detections}", *detected.notes))
        log.info("%s: %s", self.name, about)
        return lambda e: detected.by_example.get(e.id, NO_BOXES), about

    def _learned_from(self, examples: Sequence[Example[Keyframes]]) -> list[int]:
        return [i for i, e in enumerate(examples) if e.truth.actors]

    def _head(self, grid: Grid, classes: int, draw: torch.Generator) -> RoiHead:
        config = RoiConfig(
            cells=self.cells,
            positions=self.positions,
            normalize=self.normalize,
            layers=self.layers,
            width=self.width,
            mlp=self.mlp,
            heads=self.heads,
            dropout=self.dropout,
        )
        return random_roi(draw, RoiHead(grid, classes, config))

    def _parameters(self, model: nn.Module) -> list[dict[str, object]]:
        """Biases and normalization are not decayed."""
        matrices, vectors = ([p for p in model.parameters() if (p.ndim > 1) is decayed] for decayed in (True, False))
        return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]

    def _loss(
        self, model: nn.Module, train: Features[Keyframes], batch: Batch, step: Sequence[int], dropping: torch.Generator
    ) -> Tensor:
        examples = examples_of(train, batch)
        rows = rows_of([true_boxes(e) for e in examples]).to(batch.values.device)
        with mixed_precision(batch.values.device):
            logits: Tensor = model(grids(train, batch), *rows, dropping)
        wanted = torch.zeros(logits.shape)
        for i, actor in enumerate(a for e in examples for a in e.truth.actors):
            wanted[i, list(actor.labels)] = 1.0
        loss = F.binary_cross_entropy_with_logits(logits, wanted.to(logits.device), reduction="sum")
        return loss / (sum(len(train.examples[i].truth.actors) for i in step) * len(train.classes))

    def _found(self, model: nn.Module, test: Features[Keyframes], batch: Batch, given: BoxesOf) -> Iterator[Detections]:
        """The classes of the boxes of each example of a batch."""
        boxes = [given(e) for e in examples_of(test, batch)]
        logits: Tensor = model(grids(test, batch), *rows_of(boxes).to(batch.values.device))
        scores = logits.sigmoid().cpu().split([len(own.times) for own in boxes])
        for own, score in zip(boxes, scores, strict=True):
            presence = own.scores if self.weigh else np.ones_like(own.scores)
            yield Detections(own.times, own.boxes, presence, score.numpy())


BoxesOf = Callable[[Example[Keyframes]], GivenBoxes]
"""The boxes to classify of an example."""


class BoxRows(NamedTuple):
    """The boxes of the examples of a batch, one after the other."""

    boxes: Tensor
    """Left, top, right, bottom, 0 to 1."""
    owner: Tensor
    """The example of each, by its place in the batch."""

    def to(self, device: torch.device) -> BoxRows:
        """The rows on a device."""
        return BoxRows(self.boxes.to(device), self.owner.to(device))


def rows_of(given: Sequence[GivenBoxes]) -> BoxRows:
    """The boxes of examples as the rows of one table."""
    counts = torch.tensor([len(own.times) for own in given])
    boxes = torch.from_numpy(np.concatenate([NO_BOXES.boxes, *(own.boxes for own in given)]))
    return BoxRows(boxes, torch.repeat_interleave(torch.arange(len(given)), counts))


_SMALL = RoiProbe(
    name="detect/roi-tiny",
    train=ONE_SECOND,
    test=ONE_SECOND,
    width=128,
    heads=4,
    mlp=256,
    dropout=0.1,
    lr=1e-3,
    epochs=20,
    warmup=2.0,
    batch=64,
)
_SLOWFAST = RoiProbe(
    name="detect/roi-slowfast", least_score=0.8, weigh=False, positions=False, normalize=False, layers=0
)
ROI: Mapping[str, RoiProbe] = {
    "roi": RoiProbe(),
    "roi-tiny": _SMALL,
    "roi-slowfast": _SLOWFAST,
    "roi-slowfast-tiny": RoiProbe(
        name="detect/roi-slowfast-tiny",
        train=ONE_SECOND,
        test=ONE_SECOND,
        least_score=0.8,
        weigh=False,
        positions=False,
        layers=0,
        dropout=0.1,
        lr=1e-2,
        epochs=20,
        warmup=2.0,
        batch=64,
    ),
}
"""The probes by variant of `detect`."""
