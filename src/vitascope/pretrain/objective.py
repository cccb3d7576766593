"""What a training step minimises: one loss a target, each by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from vitascope.architectures.video import Grid
from vitascope.pretrain.masking import Mask, Masked
from vitascope.pretrain.student import Decoder, Student, picked
from vitascope.pretrain.targets import Shown, Target, Teaching
from vitascope.types import Card

Losses: TypeAlias = dict[str, Tensor]


class Objective(nn.Module):
    """Student, decoders and targets: from clips and masks to losses, unweighted.

    Several masks are several looks at the same clips; the losses are their means.
    """

    def __init__(self, student: Student, targets: Sequence[Target], card: Card, generator: torch.Generator) -> None:
        super().__init__()
        names = [t.name for t in targets]
        if len(set(names)) < len(names) or not names:
            raise ValueError(f"targets {', '.join(names) or '(none)'}: at least one, each with a name of its own")
        self.student, self.card = student, card
        self.targets = {t.name: t for t in targets}
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

    def forward(self, pixels: UInt8[Tensor, "n f y x 3"], labels: Int[Tensor, "n"], masks: Sequence[Masked]) -> Losses:
        """Each target's loss, the mean over the masks."""
        shown = self.shown(pixels, labels)
        wanted = {name: self._wanted(name, shown) for name in self.targets}
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
        return target.loss(decoder(tokens, mask.keep, mask.hide, grid), picked(wanted, at))

    def follow(self, done: float) -> None:
        """After a step of the optimiser: slow copies move."""
        for teaching in self.teaching.values():
            teaching.follow(self.student, done)


def drawn(masks: Sequence[Mask], grid: Grid, rng: torch.Generator, *, count: int, rows: slice) -> list[Masked]:
    """The masks of a global batch of `count` clips, and of them the `rows` that are computed here.

    Drawn for all and cut, so that a step does not depend on how many processes share it.
    """
    return [Masked(*(part[rows] for part in mask(count, grid, rng))) for mask in masks]
