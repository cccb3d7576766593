"""What a training step minimizes: one loss a target, each by its name."""

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
from vitascope.pretrain.masking import Mask, Masked
from vitascope.pretrain.model import Decoder, Student, picked
from vitascope.pretrain.monitoring import feature_rank
from vitascope.pretrain.targets.targets import Shown, Target, Teaching

Losses: TypeAlias = dict[str, Tensor]


class Objective(nn.Module):
    """Student, decoders and targets: from clips and masks to losses, unweighted.

    Several masks are several looks at the same clips; the losses are their means.
    """

    def __init__(self, student: Student, targets: Sequence[Target], card: Card, generator: torch.Generator) -> None:
        super().__init__()
        names = [t.name for t in targets]
        if len(set(names)) < len(names) or not names:
            raise UserError(f"targets {', '.join(names) or '(none)'}: at least one, each with a name of its own")
        self.student, self.card = student, card
        self.targets = {t.name: t for t in targets}
        self.likeness: dict[str, float] = {}
        """Filled on request by `forward`."""
        device = next(student.parameters()).device
        self.teaching: dict[str, Teaching] = {t.name: t.bind(student, device) for t in targets}
        self.slow = nn.ModuleDict({n: t for n, t in self.teaching.items() if isinstance(t, nn.Module)})
        self.decoders = nn.ModuleDict(
            {
                t.name: Decoder(
                    student.shape.dim,
                    self.teaching[t.name].out,
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
        measure: bool = False,
    ) -> Losses:
        """Each target's loss, the mean over the masks. With `measure`, `likeness` holds those of these clips after it.

        That is a part of this call because a sharded model is whole only inside it.
        """
        shown = self.shown(pixels, labels)
        wanted = {name: self._wanted(name, shown) for name in self.targets}
        if measure:
            found = {name: likeness(values) for name, values in wanted.items() if not self.targets[name].whole}
            # what is no number in one part of a batch stays so: the run is about to be stopped
            self.likeness = {name: value + 0 * self.likeness.get(name, 0.0) for name, value in found.items()}
        looks = [self._look(shown, mask, wanted) for mask in masks]
        return {name: torch.stack([look[name] for look in looks]).mean() for name in self.targets}

    def shown(self, pixels: UInt8[Tensor, "n f y x 3"], labels: Int[Tensor, "n"]) -> Shown:
        """Clips as the student takes them, and as targets do."""
        clips = pixels.movedim(-1, 1)
        grid = self.student.grid(clips.shape[2], clips.shape[-1])
        # bytes are a quarter of the floats to move about; then the arithmetic of `to_tensor`, to the bit
        blocks = self.student.blocks(clips).float().div_(255).unflatten(-1, (3, -1))
        mean, std = (torch.tensor(v, device=pixels.device)[:, None] for v in (self.card.mean, self.card.std))
        return Shown(clips.float().div_(255), blocks.sub_(mean).div_(std).flatten(-2), grid, labels)

    @torch.no_grad()
    def _wanted(self, name: str, shown: Shown) -> Tensor:
        return self.teaching[name].values(shown)

    def _look(self, shown: Shown, mask: Masked, wanted: Mapping[str, Tensor]) -> Losses:
        tokens = self.student(shown.blocks, mask.keep, shown.grid)
        return {name: self._loss(name, tokens, shown.grid, mask, wanted[name]) for name in self.targets}

    def _loss(self, name: str, tokens: Tensor, grid: Grid, mask: Masked, wanted: Tensor) -> Tensor:
        target, decoder = self.targets[name], cast(Decoder, self.decoders[name])
        if target.whole:
            pooled = tokens.mean(1, keepdim=True)
            return target.loss(decoder(pooled, mask.keep[:, :1], mask.hide, grid)[:, 0], wanted)
        at = {"seen": mask.keep, "hidden": mask.hide, "all": torch.cat([mask.keep, mask.hide], 1)}[target.on]
        if not at.shape[1]:
            raise UserError(
                f"target {name} asks hidden tokens and the mask hides none; give another mask, or on='seen'"
            )
        return target.loss(decoder(tokens, mask.keep, mask.hide, grid), picked(wanted, at))

    def follow(self, done: float) -> None:
        """After a step of the optimizer: slow copies move."""
        for teaching in self.teaching.values():
            teaching.follow(self.student, done)


def likeness(values: Float[Tensor, "n l o"]) -> float:
    """Mean cosine between the targets of different clips; not a number where one of the values is none.

    0 of a single clip, which says nothing.
    """
    if not torch.isfinite(values).all():
        return math.nan
    return feature_rank.similarity(values) if len(values) > 1 else 0.0


def drawn(
    masks: Sequence[Mask],
    grid: Grid,
    rng: torch.Generator,
    *,
    count: int,
    rows: slice,
    saliency: Float[Tensor, "m l"] | None = None,
) -> list[Masked]:
    """The masks of a global batch of `count` clips, and of them the `rows` that are computed here.

    Drawn for all and cut, so that a step does not depend on how many processes share it. `saliency` is of the rows
    here; masks that use it draw each clip for itself, so what stands for the other rows does not matter.
    """
    weights = None
    if saliency is not None:
        weights = torch.ones(count, saliency.shape[1], device=rng.device)
        weights[rows] = saliency.float().to(rng.device)
    return [Masked(*(part[rows] for part in mask(count, grid, rng, saliency=weights))) for mask in masks]
