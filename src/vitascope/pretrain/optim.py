"""Parts of a training step: optimizers and schedules, precision, gradient accumulation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor, nn

from vitascope.pretrain.distributed import gradient_sync
from vitascope.pretrain.masking import Masked
from vitascope.pretrain.objective import Losses, Objective
from vitascope.pretrain.recipe import Recipe

Optimizers: TypeAlias = list[torch.optim.Optimizer]


class StepBatch(NamedTuple):
    """The share of a batch that one process computes."""

    pixels: UInt8[Tensor, "n f y x 3"]
    labels: Int[Tensor, "n"]
    masks: Sequence[Masked]
    keys: Sequence[bytes] = ()
    """Digests of the clips' pixels, where features of teachers are cached."""

    def split(self, count: int) -> Iterator[StepBatch]:
        """Split into `count` equal parts, on the device of the pixels."""
        size = len(self.pixels) // count
        for start in range(0, size * count, size):
            part, device = slice(start, start + size), self.pixels.device
            masks = [Masked(*(indices[part].to(device) for indices in mask)) for mask in self.masks]
            yield StepBatch(self.pixels[part], self.labels[part], masks, self.keys[part])


def backward(
    model: nn.Module, recipe: Recipe, batch: StepBatch, weights: Mapping[str, float], *, measure: bool = False
) -> Losses:
    """Accumulate the gradients of a batch over `recipe.accumulate` parts; returns its unweighted losses by target.

    Gradients are those of the targets that have one of the `weights`; `measure` is passed to `Objective.forward` for
    every part.
    """
    sums: Losses = {}
    count = recipe.accumulate
    for number, part in enumerate(batch.split(count), 1):
        with gradient_sync(model, number == count):
            with autocast(recipe, batch.pixels.device):
                losses: Losses = model(part.pixels, part.labels, part.masks, keys=part.keys, measure=measure)
                loss = torch.stack([weight * losses[name] for name, weight in weights.items()]).sum() / count
            loss.backward()
        for name, value in losses.items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() / count
    return sums


def build_optimizers(objective: Objective, recipe: Recipe) -> Optimizers:
    """Build AdamW without weight decay of biases, norms and mask tokens; with "muon", Muon for the blocks' matrices.

    Muon (Jordan et al. 2024) takes orthogonalized steps, scaled to AdamW's size (Liu et al. 2025, equation 4) and by
    `muon_scale`.
    """
    trainable = {n: p for n, p in objective.named_parameters() if p.requires_grad}
    muon_params = {n for n, p in trainable.items() if recipe.optimizer == "muon" and p.ndim == 2 and ".blocks." in n}
    no_decay_params = {n for n, p in trainable.items() if p.ndim <= 1 or n.endswith(".mask")}
    groups: list[dict[str, Any]] = [
        {
            "params": [p for n, p in trainable.items() if n not in muon_params | no_decay_params],
            "decays": True,
            "scale": 1.0,
        },
        {"params": [p for n, p in trainable.items() if n in no_decay_params], "decays": False, "scale": 1.0},
    ]
    counted = any(p.is_meta for p in trainable.values())  # there is no fused step without memory
    adamw = torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=not counted)
    if not muon_params:
        return [adamw]
    scale = recipe.muon_scale
    matrices: list[dict[str, Any]] = [
        {"params": [trainable[n] for n in sorted(muon_params)], "decays": True, "scale": scale}
    ]
    return [adamw, torch.optim.Muon(matrices, lr=recipe.lr, adjust_lr_fn="match_rms_adamw")]


def step_optimizers(optimizers: Optimizers, *, skip: Bool[Tensor, ""] | None = None) -> None:
    """Step all optimizers and clear the gradients. If `skip` is true, weights and optimizer state stay as they were.

    `skip` is not read by this process, so that it need not wait for the device.
    """
    for optimizer in optimizers:
        if skip is None:
            optimizer.step()
        elif getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer.found_inf = skip.float()  # type: ignore[attr-defined] # as torch's gradient scaler sets it
            optimizer.step()
        else:
            _step_unless(skip, optimizer)
        optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def _step_unless(skip: Bool[Tensor, ""], optimizer: torch.optim.Optimizer) -> None:
    """Step an optimizer that knows nothing of `skip`, and put everything back if it is true."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    before = [{"": p.clone(), **{k: v.clone() for k, v in optimizer.state[p].items()}} for p in params]
    optimizer.step()
    for p, old in zip(params, before, strict=True):
        for key, new in {"": p, **optimizer.state[p]}.items():
            new.copy_(torch.where(skip, old.get(key, torch.zeros_like(new)), new))


def apply_schedule(optimizers: Optimizers, recipe: Recipe, step: int) -> float:
    """Set learning rate and weight decay for step number `step` (from 0); returns the learning rate."""
    lr, weight_decay = recipe.lr_at(step), recipe.weight_decay_at(step)
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"], group["weight_decay"] = lr * group["scale"], weight_decay if group["decays"] else 0.0
    return lr


def mask_generator(recipe: Recipe, step: int, device: torch.device) -> torch.Generator:
    """Make the random generator for the masks of a step, seeded by recipe and step; close steps get distant seeds.

    On CUDA, masks are drawn on the device: a CPU core needs half a second for 2048 clips of 1568 tokens. Where one of
    them depends on values that were drawn (`Blocks`), the CPU draws them, while the device is busy with earlier steps:
    it would have to wait for these to read the values.
    """
    seed = (recipe.seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 1) % 2**63
    on_device = device.type == "cuda" and not any(rule.reads for rule in (*recipe.masks, *recipe.image_masks))
    return torch.Generator(device if on_device else "cpu").manual_seed(seed)


@contextmanager
def autocast(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Autocast to bfloat16 if the recipe requests it and the hardware supports it."""
    if compute_precision(recipe, device) == torch.bfloat16:
        with torch.autocast(device.type, torch.bfloat16):
            yield
    else:
        yield


def compute_precision(recipe: Recipe, device: torch.device) -> torch.dtype:
    """Type in which matrix products are computed: the recipe's, where the hardware supports it."""
    return torch.bfloat16 if recipe.precision == "bfloat16" and has_bfloat16(device) else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device supports bfloat16 natively; emulation is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    features = torch.cpu.get_capabilities() if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities") else {}
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))
