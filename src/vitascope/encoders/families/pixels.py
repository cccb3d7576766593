"""Two floors without weights: what mere pixels say about appearance, and what their changes say about motion."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Card
from vitascope.encoders.base import Encoder, NetworkEncoder, Tokens

VARIANTS: dict[str, str] = {
    "thumbnail": "the mean frame at 16 x 16, RGB: appearance without motion",
    "motion-energy": "how much each of 8 x 8 cells changes from frame to frame, in order: where and when, not what",
}
CELLS = {"thumbnail": 16, "motion-energy": 8}
QUIET = 0.01
"""Mean change (of 1) below which a clip counts as still; the noise of compression stays under it."""


class Thumbnail(nn.Module):
    """The mean over the frames, averaged in 16 x 16 cells: 768 numbers in which the order of frames cannot show."""

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Grid (n 1 16 16 3); the vector is the grid flattened."""
        cells = F.adaptive_avg_pool2d(clips.mean(2), CELLS["thumbnail"])
        grid = cells.permute(0, 2, 3, 1)[:, None]
        return Tokens(grid, grid.flatten(1))


class MotionEnergy(nn.Module):
    """The absolute change of gray level from each frame to the next, averaged in 8 x 8 cells, as shares of the mean.

    15 x 64 numbers for 16 frames: where and when something changed, in order. Dividing by the clip's mean change (plus
    `QUIET`) takes its contrast out, the absolute value whether it became lighter or darker.
    """

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Grid (n t-1 8 8 1); the vector is the grid flattened, time slowest."""
        if clips.shape[2] < 2:
            raise UserError("pixels/motion-energy compares frames: a clip needs two or more")
        change = clips.mean(1).diff(dim=1).abs()
        cells = F.adaptive_avg_pool2d(change, CELLS["motion-energy"])
        grid = (cells / (cells.mean((1, 2, 3), keepdim=True) + QUIET))[..., None]
        return Tokens(grid, grid.flatten(1))


def build(variant: str) -> Encoder:
    """`thumbnail` or `motion-energy`; ValueError for anything else."""
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
    )
    return NetworkEncoder(card, Thumbnail() if thumbnail else MotionEnergy(), loaded="nothing to load: no weights")
