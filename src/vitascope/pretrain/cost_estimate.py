"""Outlook: what a recipe would cost here, from a count of one step's operations and a few steps against the clock."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitascope.core.device import generator
from vitascope.pretrain import export
from vitascope.pretrain import optim as steps
from vitascope.pretrain.masking import Masked
from vitascope.pretrain.model import Student
from vitascope.pretrain.objective import Objective, drawn
from vitascope.pretrain.optim import Optimizers
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.targets import Labels
from vitascope.pretrain.targets.teachers import Guide

TIMED = 3
"""Steps against the clock."""
SECONDS = 2.0
"""That a timed step should last: fewer clips than a batch are tried where a batch takes longer."""


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """What training costs, data not counted: of video clips, of which pictures cost less."""

    params: int
    """Of the encoder."""
    trained: int
    """The same with the decoders."""
    visible: tuple[int, ...]
    """Tokens that the encoder sees, of each mask."""
    tokens: int
    encoder: float
    """Operations of its forward pass over the visible tokens of a clip, all masks together, in 1e9."""
    step: float
    """Operations of training on one clip: forward and backward, teachers and decoders, in 1e9."""
    clips: int
    steps: int
    rate: float
    """Clips a second, on this device alone."""

    @property
    def total(self) -> float:
        """Operations of all training, in 1e15."""
        return self.step * self.clips / 1e6

    @property
    def seconds(self) -> float:
        """All training on this device alone."""
        return self.clips / self.rate


def outlook(recipe: Recipe, device: torch.device) -> TrainingCost:
    """Build it, count one step on noise and time some. ValueError as training would raise it."""
    seeded = generator(recipe.seed)
    student = Student(recipe.shape, seeded, checkpointing=recipe.checkpointing).to(device)
    objective = Objective(student, recipe.targets, export.card(recipe), seeded)
    guide = Guide(recipe.guide, device) if recipe.guide else None
    optimizers = steps.optimizers_of(objective, recipe)
    grid = student.grid(recipe.frames, recipe.size)
    batch = _batch(recipe, 2, grid, device, guide)
    # of the fused kernels of attention torch counts some and not others: plain products it counts all
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        _step(objective, optimizers, recipe, batch)
    seen = _timed(objective, optimizers, recipe, batch) / 2
    count = max(2, min(recipe.batch // recipe.accumulate, int(SECONDS / seen)))
    batch = _batch(recipe, count, grid, device, guide)
    best = min(_timed(objective, optimizers, recipe, batch) for _ in range(TIMED))
    visible = tuple(mask.keep.shape[1] for mask in batch.masks)
    return TrainingCost(
        params=recipe.shape.params,
        trained=sum(p.numel() for p in objective.parameters() if p.requires_grad),
        visible=visible,
        tokens=grid[0] * grid[1] * grid[2],
        encoder=sum(student.flops(n) for n in visible) / 1e9,
        step=counter.get_total_flops() / 2 / 1e9,
        clips=recipe.steps * recipe.batch,
        steps=recipe.steps,
        rate=count / best,
    )


def _batch(
    recipe: Recipe, count: int, grid: tuple[int, int, int], device: torch.device, guide: Guide | None
) -> steps.StepBatch:
    """Noise, as many clips as asked."""
    rng = generator(0)
    pixels = torch.randint(256, (count, recipe.frames, recipe.size, recipe.size, 3), generator=rng, dtype=torch.uint8)
    pixels = pixels.to(device)
    classes = next((target.classes for target in recipe.targets if isinstance(target, Labels)), 1)
    labels = torch.randint(classes, (count,), generator=rng).to(device)
    rules = recipe.masks_of(recipe.frames)
    saliency = guide(pixels, grid) if guide and any(rule.needs_saliency for rule in rules) else None
    masks: list[Masked] = drawn(rules, grid, rng, count=count, rows=slice(None), saliency=saliency)
    return steps.StepBatch(pixels, labels, masks)


def _step(objective: Objective, optimizers: Optimizers, recipe: Recipe, batch: steps.StepBatch) -> None:
    """All that training does with a batch."""
    with steps.precision(recipe, batch.pixels.device):
        losses = objective(batch.pixels, batch.labels, batch.masks)
        loss = torch.stack([t.weight * losses[t.name] for t in recipe.targets]).sum()
    loss.backward()
    steps.advance(optimizers)
    objective.follow(0.0)


def _timed(objective: Objective, optimizers: Optimizers, recipe: Recipe, batch: steps.StepBatch) -> float:
    """Seconds of a step."""
    device = batch.pixels.device
    began = _now(device)
    _step(objective, optimizers, recipe, batch)
    return max(_now(device) - began, 1e-9)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
