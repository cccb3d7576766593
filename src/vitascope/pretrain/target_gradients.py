"""Gradients of single targets on the encoder: their norms, and the cosines between them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vitascope.pretrain import optim
from vitascope.pretrain.objective import Objective
from vitascope.pretrain.recipe import Recipe


class TargetGradients(NamedTuple):
    """Norms of the gradients of the weighted losses, by target, and cosines, by "one, other"."""

    norms: dict[str, float]
    cosines: dict[str, float]


def measure(
    model: nn.Module, objective: Objective, recipe: Recipe, batch: optim.StepBatch, weights: Mapping[str, float]
) -> TargetGradients:
    """Compute the gradient of each weighted loss of a batch on the trunk, which all targets share.

    Costs a forward and a backward pass per target, with those of the teachers; gradients are cleared. `model` is the
    wrapped `objective`; a collective of all processes, which return the same.
    """
    trunk = [p for p in objective.student.trunk.parameters() if p.requires_grad]
    rows = [_gradients(model, recipe, batch, trunk, {name: weight}) for name, weight in weights.items()]
    objective.take_target_means()
    products = torch.stack([torch.stack([_product(a, b) for b in rows]) for a in rows])
    if isinstance(trunk[0], DTensor):
        dist.all_reduce(products)
    return _summary(list(weights), products)


def _gradients(
    model: nn.Module, recipe: Recipe, batch: optim.StepBatch, trunk: list[nn.Parameter], weights: dict[str, float]
) -> list[Tensor]:
    """The gradient of one target, averaged over processes; of a sharded model, this process's part."""
    optim.backward(model, recipe, batch, weights)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trunk]
    model.zero_grad(set_to_none=True)
    return [g.to_local() if isinstance(g, DTensor) else g for g in gradients]


def _product(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """Inner product in double precision where the device has it."""
    wide = torch.float32 if one[0].device.type == "mps" else torch.float64
    return torch.stack([torch.sum(a * b, dtype=wide) for a, b in zip(one, other, strict=True)]).sum()


def _summary(names: list[str], products: Tensor) -> TargetGradients:
    norms = products.diagonal().sqrt()
    cosines = (products / (norms[:, None] * norms).clamp_min(torch.finfo(products.dtype).tiny)).tolist()
    pairs = {f"{names[i]}, {names[j]}": cosines[i][j] for i, j in combinations(range(len(names)), 2)}
    return TargetGradients(dict(zip(names, norms.tolist(), strict=True)), pairs)
