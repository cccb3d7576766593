"""Convolutions of networks that were trained in TensorFlow: padded as `SAME`, with batch norms of fixed statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-3
"""Epsilon of the batch norms."""


def same_padding(sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
    """Places to add before and after each axis so that ceil(size / stride) outputs fit; the odd one comes after."""
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, kernel, stride, strict=True)]
    return [(n // 2, n - n // 2) for n in total]


def padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """`x` with so many places of `value` before and after each of its last axes."""
    flat = [n for pair in reversed(pads) for n in pair]
    return F.pad(x, flat, value=value) if any(flat) else x


def max_pool(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """The maximum over windows of the last axes, padded as `SAME`.

    One axis after the other, which a CPU does several times faster than `torch.nn.functional.max_pool3d`.
    """
    first = x.ndim - len(kernel)
    pads = same_padding(x.shape[first:], kernel, stride)
    x = padded(x, pads, -math.inf)
    for axis, (window, step) in enumerate(zip(kernel, stride, strict=True), first):
        end = x.shape[axis] - window + 1
        shifted = [x.narrow(axis, start, end) for start in range(window)]
        x = reduce(torch.maximum, (part[(slice(None),) * axis + (slice(None, None, step),)] for part in shifted))
    return x


class ConvNorm(nn.Module):
    """A convolution followed by a batch norm of fixed statistics, computed as one convolution.

    With `scaled` false the norm has an offset but no factor.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, before: int, width: int, kernel: Sequence[int], stride: int = 1, *, groups: int = 1, scaled: bool = True
    ) -> None:
        super().__init__()
        self.stride, self.groups = (stride,) * len(kernel), groups
        self.weight = nn.Parameter(torch.zeros(width, before // groups, *kernel))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale = nn.Parameter(torch.ones(width)) if scaled else None
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalize; no activation."""
        factor = torch.rsqrt(self.running_var + EPS)
        factor = factor if self.scale is None else factor * self.scale
        weight = self.weight * factor.view(-1, *(1,) * (self.weight.ndim - 1))
        bias = self.bias - self.running_mean * factor
        pads = same_padding(x.shape[2:], self.weight.shape[2:], self.stride)
        even = all(before == after for before, after in pads)
        x = x if even else padded(x, pads)
        convolve = F.conv3d if self.weight.ndim == 5 else F.conv2d
        padding = [before if even else 0 for before, _ in pads]
        return convolve(x, weight, bias, self.stride, padding, groups=self.groups)
