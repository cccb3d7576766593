"""A plain convolutional network of pictures, as numbers: what teaches small students what is in a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitascope.core.errors import UserError
from vitascope.nn.configs.base import changed


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvNetConfig:
    """3 x 3 convolutions with batch norm and ReLU, one after the other; the vector is the maximum over the grid."""

    widths: tuple[int, ...] = (32, 64, 64, 128, 128)
    strides: tuple[int, ...] = (2, 2, 1, 2, 1)
    size: int = 56
    """Side of the pictures it was made for, pixels."""

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.strides) or not self.widths or min(*self.widths, *self.strides) < 1:
            raise UserError(f"widths {self.widths} and strides {self.strides}: one of each for every layer, from 1 on")

    @property
    def layers(self) -> list[tuple[int, int, int]]:
        """Channels in, channels out and stride of every convolution."""
        return list(zip((3, *self.widths[:-1]), self.widths, self.strides, strict=True))

    @property
    def out(self) -> int:
        """Width of the summary vector."""
        return self.widths[-1]

    @property
    def width(self) -> int:
        """Of the tokens."""
        return self.widths[-1]

    @property
    def params(self) -> int:
        """Numbers in the weights; the statistics of batch norms are not counted."""
        return sum(9 * before * width + 2 * width for before, width, _ in self.layers)

    @property
    def input(self) -> tuple[int, int]:
        """One frame of its size."""
        return 1, self.size

    def macs(self, frames: int, size: int) -> int:
        """Of all frames."""
        total, side = 0, size
        for before, width, stride in self.layers:
            side = -(-side // stride)
            total += 9 * before * width * side**2
        return total * frames

    def told(self, given: Mapping[str, Any]) -> ConvNetConfig:
        """With other numbers."""
        new = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        return changed(self, new)
