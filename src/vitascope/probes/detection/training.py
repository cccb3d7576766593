"""Training of a head on frozen token grids, one clip around each keyframe: what all detection heads share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from vitascope.core.actors import NO_DETECTIONS, Detections, Keyframes
from vitascope.core.device import generator
from vitascope.core.errors import UserError
from vitascope.core.fields import BELOW_ONE, NOT_NEGATIVE, POSITIVE, check_fields
from vitascope.core.progress import ProgressLine, TrainingProgress
from vitascope.core.types import Example
from vitascope.features.base import Batch, Features, check_finite
from vitascope.features.view import View
from vitascope.nn.schedules import cosine
from vitascope.probes.base import PredictionList
from vitascope.probes.detection.scoring import ActorDetection
from vitascope.probes.training import resume
from vitascope.probes.training.clipped_step import clipped_step
from vitascope.sampling.names import Around, Uniform, WholeFrame

READ_EXAMPLES = 64
"""Most keyframes read at once; gradients are accumulated to the batch."""
ONE_CLIP = View(WholeFrame(Around()), "grid", stored=False)
"""As many frames as the encoder takes, four apart, around the keyframe."""
ONE_SECOND = View(WholeFrame(Around(window=1.0)), "grid", stored=False)
"""One second around the keyframe."""
WHOLE_SPAN = View(WholeFrame(Uniform()), "grid", stored=False)
"""The whole span of an example, such as a window of a video with tubes."""
Grid: TypeAlias = tuple[int, int, int, int]
"""Time steps, rows, columns and channels of the tokens."""


@dataclass(frozen=True, kw_only=True)
class KeyframeHead(ActorDetection):
    """A head on the token grid of one clip around each keyframe, trained by AdamW with a half cosine.

    The encoder runs without autograd; on a GPU the training is in mixed precision (bfloat16).
    """

    version: int = 1
    """Version; incremented whenever the same inputs would yield another score."""
    train: View = ONE_CLIP
    """View of the training videos."""
    test: View = ONE_CLIP
    """View of the test videos."""
    lr: Annotated[float, POSITIVE] = 1e-4
    """Peak learning rate of AdamW."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 1e-5
    """Weight decay of AdamW."""
    clip_grad_norm: Annotated[float, NOT_NEGATIVE] = 0.0
    """Maximum norm of the gradient; 0: no clipping."""
    epochs: Annotated[int, POSITIVE] = 50
    """Passes over the training keyframes."""
    warmup: Annotated[float, NOT_NEGATIVE] = 0.0
    """Epochs of linear warm-up; a half cosine to 0 follows."""
    batch: Annotated[int, POSITIVE] = 256
    """Keyframes per step; gradients are accumulated."""
    ema: Annotated[float, BELOW_ONE] = 0.0
    """Decay of a moving average of the weights that makes the predictions; 0: the weights of the last step do."""

    resumes: ClassVar[bool] = True
    reports_progress: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self, self.name)
        if self.warmup > self.epochs:
            raise UserError(f"{self.name}: warmup = {self.warmup} must be at most epochs = {self.epochs}")
        if (self.train.reduce, self.test.reduce) != ("grid", "grid"):
            raise UserError(f"{self.name}: attends to tokens in space; its views must reduce to grid")

    def passes(self, train: int) -> int:
        """Return the number of passes over `train` keyframes."""
        return self.epochs

    @abstractmethod
    def predict(
        self,
        train: Features[Keyframes],
        test: Features[Keyframes],
        *,
        seed: int,
        scratch: resume.Scratch = None,
        line: str = "",
    ) -> PredictionList[Detections]:
        """Return the predicted actors of each test example; none if it could not be read.

        `seed` sets initialization, order and dropout; `line` labels the progress bar. With `scratch`, the state is
        saved there after every epoch, and an interrupted training resumes from it.
        """

    @abstractmethod
    def _head(self, grid: Grid, classes: int, draw: torch.Generator) -> nn.Module:
        """An untrained head for such token grids."""

    @abstractmethod
    def _loss(
        self, model: nn.Module, train: Features[Keyframes], batch: Batch, step: Sequence[int], dropping: torch.Generator
    ) -> Tensor:
        """The part of a batch in the loss of all the training keyframes `step` of an optimizer step."""

    def _parameters(self, model: nn.Module) -> Iterable[nn.Parameter] | list[dict[str, object]]:
        """The parameters for the optimizer, in groups where they are not all treated alike."""
        return model.parameters()

    def _learned_from(self, examples: Sequence[Example[Keyframes]]) -> list[int]:
        """The training examples that the head learns from."""
        return list(range(len(examples)))

    def _trained(self, train: Features[Keyframes], *, seed: int, scratch: resume.Scratch, line: str) -> nn.Module:
        """Train a head; UserError if no training example has an actor. For the arguments see `predict`."""
        if not any(e.truth.actors for e in train.examples):
            raise UserError(f"{self.name}: none of {len(train.examples)} training examples has an actor; annotate some")
        indices = self._learned_from(train.examples)
        with ProgressLine(TrainingProgress(line, self.epochs * len(indices)), quiet=not line) as live:
            return self._fit(train, indices, seed=seed, scratch=scratch, live=live)

    def _fit(
        self,
        train: Features[Keyframes],
        indices: Sequence[int],
        *,
        seed: int,
        scratch: resume.Scratch,
        live: ProgressLine,
    ) -> nn.Module:
        """Train a head, every keyframe once per epoch."""
        draw = generator(seed)
        model = self._untrained(train, draw)
        device = next(model.parameters()).device
        average = deepcopy(model)
        optimizer = torch.optim.AdamW(self._parameters(model), lr=self.lr, weight_decay=self.weight_decay, fused=True)
        dropping = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=draw)))
        facts = resume.LoopState(draw=draw, dropping=dropping)
        parts: dict[str, resume.Stateful] = {"model": model, "average": average, "optimizer": optimizer, "facts": facts}
        count = len(indices)
        epoch_steps = -(-count // self.batch)
        warm_steps = round(self.warmup * epoch_steps)
        done = resume.resume(scratch, parts)
        live.resume_at(done * count)
        for epoch in range(done, self.epochs):
            order = [indices[i] for i in torch.randperm(count, generator=draw).tolist()]
            for number, start in enumerate(range(0, count, self.batch)):
                self._accumulate(model, train, order[start : start + self.batch], dropping, live)
                rate = cosine(epoch * epoch_steps + number + 1, self.epochs * epoch_steps, warm_steps, self.lr)
                clipped_step(optimizer, rate, max_norm=self.clip_grad_norm, name=self.name, scratch=scratch)
                resume.update_average(average, model, self.ema)
            resume.save(scratch, parts, epoch + 1)
        resume.delete(scratch)
        return average

    def _untrained(self, train: Features[Keyframes], draw: torch.Generator) -> nn.Module:
        """An untrained head for the grids of `train`, on their device."""
        first = next(iter(train.batches(1)), None)
        if first is None:
            raise UserError(f"{self.name}: none of {len(train.examples)} training videos could be encoded")
        steps, rows, columns, dim = first.values.shape[-4:]
        return self._head((steps, rows, columns, dim), len(train.classes), draw).to(first.values.device)

    def _accumulate(
        self,
        model: nn.Module,
        train: Features[Keyframes],
        chosen: Sequence[int],
        dropping: torch.Generator,
        live: ProgressLine,
    ) -> None:
        """Add the gradients of the keyframes `chosen`."""
        for batch in train.batches(min(self.batch, READ_EXAMPLES), chosen):
            self._loss(model, train, batch, chosen, dropping).backward()
            for _ in batch.owner:
                live.step()


@torch.no_grad()
def in_order(test: Features[Keyframes], found: Callable[[Batch], Iterable[Detections]]) -> list[Detections]:
    """The predictions for each example, of those that `found` returns for the examples of a batch."""
    predictions = [NO_DETECTIONS] * len(test.examples)
    for batch in test.batches(READ_EXAMPLES):
        for owner, detections in zip(batch.owner.tolist(), found(batch), strict=True):
            predictions[owner] = detections
    return predictions


def examples_of(features: Features[Keyframes], batch: Batch) -> list[Example[Keyframes]]:
    """The examples of a batch."""
    return [features.examples[i] for i in batch.owner.tolist()]


def grids(features: Features[Keyframes], batch: Batch) -> Tensor:
    """The token grids of a batch, one clip per example, float32."""
    if batch.values.ndim != 6 or batch.values.shape[1] != 1:
        raise UserError(
            f"detect: needs one token grid per example, not vectors of shape {list(batch.values.shape[1:])}"
        )
    return check_finite(features, batch).values[:, 0].float()


def mixed_precision(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 on a GPU; nothing on a CPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
