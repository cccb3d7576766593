"""Two baselines without weights: raw pixels for appearance, and their changes over time for motion."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Card
from vitascope.encoders.base import Encoder, NetworkEncoder, Tokens

VARIANTS: dict[str, str] = {
    "thumbnail": "mean frame at 16 x 16, RGB: appearance without motion",
    "motion-energy": "change between frames in each of 8 x 8 cells, over time: motion without appearance",
}
CELLS = {"thumbnail": 16, "motion-energy": 8}
QUIET = 0.01
"""Mean change of a practically static clip, as a fraction of the value range; compression noise stays below it."""


class Thumbnail(nn.Module):
    """The mean over the frames, averaged in 16 x 16 cells: 768 values that do not depend on the order of frames."""

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Token grid (n 1 16 16 3); the clip vector is the flattened grid."""
        cells = F.adaptive_avg_pool2d(clips.mean(2), CELLS["thumbnail"])
        grid = cells.permute(0, 2, 3, 1)[:, None]
        return Tokens(grid, grid.flatten(1))


class MotionEnergy(nn.Module):
    """The absolute change of gray level between consecutive frames, averaged in 8 x 8 cells, relative to its mean.

    For 16 frames these are 15 x 64 values in temporal order. Dividing by the mean change of the clip (plus `QUIET`)
    removes its contrast, the absolute value removes the sign of the change.
    """

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Token grid (n t-1 8 8 1); the clip vector is the flattened grid, time slowest."""
        if clips.shape[2] < 2:
            raise UserError("pixels/motion-energy needs clips of at least two frames")
        change = clips.mean(1).diff(dim=1).abs()
        cells = F.adaptive_avg_pool2d(change, CELLS["motion-energy"])
        grid = (cells / (cells.mean((1, 2, 3), keepdim=True) + QUIET))[..., None]
        return Tokens(grid, grid.flatten(1))


def build(variant: str) -> Encoder:
    """The encoder `thumbnail` or `motion-energy`; `UserError` for an unknown variant."""
    if variant not in VARIANTS:
        raise unknown_variant("encoders", "pixels", variant, VARIANTS)
    thumbnail = variant == "thumbnail"
    card = Card(
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
    return NetworkEncoder(card, Thumbnail() if thumbnail else MotionEnergy(), loaded="no weights")
