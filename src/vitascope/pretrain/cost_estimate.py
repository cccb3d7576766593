"""Estimate the cost of a recipe: count the FLOPs of one step, without memory or weights, and time a few steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitascope.core.device import generator
from vitascope.core.errors import UserError
from vitascope.nn.configs.video_vit import Grid
from vitascope.pretrain import export, optim
from vitascope.pretrain.masking import Mask, Masked
from vitascope.pretrain.model import Student
from vitascope.pretrain.objective import Objective, draw_masks
from vitascope.pretrain.optim import Optimizers
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.targets import FixedTarget, Labels
from vitascope.pretrain.targets.teachers import Guide

TIMED_STEPS = 3
"""Number of steps that are timed."""
TARGET_SECONDS = 2.0
"""Seconds that a timed step should take at most: if a batch takes longer, fewer clips are timed."""

DRAWS = 4
"""Number of draws of masks from which a typical one is taken."""
FLOAT = 4
"""Bytes of a number in float32."""


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """Cost of training, without data loading, as if all clips were videos; images cost less."""

    params: int
    """Parameters of the encoder."""
    trainable_params: int
    """Parameters of encoder and decoders."""
    visible_tokens: tuple[int, ...]
    """Visible tokens per clip, for each mask."""
    tokens: int
    """Tokens per clip."""
    encoder_gflops: float
    """GFLOPs of the encoder's forward pass over the visible tokens of a clip, summed over the masks."""
    clip_gflops: float
    """GFLOPs of training on one clip: forward and backward passes, teachers and decoders."""
    step_gflops: float
    """GFLOPs of the optimizers per step, whatever the number of clips; counted for Muon's products of matrices."""
    clips: int
    """Clips consumed by the whole training."""
    steps: int
    """Optimizer steps."""
    bytes: int
    """Memory for weights, gradients and optimizer in float32, for moving averages, teachers and the guide; without
    activations."""

    @property
    def total_pflops(self) -> float:
        """PFLOPs of the whole training."""
        return (self.clip_gflops * self.clips + self.step_gflops * self.steps) / 1e6


class _Parts(NamedTuple):
    """What is trained, and the encoder that guides the masks."""

    objective: Objective
    guide: Guide | None

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device) -> _Parts:
        rng = generator(recipe.seed)
        student = Student(recipe.shape, rng, checkpointing=recipe.checkpointing).to(device)
        objective = Objective(student, recipe.targets, export.card(recipe), rng)
        return cls(objective, Guide(recipe.guide, device) if recipe.guide else None)

    @property
    def bytes(self) -> int:
        trained = sum(p.numel() for p in self.objective.parameters() if p.requires_grad)
        averages = sum(p.numel() for p in self.objective.parameters() if not p.requires_grad)
        frozen = [*(target.card for target in self.objective.bound.values()), self.guide and self.guide.card]
        return FLOAT * (4 * trained + averages + sum(card.params for card in frozen if card))


def count_cost(recipe: Recipe) -> TrainingCost:
    """Count the parameters and FLOPs of a recipe on the meta device: no weights are made, and no teacher's are read.

    Networks that cannot be traced so are run on the CPU instead. Raises the same errors as training then.
    """
    try:
        with torch.device("meta"):
            parts = _Parts.of(recipe, torch.device("meta"))
        return _counted(recipe, parts)
    except (UserError, RuntimeError, TypeError):  # a teacher of one's own may do anything
        return _counted(recipe, _Parts.of(recipe, torch.device("cpu")))


def training_tflops(recipe: Recipe) -> float:
    """TFLOPs of the whole training."""
    return 1e3 * count_cost(recipe).total_pflops


def _counted(recipe: Recipe, parts: _Parts) -> TrainingCost:
    objective, student = parts.objective, parts.objective.student
    grid = student.grid(recipe.frames, recipe.size)
    batch = _noise_batch(recipe, 2, grid, next(student.parameters()).device, parts.guide)
    clip_gflops, step_gflops = _count(objective, optim.build_optimizers(objective, recipe), recipe, batch)
    visible = tuple(mask.keep.shape[1] for mask in batch.masks)
    return TrainingCost(
        params=recipe.shape.params,
        trainable_params=sum(p.numel() for p in objective.parameters() if p.requires_grad),
        visible_tokens=visible,
        tokens=grid[0] * grid[1] * grid[2],
        encoder_gflops=sum(student.flops(n) for n in visible) / 1e9,
        clip_gflops=clip_gflops,
        step_gflops=step_gflops,
        clips=recipe.steps * recipe.batch,
        steps=recipe.steps,
        bytes=parts.bytes,
    )


def clips_per_second(recipe: Recipe, device: torch.device) -> float:
    """Build the model and time a few steps on noise. Raises the same errors as training."""
    objective, guide = _Parts.of(recipe, device)
    optimizers = optim.build_optimizers(objective, recipe)
    grid = objective.student.grid(recipe.frames, recipe.size)
    batch = _noise_batch(recipe, 2, grid, device, guide)
    _train_step(objective, optimizers, recipe, batch)
    seconds = _time_step(objective, optimizers, recipe, batch) / 2
    count = max(2, min(recipe.batch // recipe.accumulate, int(TARGET_SECONDS / seconds)))
    batch = _noise_batch(recipe, count, grid, device, guide)
    return count / min(_time_step(objective, optimizers, recipe, batch) for _ in range(TIMED_STEPS))


def count_flops(model: nn.Module, objective: Objective, recipe: Recipe, frames: int) -> float:
    """FLOPs of training on one clip of `frames` frames: forward and backward passes, teachers and decoders.

    Counted on noise, two per multiply-add, without what activation checkpointing repeats, and without the guide of the
    masks and teachers whose features are cached; a collective of all processes if `model`, the wrapped `objective`, is
    distributed. Gradients are cleared.
    """
    device = next(objective.parameters()).device
    batch = _noise_batch(recipe, 2, objective.student.grid(frames, recipe.size), device, None, frames=frames)
    flops = _counted_backward(model, objective, recipe, batch)
    if objective.keyed:
        flops -= _flops_of_cached(objective, recipe, batch)
    model.zero_grad(set_to_none=True)
    objective.take_target_means()
    return flops / len(batch.pixels)


def _counted_backward(model: nn.Module, objective: Objective, recipe: Recipe, batch: optim.StepBatch) -> float:
    """Run the passes of a batch, and return their FLOPs; nothing is repeated, read from a cache or compiled."""
    student = objective.student
    student.checkpointing = False
    eager = torch.compiler.set_stance("force_eager") if recipe.compile else nullcontext()
    # torch counts only some of the fused attention kernels, but all plain matrix products
    with eager, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        _weighted_loss(model, recipe, batch).backward()
    student.checkpointing = recipe.checkpointing
    return float(counter.get_total_flops())


@torch.no_grad()
def _flops_of_cached(objective: Objective, recipe: Recipe, batch: optim.StepBatch) -> float:
    """FLOPs of the teachers whose features are cached."""
    inputs = objective.prepare(batch.pixels, batch.labels)
    autocast = optim.autocast(recipe, batch.pixels.device)
    with autocast, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        for target in objective.bound.values():
            if isinstance(target, FixedTarget) and target.teacher and target.teacher.cache:
                target.values(inputs)
    return float(counter.get_total_flops())


def _count(objective: Objective, optimizers: Optimizers, recipe: Recipe, batch: optim.StepBatch) -> tuple[float, float]:
    """GFLOPs per clip of forward and backward passes, and of the optimizers per step, counted in a training step."""
    flops = _counted_backward(objective, objective, recipe, batch)
    with FlopCounterMode(display=False) as steps:
        optim.step_optimizers(optimizers)
        objective.update_targets(0.0)
    return flops / len(batch.pixels) / 1e9, steps.get_total_flops() / 1e9


def _noise_batch(
    recipe: Recipe, count: int, grid: Grid, device: torch.device, guide: Guide | None, *, frames: int = 0
) -> optim.StepBatch:
    """Make a batch of `count` clips of noise of `frames` frames, by default the recipe's."""
    rng, frames = generator(0), frames or recipe.frames
    pixels = torch.randint(256, (count, frames, recipe.size, recipe.size, 3), generator=rng, dtype=torch.uint8)
    pixels = pixels.to(device)
    classes = next((target.classes for target in recipe.targets if isinstance(target, Labels)), 1)
    labels = torch.randint(classes, (count,), generator=rng).to(device)
    rules = recipe.masks_for(frames)
    saliency = None
    if any(rule.needs_saliency for rule in rules):
        saliency = guide(pixels, grid) if guide else torch.ones(count, grid[0] * grid[1] * grid[2], device=device)
        saliency = torch.rand(saliency.shape, generator=rng) if saliency.is_meta else saliency
    masks = _typical_masks(rules, grid, rng, count=recipe.batch, rows=slice(count), saliency=saliency)
    return next(optim.StepBatch(pixels, labels, masks).split(1))


def _typical_masks(
    rules: Sequence[Mask], grid: Grid, rng: torch.Generator, *, count: int, rows: slice, saliency: Tensor | None
) -> list[Masked]:
    """Of several draws for a whole batch, which determine how many tokens are visible, the one closest to the mean."""
    draws = [draw_masks(rules, grid, rng, count=count, rows=rows, saliency=saliency) for _ in range(DRAWS)]
    visible = [sum(mask.keep.shape[1] for mask in masks) for masks in draws]
    return min(zip(draws, visible, strict=True), key=lambda drawn: abs(drawn[1] - sum(visible) / DRAWS))[0]


def _weighted_loss(model: nn.Module, recipe: Recipe, batch: optim.StepBatch) -> Tensor:
    with optim.autocast(recipe, batch.pixels.device):
        losses = model(batch.pixels, batch.labels, batch.masks)
        weighted: Tensor = torch.stack([t.weight * losses[t.name] for t in recipe.targets]).sum()
        return weighted


def _train_step(objective: Objective, optimizers: Optimizers, recipe: Recipe, batch: optim.StepBatch) -> None:
    """Run a full training step on a batch."""
    _weighted_loss(objective, recipe, batch).backward()
    optim.step_optimizers(optimizers)
    objective.update_targets(0.0)


def _time_step(objective: Objective, optimizers: Optimizers, recipe: Recipe, batch: optim.StepBatch) -> float:
    """Measure the seconds of one step."""
    device = batch.pixels.device
    start = _now(device)
    _train_step(objective, optimizers, recipe, batch)
    return max(_now(device) - start, 1e-9)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
