"""Estimate the cost of a recipe on this machine: count the FLOPs of one step and time a few."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitascope.core.device import generator
from vitascope.nn.configs.video_vit import Grid
from vitascope.pretrain import export, optim
from vitascope.pretrain.masking import Masked
from vitascope.pretrain.model import Student
from vitascope.pretrain.objective import Objective, draw_masks
from vitascope.pretrain.optim import Optimizers
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.targets import Labels
from vitascope.pretrain.targets.teachers import Guide

TIMED_STEPS = 3
"""Number of steps that are timed."""
TARGET_SECONDS = 2.0
"""Seconds that a timed step should take at most: if a batch takes longer, fewer clips are timed."""


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
    clips_per_second: float
    """Measured throughput of this device alone."""

    @property
    def total_pflops(self) -> float:
        """PFLOPs of the whole training."""
        return (self.clip_gflops * self.clips + self.step_gflops * self.steps) / 1e6

    @property
    def seconds(self) -> float:
        """Seconds of the whole training on this device alone."""
        return self.clips / self.clips_per_second


def training_tflops(recipe: Recipe) -> float:
    """TFLOPs of the whole training, counted in one step of two clips of noise on the CPU."""
    objective, guide, grid = _build(recipe, torch.device("cpu"))
    batch = _noise_batch(recipe, 2, grid, torch.device("cpu"), guide)
    clip_gflops, step_gflops = _count(objective, optim.build_optimizers(objective, recipe), recipe, batch)
    return (clip_gflops * recipe.batch + step_gflops) * recipe.steps / 1e3


def estimate_cost(recipe: Recipe, device: torch.device) -> TrainingCost:
    """Build the model, count the FLOPs of one step on noise and time a few. Raises the same errors as training."""
    objective, guide, grid = _build(recipe, device)
    student, optimizers = objective.student, optim.build_optimizers(objective, recipe)
    batch = _noise_batch(recipe, 2, grid, device, guide)
    clip_gflops, step_gflops = _count(objective, optimizers, recipe, batch)
    seconds = _time_step(objective, optimizers, recipe, batch) / 2
    count = max(2, min(recipe.batch // recipe.accumulate, int(TARGET_SECONDS / seconds)))
    batch = _noise_batch(recipe, count, grid, device, guide)
    fastest = min(_time_step(objective, optimizers, recipe, batch) for _ in range(TIMED_STEPS))
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
        clips_per_second=count / fastest,
    )


def _build(recipe: Recipe, device: torch.device) -> tuple[Objective, Guide | None, Grid]:
    """Build the model and the guide of the masks, if there is one; the grid is that of the student's tokens."""
    rng = generator(recipe.seed)
    student = Student(recipe.shape, rng, checkpointing=recipe.checkpointing).to(device)
    objective = Objective(student, recipe.targets, export.card(recipe), rng)
    guide = Guide(recipe.guide, device) if recipe.guide else None
    return objective, guide, student.grid(recipe.frames, recipe.size)


def _count(objective: Objective, optimizers: Optimizers, recipe: Recipe, batch: optim.StepBatch) -> tuple[float, float]:
    """GFLOPs per clip of forward and backward passes, and of the optimizers per step, counted in a training step."""
    # torch counts only some of the fused attention kernels, but all plain matrix products
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as passes:
        _backward(objective, recipe, batch)
    with FlopCounterMode(display=False) as steps:
        optim.step_optimizers(optimizers)
        objective.update_targets(0.0)
    return passes.get_total_flops() / len(batch.pixels) / 1e9, steps.get_total_flops() / 1e9


def _noise_batch(recipe: Recipe, count: int, grid: Grid, device: torch.device, guide: Guide | None) -> optim.StepBatch:
    """Make a batch of `count` clips of noise."""
    rng = generator(0)
    pixels = torch.randint(256, (count, recipe.frames, recipe.size, recipe.size, 3), generator=rng, dtype=torch.uint8)
    pixels = pixels.to(device)
    classes = next((target.classes for target in recipe.targets if isinstance(target, Labels)), 1)
    labels = torch.randint(classes, (count,), generator=rng).to(device)
    rules = recipe.masks_for(recipe.frames)
    saliency = guide(pixels, grid) if guide and any(rule.needs_saliency for rule in rules) else None
    masks: list[Masked] = draw_masks(rules, grid, rng, count=count, rows=slice(None), saliency=saliency)
    return optim.StepBatch(pixels, labels, masks)


def _train_step(objective: Objective, optimizers: Optimizers, recipe: Recipe, batch: optim.StepBatch) -> None:
    """Run a full training step on a batch."""
    _backward(objective, recipe, batch)
    optim.step_optimizers(optimizers)
    objective.update_targets(0.0)


def _backward(objective: Objective, recipe: Recipe, batch: optim.StepBatch) -> None:
    with optim.autocast(recipe, batch.pixels.device):
        losses = objective(batch.pixels, batch.labels, batch.masks)
        loss = torch.stack([t.weight * losses[t.name] for t in recipe.targets]).sum()
    loss.backward()


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
