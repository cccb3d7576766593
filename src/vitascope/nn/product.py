"""Linear layers and convolutions over frames at the speed of the processor: oneDNN's, which linear layers do not use.

On a CPU without Intel's name MKL, which does F.linear, runs at half of what the processor can: 104 against 244 billion
operations a second on one core of an AMD EPYC. Where torch has no oneDNN, and on other devices, F.linear it is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

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
        return of_x, times(slope.T, x.T), slope.sum(0)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """W x + b over the last axis; follows autocast."""
    kind = x.device.type
    if not HERE or kind != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled(kind):
        return F.linear(x, weight, bias)
    y: Tensor = _Product.apply(x.flatten(0, -2), weight, bias)  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:-1], -1)


def dilated(
    x: Float[Tensor, "t c"], weight: Float[Tensor, "e 3 c"], bias: Float[Tensor, "e"], d: int
) -> Float[Tensor, "t e"]:
    """A convolution over frames t - d, t and t + d, zeros beyond the ends; without a gradient of its own.

    On a CPU oneDNN's, which reads rows of channels as they are; elsewhere one product of three copies side by side.
    """
    if not _fast(x):
        return F.linear(_shifted(x, d), weight.flatten(1), bias)
    return _rows(F.conv2d(_image(x), _kernel(weight), bias, padding=(0, d), dilation=(1, d)))


def dilated_slope(slope: Float[Tensor, "t e"], weight: Float[Tensor, "e 3 c"], d: int) -> Float[Tensor, "t c"]:
    """The gradient of `dilated` to x."""
    if not _fast(slope):
        return F.linear(_shifted(slope, d), weight.flip(1).permute(2, 1, 0).flatten(1))
    size = (1, weight.shape[2], 1, len(slope))
    return _rows(conv2d_input(size, _kernel(weight), _image(slope), padding=(0, d), dilation=(1, d)))


def of_taps(x: Float[Tensor, "t c"], slope: Float[Tensor, "t e"], d: int) -> Float[Tensor, "e 3 c"]:
    """The gradient of `dilated` to its weight: three products, and one copy that is transposed for them."""
    across = slope.T.contiguous()
    found = slope.new_zeros(slope.shape[1], 3, x.shape[1])
    found[:, 1] = times(across, x.T)
    if d < len(x):
        found[:, 0], found[:, 2] = times(across[:, d:], x[:-d].T), times(across[:, :-d], x[d:].T)
    return found


def _shifted(x: Float[Tensor, "t c"], d: int) -> Float[Tensor, "t 3*c"]:
    """Each row beside those `d` before and after; zeros beyond the ends."""
    around = F.pad(x, (0, 0, d, d))
    return torch.cat([around[: len(x)], x, around[2 * d :]], 1)


def _image(x: Float[Tensor, "t c"]) -> Float[Tensor, "1 c 1 t"]:
    return x.T[None, :, None]


def _rows(y: Float[Tensor, "1 c 1 t"]) -> Float[Tensor, "t c"]:
    return y[0, :, 0].T


def _kernel(weight: Float[Tensor, "e 3 c"]) -> Float[Tensor, "e c 1 3"]:
    return weight.permute(0, 2, 1)[:, :, None]
