"""Linear layers at the speed of the processor: oneDNN's product, which torch's own linear layers do not use.

On a CPU without Intel's name MKL, which does F.linear, runs at half of what the processor can: 104 against 244 billion
operations a second on one core of an AMD EPYC. Where torch has no oneDNN, and on other devices, F.linear it is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

HERE = hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _fast(x: Tensor) -> bool:
    return HERE and x.device.type == "cpu" and x.dtype == torch.float32


def times(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W' + b of rows, without a gradient of its own."""
    if not _fast(x):
        return F.linear(x, weight, bias)
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


class _Product(torch.autograd.Function):
    """`times`, with a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return times(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        of_x = times(slope, weight.T) if ctx.needs_input_grad[0] else None
        return of_x, *slopes(slope, x)


def slopes(slope: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of `times` to weight and bias; oneDNN's takes rows as they are, a product needs them transposed."""
    if not _fast(x):
        return slope.T @ x, slope.sum(0)
    like = x.new_empty(slope.shape[1], x.shape[1])
    found = torch.ops.aten.mkldnn_linear_backward_weights(slope.to_mkldnn(), x.to_mkldnn(), like, True)
    return found[0].to_dense(), found[1].to_dense()


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """W x + b over the last axis; follows autocast."""
    if not _fast(x) or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    y: Tensor = _Product.apply(x.flatten(0, -2), weight, bias)  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:-1], -1)
