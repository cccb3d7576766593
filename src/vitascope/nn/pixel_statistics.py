"""Two networks without weights: averages of pixels, and averages of their changes over time."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import UserError

CELLS, CHANGING_CELLS = 16, 8
"""Cells along either side of the token grids."""
QUIET = 0.01
"""Mean change of a practically static clip, as a fraction of the value range; compression noise stays below it."""


class MeanFrame(nn.Module):
    """The mean over the frames, averaged in 16 x 16 cells: 768 values that do not depend on the order of frames."""

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> tuple[Float[Tensor, "n 1 h w 3"], Float[Tensor, "n c"]]:
        """Token grid (n 1 16 16 3); the clip vector is the flattened grid."""
        cells = F.adaptive_avg_pool2d(clips.mean(2), CELLS)
        grid = cells.permute(0, 2, 3, 1)[:, None]
        return grid, grid.flatten(1)


class MotionEnergy(nn.Module):
    """The absolute change of gray level between consecutive frames, averaged in 8 x 8 cells, relative to its mean.

    For 16 frames these are 15 x 64 values in temporal order. Dividing by the mean change of the clip (plus `QUIET`)
    removes its contrast, the absolute value removes the sign of the change.
    """

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> tuple[Float[Tensor, "n f h w 1"], Float[Tensor, "n c"]]:
        """Token grid (n t-1 8 8 1); the clip vector is the flattened grid, time slowest."""
        if clips.shape[2] < 2:
            raise UserError("pixels/motion-energy needs clips of at least two frames")
        change = clips.mean(1).diff(dim=1).abs()
        cells = F.adaptive_avg_pool2d(change, CHANGING_CELLS)
        grid = (cells / (cells.mean((1, 2, 3), keepdim=True) + QUIET))[..., None]
        return grid, grid.flatten(1)
