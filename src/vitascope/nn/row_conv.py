"""Convolution of three neighboring rows by two thirds of the multiplications, on CPUs in float32.

Winograd's F(2, 3) (Lavin and Gray 2016, arXiv 1509.09308): two outputs from four rows d0 to d3 and weights g0 to g2,

    m0 = g0 (d0 - d2)    m1 = (g0 + g1 + g2) / 2 (d1 + d2)    m2 = (g0 - g1 + g2) / 2 (d2 - d1)    m3 = g2 (d1 - d3)
    y0 = m0 + m1 + m2    y1 = m1 - m2 - m3

with matrices for g and rows for d. The gradients are the transposed steps, and need two thirds as well. In float32 the
result differs from the exact one by 2 to 3 times as much as that of the plain sum: 5e-7 of the outputs' deviation.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from vitascope.nn.fast_linear import fast, matmul

MIN_OUT = 64
"""Minimum number of outputs for which sums and differences cost less than they save."""


def conv3(
    x: Float[Tensor, "t c"], weight: Float[Tensor, "o c 3"], bias: Float[Tensor, "o"] | None = None
) -> Float[Tensor, "t o"]:
    """Convolve each row with its two neighbors, as `F.conv1d`; the first and the last row have only one, and are zero.

    The number of rows must be even.
    """
    assert len(x) % 2 == 0, f"{len(x)} rows"
    if len(weight) >= MIN_OUT and bias is None and fast(x):
        y: Tensor = _Winograd.apply(x, weight)  # type: ignore[no-untyped-call]
        return y
    image, kernel = x.mT[None, :, None], weight.unsqueeze(2)  # a channels-last image of height 1: no copy
    return F.pad(F.conv2d(image, kernel, bias)[0, :, 0].mT, (0, 0, 1, 1))


class _Winograd(torch.autograd.Function):
    """The convolution; sums and differences of x are recomputed for the gradient, not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        m0, m1, m2, m3 = (matmul(d, g) for d, g in zip(_inputs(x), _weights(weight), strict=True))
        y = x.new_empty(len(x), len(weight))
        pairs = y[1:-1].view(-1, 2, len(weight))
        torch.add(m0.add_(m1), m2, out=pairs[:, 0])
        torch.sub(m1.sub_(m2), m3, out=pairs[:, 1])
        y[0], y[-1] = 0.0, 0.0
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        first, second = gradient[1:-1].unflatten(0, (-1, 2)).unbind(1)
        slopes = (first.contiguous(), first + second, first - second, second.contiguous())  # the last one negative
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = _fold([matmul(a, g.T) for a, g in zip(slopes, _weights(weight), strict=True)])
        w0, w1, w2, w3 = (matmul(a.T, d.T) for a, d in zip(slopes, _inputs(x), strict=True))
        half, difference = (w1 + w2) / 2, (w1 - w2) / 2
        return of_x, torch.stack([w0 + half, difference, half - w3], 2)


def _inputs(x: Float[Tensor, "t c"]) -> tuple[Tensor, ...]:
    """Return the four combinations of rows for every two outputs."""
    even, odd = x.unflatten(0, (-1, 2)).unbind(1)
    d0, d1, d2, d3 = even[:-1], odd[:-1], even[1:], odd[1:]
    return d0 - d2, d1 + d2, d2 - d1, d1 - d3


def _weights(weight: Float[Tensor, "o c 3"]) -> tuple[Tensor, ...]:
    """Return the four combinations of weights."""
    g0, g1, g2 = (g.contiguous() for g in weight.unbind(2))
    half, middle = (g0 + g2) / 2, g1 / 2
    return g0, half + middle, half - middle, g2


def _fold(m: list[Tensor]) -> Float[Tensor, "t c"]:
    """Return the gradient of the rows from those of their combinations; consecutive fours share two rows."""
    m0, m1, m2, m3 = m
    n, channels = m0.shape
    rows = m0.new_empty(n + 1, 2, channels)
    even, odd = rows.unbind(1)
    even[:n], even[n] = m0, 0.0
    even[1:] += (m1 + m2).sub_(m0)
    torch.sub(m1, m2, out=odd[:n])
    odd[:n] -= m3
    odd[n] = 0.0
    odd[1:] += m3
    return rows.flatten(0, 1)
