"""Config of EfficientNet-Lite: inverted residual bottlenecks with ReLU6 and without squeeze and excitation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from vitascope.core.errors import UserError
from vitascope.nn.configs.base import replace_fields

CHANNELS = 3
STEM_KERNEL, STEM_STRIDE = 3, 2


class Bottleneck(NamedTuple):
    """One block: a convolution that widens, one per channel, and one that narrows."""

    before: int
    width: int
    kernel: int
    stride: int
    expansion: int
    """Factor of the width between; 1: without the convolution that widens."""

    @property
    def inner(self) -> int:
        """Width between."""
        return self.before * self.expansion


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficientNetConfig:
    """Numbers of EfficientNet-Lite; the defaults are those of Lite0."""

    stem: int = 32
    """Output channels of the first convolution."""
    groups: tuple[tuple[int, int, int, int, int], ...] = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )
    """Blocks, side of the kernel, stride of the first block, expansion and output channels of each group."""
    head: int = 1280
    """Output channels of the last convolution."""
    size: int = 224
    """Side of the training images, pixels."""

    def __post_init__(self) -> None:
        if not self.groups or {len(group) for group in self.groups} != {5}:
            raise UserError("groups: expected (blocks, kernel, stride, expansion, channels) of each")

    @property
    def out(self) -> int:
        """Width of the pooled vector."""
        return self.head

    @property
    def width(self) -> int:
        """Width of the last features."""
        return self.head

    @property
    def input(self) -> tuple[int, int]:
        """One frame, and the side of the training images in pixels."""
        return 1, self.size

    def blocks(self) -> Iterator[Bottleneck]:
        """All blocks in order."""
        before = self.stem
        for count, kernel, stride, expansion, width in self.groups:
            for number in range(count):
                yield Bottleneck(before, width, kernel, 1 if number else stride, expansion)
                before = width

    @property
    def params(self) -> int:
        """Number of parameters, without the running statistics of batch norms."""
        last = self.groups[-1][-1]
        ends = (CHANNELS * STEM_KERNEL**2 + 2) * self.stem + (last + 2) * self.head
        return ends + sum(block_params(block) for block in self.blocks())

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds for all frames."""
        side = -(-size // STEM_STRIDE)
        total = CHANNELS * STEM_KERNEL**2 * self.stem * side**2
        for block in self.blocks():
            after = -(-side // block.stride)
            total += block_macs(block, side**2, after**2)
            side = after
        return frames * (total + self.groups[-1][-1] * self.head * side**2)

    def updated(self, values: Mapping[str, Any]) -> EfficientNetConfig:
        """This config with other values."""
        groups = {"groups": tuple(map(tuple, values["groups"]))} if "groups" in values else {}
        return replace_fields(self, {**values, **groups})


def block_params(block: Bottleneck) -> int:
    """Number of parameters of a block."""
    widening = (block.before + 2) * block.inner if block.expansion > 1 else 0
    return widening + (block.kernel**2 + 2) * block.inner + (block.inner + 2) * block.width


def block_macs(block: Bottleneck, before: int, after: int) -> int:
    """Multiply-adds of a block from `before` to `after` positions."""
    widening = block.before * block.inner * before if block.expansion > 1 else 0
    return widening + (block.kernel**2 + block.width) * block.inner * after
