"""Config of a plain convolutional network for images, the frame-level teacher of small students."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitascope.core.errors import UserError
from vitascope.nn.configs.base import replace_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvNetConfig:
    """A sequence of 3 x 3 convolutions with batch norm and ReLU, followed by global max pooling."""

    widths: tuple[int, ...] = (32, 64, 64, 128, 128)
    """Output channels of each layer."""
    strides: tuple[int, ...] = (2, 2, 1, 2, 1)
    """Stride of each layer."""
    size: int = 56
    """Side of the training images, pixels."""

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.strides) or not self.widths or min(*self.widths, *self.strides) < 1:
            raise UserError(
                f"widths {self.widths} and strides {self.strides}: expected one of each per layer, at least 1"
            )

    @property
    def layers(self) -> list[tuple[int, int, int]]:
        """Input channels, output channels and stride of each convolution."""
        return list(zip((3, *self.widths[:-1]), self.widths, self.strides, strict=True))

    @property
    def out(self) -> int:
        """Width of the pooled vector."""
        return self.widths[-1]

    @property
    def width(self) -> int:
        """Width of the features."""
        return self.widths[-1]

    @property
    def params(self) -> int:
        """Number of parameters, without the running statistics of batch norms."""
        return sum(9 * before * width + 2 * width for before, width, _ in self.layers)

    @property
    def input(self) -> tuple[int, int]:
        """One frame, and the side of the training images in pixels."""
        return 1, self.size

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds for all frames."""
        total, side = 0, size
        for before, width, stride in self.layers:
            side = -(-side // stride)
            total += 9 * before * width * side**2
        return total * frames

    def updated(self, values: Mapping[str, Any]) -> ConvNetConfig:
        """This config with other values."""
        new = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return replace_fields(self, new)
