"""Two baselines without weights: raw pixels for appearance, and their changes over time for motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitascope.core.registry import unknown_variant
from vitascope.core.types import Card

if TYPE_CHECKING:
    from vitascope.encoders.base import Encoder

VARIANTS: dict[str, str] = {
    "thumbnail": "mean frame at 16 x 16, RGB: appearance without motion",
    "motion-energy": "change between frames in each of 8 x 8 cells, over time: motion without appearance",
}


def card(variant: str) -> Card:
    """The card of the encoder `thumbnail` or `motion-energy`."""
    thumbnail = variant == "thumbnail"
    return Card(
        name=f"pixels/{variant}",
        digest="pixels-1",
        dim=16 * 16 * 3 if thumbnail else 15 * 8 * 8,
        frames=16,
        size=64,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5) if thumbnail else (1.0, 1.0, 1.0),
        pool="the grid, flattened",
        license="Apache-2.0",
        framewise=thumbnail,
    )


def build(variant: str) -> Encoder:
    """The encoder `thumbnail` or `motion-energy`; `UserError` for an unknown variant."""
    from vitascope.encoders.base import NetworkEncoder
    from vitascope.nn.pixel_statistics import MeanFrame, MotionEnergy

    if variant not in VARIANTS:
        raise unknown_variant("encoders", "pixels", variant, VARIANTS)
    return NetworkEncoder(card(variant), MeanFrame() if variant == "thumbnail" else MotionEnergy(), loaded="no weights")
