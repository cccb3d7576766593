"""Faster float32 linear layers on CPUs, using oneDNN's matrix product.

`F.linear` uses MKL, which on CPUs not made by Intel reaches half of the possible speed: 104 instead of 244 GFLOP/s on
one core of an AMD EPYC. Without oneDNN and on other devices, `F.linear` is used.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

HAS_ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")
MIN_PRODUCTS = 2**25
"""Multiply-adds from which oneDNN is used: it compiles every product of another size, for 0.65 ms, and keeps 1,024."""


def fast(x: Tensor) -> bool:
    """Return whether products with `x` are computed in float32 on a CPU by oneDNN."""
    kind = x.device.type
    return HAS_ONEDNN and kind == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled(kind)


def matmul(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b for a matrix x, without gradient support."""
    if not HAS_ONEDNN or x.device.type != "cpu" or x.dtype != torch.float32 or x.numel() * len(weight) < MIN_PRODUCTS:
        return F.linear(x, weight, bias)
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


class _Product(torch.autograd.Function):
    """`matmul` with a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return matmul(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad_x = matmul(grad, weight.T) if ctx.needs_input_grad[0] else None
        return grad_x, matmul(grad.T, x.T), grad.sum(0)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Linear layer over the last axis; respects autocast."""
    if not fast(x):
        return F.linear(x, weight, bias)
    y: Tensor = _Product.apply(x.flatten(0, -2), weight, bias)  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:-1], -1)
