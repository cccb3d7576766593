"""I3D: Inception-v1 with convolutions over time and space."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.nn.block_layout import BlockLayout
from vitascope.nn.configs.i3d import CHANNELS, MIXED, I3DConfig
from vitascope.nn.convolution import ConvNorm, max_pool
from vitascope.nn.network import Network

WINDOW = 2
"""Positions in time that the classifier averages over at once, before it averages over the clip."""
POOLS = {"3": ((1, 3, 3), (1, 2, 2)), "4": ((3, 3, 3), (2, 2, 2)), "5": ((2, 2, 2), (2, 2, 2))}
"""Kernel and stride of the pooling before the blocks of a digit."""


class Unit(nn.Module):
    """Convolution, batch norm without factor, ReLU."""

    def __init__(self, before: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = ConvNorm(before, width, (kernel,) * 3, stride, scaled=False)

    def forward(self, x: Float[Tensor, "n b t y x"]) -> Float[Tensor, "n c u v w"]:
        """Apply them."""
        out: Tensor = self.conv(x)
        return F.relu(out, inplace=not torch.is_grad_enabled())


class Mixed(nn.Module):
    """Four branches of one input, side by side in the channels of the output."""

    def __init__(self, before: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        direct, first, second, third, fourth, pooled = widths
        branches = (
            {"a": Unit(before, direct, 1)},
            {"a": Unit(before, first, 1), "b": Unit(first, second, 3)},
            {"a": Unit(before, third, 1), "b": Unit(third, fourth, 3)},
            {"b": Unit(before, pooled, 1)},
        )
        self.branches = nn.ModuleList([nn.Sequential(OrderedDict(branch)) for branch in branches])

    def forward(self, x: Float[Tensor, "n b t y x"]) -> Float[Tensor, "n c t y x"]:
        """The outputs of all branches; the last begins with the maximum over 3 x 3 x 3 neighbors."""
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1))
        inputs = (x, x, x, pooled)
        return torch.cat([branch(y) for branch, y in zip(self.branches, inputs, strict=True)], 1)


class I3D(Network):
    """From clips in -1 to 1 to the features that its classifier averages."""

    shape: I3DConfig

    def __init__(self, shape: I3DConfig) -> None:
        super().__init__()
        self.shape = shape
        first, second, third = shape.stem
        stem = {"1a": Unit(CHANNELS, first, 7, 2), "2b": Unit(first, second, 1), "2c": Unit(second, third, 3)}
        self.stem = nn.ModuleDict(stem)
        blocks = zip(MIXED, shape.inputs(), shape.mixed, strict=True)
        self.mixed = nn.ModuleDict({name: Mixed(before, widths) for name, before, widths in blocks})

    def forward(self, clips: Float[Tensor, "n 3 f y x"]) -> tuple[Float[Tensor, "n t h w d"], Float[Tensor, "n d"]]:
        """The last features, and their mean over space and over windows of two positions in time, averaged."""
        x = max_pool(self.stem["1a"](clips), *POOLS["3"])
        x = self.stem["2c"](self.stem["2b"](x))
        digit = "2"
        for name, block in self.mixed.items():
            x = max_pool(x, *POOLS[name[0]]) if name[0] != digit else x
            digit, x = name[0], block(x)
        over_time = x.mean((3, 4))
        windows = F.avg_pool1d(over_time, min(WINDOW, over_time.shape[2]), 1)
        return x.permute(0, 2, 3, 4, 1), windows.mean(2)

    def block_layout(self) -> BlockLayout:
        """Its convolutions before the mixed blocks, and those."""
        return BlockLayout((*self.stem.values(), *self.mixed.values()), channels_first=True)
