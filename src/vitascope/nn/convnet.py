"""A plain convolutional network for images."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vitascope.nn.block_layout import BlockLayout
from vitascope.nn.configs.convnet import ConvNetConfig
from vitascope.nn.network import Network


class ConvNet(Network):
    """Convolutional network from images to a feature map and its spatial maximum."""

    shape: ConvNetConfig

    def __init__(self, shape: ConvNetConfig) -> None:
        super().__init__()
        self.shape = shape
        layers: list[nn.Module] = []
        for before, width, stride in shape.layers:
            layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def forward(self, images: Float[Tensor, "n 3 y x"]) -> tuple[Float[Tensor, "n h w d"], Float[Tensor, "n d"]]:
        """The feature map and its maximum over all positions."""
        maps = self.body(images.contiguous(memory_format=torch.channels_last))
        return maps.permute(0, 2, 3, 1), maps.amax((2, 3))

    def block_layout(self) -> BlockLayout:
        """Its convolutions, each with norm and activation."""
        return BlockLayout([m for m in self.body if isinstance(m, nn.ReLU)], channels_first=True)

    def folded(self) -> ConvNet:
        """This network in evaluation mode with batch norms folded into the convolutions: twice as fast on a CPU."""
        layers: list[Any] = list(self.eval().body)
        pairs = [fuse_conv_bn_eval(conv, norm) for conv, norm in zip(layers[::3], layers[1::3], strict=True)]
        self.body = nn.Sequential(*(layer for pair in pairs for layer in (pair, nn.ReLU(inplace=True))))
        folded: ConvNet = self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return folded
