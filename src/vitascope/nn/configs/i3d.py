"""Config of I3D: Inception-v1 whose convolutions were inflated to three dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from vitascope.core.errors import UserError
from vitascope.nn.configs.base import replace_fields

CHANNELS = 3
MIXED = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
"""The mixed blocks by their official names; the digit counts the poolings before them."""
BRANCHES = 6
"""Widths of a mixed block: 1x1; 1x1 and 3x3; 1x1 and 3x3; 1x1 after pooling."""
STEPS = {"1": (2, 2), "2": (2, 4), "3": (2, 8), "4": (4, 16), "5": (8, 32)}
"""Frames and pixels of a side per position of the maps, by the digit of a block's name."""


class Unit(NamedTuple):
    """One convolution."""

    block: str
    """Name of the block that it is in."""
    before: int
    width: int
    kernel: int
    """Side of its cubic kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class I3DConfig:
    """Widths of I3D; the defaults are those of the published network."""

    stem: tuple[int, int, int] = (64, 64, 192)
    """Output channels of the three convolutions before the mixed blocks."""
    mixed: tuple[tuple[int, ...], ...] = (
        (64, 96, 128, 16, 32, 32),
        (128, 128, 192, 32, 96, 64),
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
        (256, 160, 320, 32, 128, 128),
        (384, 192, 384, 48, 128, 128),
    )
    """Widths of the branches of each mixed block, in the order of `BRANCHES`."""
    clip: tuple[int, int] = (16, 224)
    """Frames and side in pixels of a clip."""

    def __post_init__(self) -> None:
        if len(self.mixed) != len(MIXED) or {len(widths) for widths in self.mixed} != {BRANCHES}:
            raise UserError(f"mixed: expected {len(MIXED)} blocks of {BRANCHES} widths each")

    @property
    def out(self) -> int:
        """Width of the pooled vector."""
        return mixed_width(self.mixed[-1])

    @property
    def width(self) -> int:
        """Width of the last features."""
        return self.out

    @property
    def input(self) -> tuple[int, int]:
        """Frames and side in pixels of a clip."""
        return self.clip

    def inputs(self) -> list[int]:
        """Input width of each mixed block."""
        return [self.stem[-1], *map(mixed_width, self.mixed[:-1])]

    def units(self) -> Iterator[Unit]:
        """All convolutions."""
        first, second, third = self.stem
        yield from (Unit("1a", CHANNELS, first, 7), Unit("2b", first, second, 1), Unit("2c", second, third, 3))
        for name, before, (a, b, c, d, e, f) in zip(MIXED, self.inputs(), self.mixed, strict=True):
            yield from (Unit(name, before, width, 1) for width in (a, b, d, f))
            yield from (Unit(name, b, c, 3), Unit(name, d, e, 3))

    @property
    def params(self) -> int:
        """Number of parameters, without the running statistics of batch norms."""
        return sum((unit.before * unit.kernel**3 + 1) * unit.width for unit in self.units())

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds for one clip."""
        places = {digit: -(-frames // t) * (-(-size // s)) ** 2 for digit, (t, s) in STEPS.items()}
        return sum(u.before * u.kernel**3 * u.width * places[u.block[0]] for u in self.units())

    def updated(self, values: Mapping[str, Any]) -> I3DConfig:
        """This config with other values."""
        return replace_fields(self, {key: tupled(value) for key, value in values.items()})


def mixed_width(widths: tuple[int, ...]) -> int:
    """Output width of a mixed block."""
    direct, _, second, _, third, pooled = widths
    return direct + second + third + pooled


def tupled(value: Any) -> Any:
    """Lists of a file as tuples."""
    return tuple(map(tupled, value)) if isinstance(value, list) else value
