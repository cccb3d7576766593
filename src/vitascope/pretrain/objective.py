"""The training objective: one loss per reconstruction target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.core.types import Card
from vitascope.nn.configs.video_vit import Grid
from vitascope.pretrain.constants import constant
from vitascope.pretrain.masking import Mask, Masked
from vitascope.pretrain.model import Decoder, Student, gather_tokens
from vitascope.pretrain.monitoring import feature_rank
from vitascope.pretrain.targets.targets import BoundTarget, Target, TargetInputs

Losses: TypeAlias = dict[str, Tensor]


class Objective(nn.Module):
    """Student, decoders and targets; computes the unweighted loss of every target from clips and masks.

    With several masks, each clip is encoded once per mask, and the losses are averaged.
    """

    def __init__(self, student: Student, targets: Sequence[Target], card: Card, generator: torch.Generator) -> None:
        super().__init__()
        names = [t.name for t in targets]
        if len(set(names)) < len(names) or not names:
            raise UserError(f"targets {', '.join(names) or '(none)'}: there must be at least one, with distinct names")
        self.student, self.card = student, card
        self.targets = {t.name: t for t in targets}
        self.similarity: dict[str, float] = {}
        """Mean cosine similarity between the targets of different clips, by target; set by `forward(measure=True)`."""
        self.keyed = False
        """Whether features of teachers are cached, under the keys of the clips."""
        device = next(student.parameters()).device
        self._target_means: dict[str, Tensor] = {}
        self.bound: dict[str, BoundTarget] = {t.name: t.bind(student, device) for t in targets}
        self.slow = nn.ModuleDict({n: t for n, t in self.bound.items() if isinstance(t, nn.Module)})
        self.decoders = nn.ModuleDict(
            {
                t.name: Decoder(
                    student.shape.dim,
                    self.bound[t.name].out,
                    depth=t.depth,
                    width=t.width,
                    on=t.on,
                    generator=generator,
                )
                for t in targets
            }
        ).to(device)

    def forward(
        self,
        pixels: UInt8[Tensor, "n f y x 3"],
        labels: Int[Tensor, "n"],
        masks: Sequence[Masked],
        *,
        keys: Sequence[bytes] = (),
        measure: bool = False,
    ) -> Losses:
        """Return each target's loss, averaged over the masks. `measure` also updates `similarity` from these clips.

        Measuring is part of this call because a sharded model is only complete inside it.
        """
        inputs = self.prepare(pixels, labels, keys)
        values = {name: self._target_values(name, inputs) for name in self.targets}
        for name, value in values.items():
            mean = value.mean(dtype=torch.float32)
            self._target_means[name] = self._target_means[name] + mean if name in self._target_means else mean
        if measure:
            similarity = {
                name: target_similarity(value) for name, value in values.items() if not self.targets[name].per_clip
            }
            self.similarity = similarity
        losses = [self._masked_losses(inputs, mask, values) for mask in masks]
        return {name: torch.stack([by_target[name] for by_target in losses]).mean() for name in self.targets}

    def take_target_means(self) -> dict[str, Tensor]:
        """Return the means of each target's values since the last call, summed over parts of a batch, and forget them.

        They are finite if all values are; on the device.
        """
        means, self._target_means = self._target_means, {}
        return means

    def prepare(
        self, pixels: UInt8[Tensor, "n f y x 3"], labels: Int[Tensor, "n"], keys: Sequence[bytes] = ()
    ) -> TargetInputs:
        """Prepare a batch of clips, with their keys if features of teachers are cached, for student and targets."""
        clips = pixels.movedim(-1, 1)
        grid = self.student.grid(clips.shape[2], clips.shape[-1])
        # patchify bytes, a quarter of the memory traffic of floats; then the arithmetic of `to_tensor`, bit for bit
        patches = self.student.patchify(clips).float().div_(255).unflatten(-1, (3, -1))
        mean, std = (constant(patches, torch.tensor, v)[:, None] for v in (self.card.mean, self.card.std))
        return TargetInputs(clips.float().div_(255), patches.sub_(mean).div_(std).flatten(-2), grid, labels, keys)

    @torch.no_grad()
    def _target_values(self, name: str, inputs: TargetInputs) -> Tensor:
        return self.bound[name].values(inputs)

    def _masked_losses(self, inputs: TargetInputs, mask: Masked, values: Mapping[str, Tensor]) -> Losses:
        tokens = self.student(inputs.patches, mask.keep, inputs.grid)
        return {name: self._loss(name, tokens, inputs.grid, mask, values[name]) for name in self.targets}

    def _loss(self, name: str, tokens: Tensor, grid: Grid, mask: Masked, values: Tensor) -> Tensor:
        target, decoder = self.targets[name], cast(Decoder, self.decoders[name])
        if target.per_clip:
            pooled = tokens.mean(1, keepdim=True)
            return target.loss(decoder(pooled, mask.keep[:, :1], mask.hide, grid)[:, 0], values)
        selected = {"seen": mask.keep, "hidden": mask.hide, "all": torch.cat([mask.keep, mask.hide], 1)}[target.on]
        if not selected.shape[1]:
            raise UserError(
                f"target {name} predicts hidden tokens, but the mask hides none; use another mask, or on='seen'"
            )
        return target.loss(decoder(tokens, mask.keep, mask.hide, grid), gather_tokens(values, selected))

    def update_targets(self, progress: float) -> None:
        """Update moving averages after an optimizer step; `progress` is the share of training completed, 0 to 1."""
        for target in self.bound.values():
            target.update(self.student, progress)


def target_similarity(values: Float[Tensor, "n l o"]) -> float:
    """Mean cosine similarity between the targets of different clips; NaN if a value is not finite, 0 for one clip."""
    if not torch.isfinite(values).all():
        return math.nan
    return feature_rank.similarity(values) if len(values) > 1 else 0.0


def draw_masks(
    masks: Sequence[Mask],
    grid: Grid,
    rng: torch.Generator,
    *,
    count: int,
    rows: slice,
    saliency: Float[Tensor, "m l"] | None = None,
) -> list[Masked]:
    """Draw the masks of a global batch of `count` clips and return the `rows` of this process.

    Drawing for the whole batch makes a step independent of the number of processes. `saliency` covers only the rows of
    this process; masks that use it draw every clip independently, so the values of other rows do not matter.
    """
    weights = None
    if saliency is not None:
        weights = torch.ones(count, saliency.shape[1], device=rng.device)
        weights[rows] = saliency.float().to(rng.device)
    return [Masked(*(part[rows] for part in mask(count, grid, rng, saliency=weights))) for mask in masks]
