"""Overlap of boxes, differentiable."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def corners(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Boxes given by center and size as left, top, right and bottom."""
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([center - half, center + half], -1)


def centered(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Boxes given by left, top, right and bottom as center and size."""
    first, last = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(first + last) / 2, last - first], -1)


def overlaps(a: Float[Tensor, "*#n 4"], b: Float[Tensor, "*#n 4"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """IoU and generalized IoU (Rezatofighi et al. 2019) of boxes given by their corners; shapes are broadcast.

    The generalized IoU is the IoU minus the share of the smallest enclosing box that neither covers, -1 to 1.
    """
    shared = _area(torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:]))
    union = _area(a[..., :2], a[..., 2:]) + _area(b[..., :2], b[..., 2:]) - shared
    hull = _area(torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:]))
    iou = shared / union.clamp(min=EPSILON)
    return iou, iou - (hull - union) / hull.clamp(min=EPSILON)


EPSILON = 1e-9
"""Least area divided by, of a frame of area 1."""


def _area(first: Float[Tensor, "*n 2"], last: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
    return (last - first).clamp(min=0).prod(-1)
