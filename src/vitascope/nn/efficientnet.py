"""EfficientNet-Lite: an image network of inverted residual bottlenecks with ReLU6."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.nn.block_layout import BlockLayout
from vitascope.nn.configs.efficientnet import CHANNELS, STEM_KERNEL, STEM_STRIDE, Bottleneck, EfficientNetConfig
from vitascope.nn.convolution import ConvNorm
from vitascope.nn.network import Network


def activated(x: Tensor) -> Tensor:
    """ReLU6, in place where no gradient needs the input."""
    return F.relu6(x, inplace=not torch.is_grad_enabled())


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; added to its input where shapes allow."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        self.residual = block.stride == 1 and block.before == block.width
        self.expand = ConvNorm(block.before, block.inner, (1, 1)) if block.expansion > 1 else None
        kernel = (block.kernel,) * 2
        self.depthwise = ConvNorm(block.inner, block.inner, kernel, block.stride, groups=block.inner)
        self.project = ConvNorm(block.inner, block.width, (1, 1))

    def forward(self, x: Float[Tensor, "n c y x"]) -> Float[Tensor, "n d h w"]:
        """Apply the block."""
        inner = x if self.expand is None else activated(self.expand(x))
        out: Tensor = self.project(activated(self.depthwise(inner)))
        return x + out if self.residual else out


class EfficientNet(Network):
    """From images to the last feature map and its mean, which the classifier sees."""

    shape: EfficientNetConfig

    def __init__(self, shape: EfficientNetConfig) -> None:
        super().__init__()
        self.shape = shape
        self.stem = ConvNorm(CHANNELS, shape.stem, (STEM_KERNEL,) * 2, STEM_STRIDE)
        self.blocks = nn.ModuleList([InvertedResidual(block) for block in shape.blocks()])
        self.head = ConvNorm(shape.groups[-1][-1], shape.head, (1, 1))

    def forward(self, images: Float[Tensor, "n 3 y x"]) -> tuple[Float[Tensor, "n h w d"], Float[Tensor, "n d"]]:
        """The feature map and its mean over all positions."""
        x = activated(self.stem(images))
        for block in self.blocks:
            x = block(x)
        maps = activated(self.head(x))
        return maps.permute(0, 2, 3, 1), maps.mean((2, 3))

    def block_layout(self) -> BlockLayout:
        """Its blocks."""
        return BlockLayout(tuple(self.blocks), channels_first=True)
