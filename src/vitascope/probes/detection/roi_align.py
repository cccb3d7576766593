"""RoIAlign: the features of a box as the averages of the cells of a grid laid over it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

EXACT = 1e-4
"""Feature cells by which a box may exceed a whole number of samples through rounding."""


def roi_align(
    features: Float[Tensor, "b c y x"], boxes: Float[Tensor, "n 4"], owner: Int[Tensor, "n"], cells: int
) -> Float[Tensor, "n c s s"]:
    """RoIAlign (He et al. 2017) of boxes given as fractions of the frame by their corners; `owner` is their image.

    A box is divided into cells x cells; each cell is the mean of bilinear samples, of which there are as many as
    feature cells within it, rounded up, and at least one, each way. That is torchvision's and detectron2's with
    `aligned=True` and `sampling_ratio=0`; a box without an area, which is all zero there, is its point here.
    """
    rows, columns = features.shape[-2:]
    x, across = _samples(boxes[:, 0], boxes[:, 2], columns, cells)
    y, down = _samples(boxes[:, 1], boxes[:, 3], rows, cells)
    points = torch.stack(torch.broadcast_tensors(x[:, None], y[:, :, None]), -1)
    # a feature is at the center of its cell, so that a fraction of the frame is the same fraction of the grid
    values = F.grid_sample(features[owner], 2 * points - 1, padding_mode="border", align_corners=False)
    weighted = values * (down[:, :, None] * across[:, None])[:, None]
    averaged: Tensor = weighted.unflatten(-1, (cells, -1)).sum(-1).unflatten(-2, (cells, -1)).sum(-2)
    return averaged


def _samples(
    first: Float[Tensor, "n"], last: Float[Tensor, "n"], length: int, cells: int
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """Positions of the samples of each cell along one side, and their weights; surplus ones weigh nothing."""
    count = ((last - first).detach() * length / cells - EXACT).ceil().clamp(min=1)[:, None, None]
    number = torch.arange(int(count.max()) if len(count) else 1, device=first.device)
    cell = torch.arange(cells, device=first.device)[:, None]
    position = first[:, None, None] + (last - first)[:, None, None] * (cell + (number + 0.5) / count) / cells
    weight = ((number < count) / count).expand_as(position)
    return position.flatten(1), weight.flatten(1)
