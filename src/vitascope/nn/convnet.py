"""A plain convolutional network of pictures."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from vitascope.architectures.convnet import ConvShape


class ConvNet(nn.Module):
    """Pictures to a grid of features and their maximum."""

    def __init__(self, shape: ConvShape) -> None:
        super().__init__()
        self.shape = shape
        layers: list[nn.Module] = []
        for before, width, stride in zip((3, *shape.widths), shape.widths, shape.strides, strict=False):
            layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def forward(self, pictures: Float[Tensor, "n 3 y x"]) -> tuple[Float[Tensor, "n h w d"], Float[Tensor, "n d"]]:
        """Features of every place, and their maximum over the places."""
        maps = self.body(pictures)
        return maps.permute(0, 2, 3, 1), maps.amax((2, 3))
