"""What one step of training is made of: who decays, in which precision, how the parts of a batch add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from vitascope.pretrain.distributed import unsynced
from vitascope.pretrain.masking import Masked
from vitascope.pretrain.objective import Losses, Objective
from vitascope.pretrain.recipe import Recipe

Optimizers: TypeAlias = list[torch.optim.Optimizer]


class StepBatch(NamedTuple):
    """What one process computes of a step."""

    pixels: UInt8[Tensor, "n f y x 3"]
    labels: Int[Tensor, "n"]
    masks: Sequence[Masked]

    def parts(self, count: int) -> Iterator[StepBatch]:
        """Cut into so many equal ones, on the device of the pixels."""
        size = len(self.pixels) // count
        for start in range(0, size * count, size):
            part, device = slice(start, start + size), self.pixels.device
            masks = [Masked(*(indices[part].to(device) for indices in mask)) for mask in self.masks]
            yield StepBatch(self.pixels[part], self.labels[part], masks)


def backward(model: nn.Module, recipe: Recipe, batch: StepBatch, *, measure: bool = False) -> Losses:
    """Add the gradients of a batch, computed in `recipe.accumulate` parts; its losses by target, unweighted.

    `measure`: as `Objective.forward` says, of every part.
    """
    sums: Losses = {}
    count = recipe.accumulate
    for number, part in enumerate(batch.parts(count), 1):
        with unsynced(model, number < count):
            with precision(recipe, batch.pixels.device):
                losses: Losses = model(part.pixels, part.labels, part.masks, measure=measure)
                loss = torch.stack([t.weight * losses[t.name] for t in recipe.targets]).sum() / count
            loss.backward()
        for name, value in losses.items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() / count
    return sums


def optimizers_of(objective: Objective, recipe: Recipe) -> Optimizers:
    """AdamW in which matrices decay, biases, norms and mask tokens do not; with `muon`, that for the blocks' matrices.

    Muon (Jordan et al. 2024) takes steps of orthogonal matrices, scaled to AdamW's size (Liu et al. 2025, equation 4)
    and by `muon_scale`.
    """
    learned = {n: p for n, p in objective.named_parameters() if p.requires_grad}
    whirled = {n for n, p in learned.items() if recipe.optimizer == "muon" and p.ndim == 2 and ".blocks." in n}
    spared = {n for n, p in learned.items() if p.ndim <= 1 or n.endswith(".mask")}
    groups: list[dict[str, Any]] = [
        {"params": [p for n, p in learned.items() if n not in whirled | spared], "decays": True, "scale": 1.0},
        {"params": [p for n, p in learned.items() if n in spared], "decays": False, "scale": 1.0},
    ]
    adam = torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=True)
    if not whirled:
        return [adam]
    scale = recipe.muon_scale
    matrices: list[dict[str, Any]] = [{"params": [learned[n] for n in sorted(whirled)], "decays": True, "scale": scale}]
    return [adam, torch.optim.Muon(matrices, lr=recipe.lr, adjust_lr_fn="match_rms_adamw")]


def advance(optimizers: Optimizers) -> None:
    """One step of all, and no gradients after it."""
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def schedule(optimizers: Optimizers, recipe: Recipe, step: int) -> float:
    """Set learning rate and weight decay for the step to be made; the learning rate."""
    rate, decay = recipe.rate(step), recipe.decay(step)
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"], group["weight_decay"] = rate * group["scale"], decay if group["decays"] else 0.0
    return rate


def mask_draws(recipe: Recipe, step: int, device: torch.device) -> torch.Generator:
    """The generator of the masks of a step, seeded by one number of two, far apart for neighbors.

    A CUDA device draws for itself: a core takes half a second for 2048 clips of 1568 tokens, and would be waited for.
    """
    seed = (recipe.seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 1) % 2**63
    return torch.Generator(device if device.type == "cuda" else "cpu").manual_seed(seed)


@contextmanager
def precision(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Products in bfloat16 where the recipe wants it and the hardware has it."""
    if recipe.precision == "bfloat16" and has_bfloat16(device):
        with torch.autocast(device.type, torch.bfloat16):
            yield
    else:
        yield


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 itself; emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = torch.cpu.get_capabilities() if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
