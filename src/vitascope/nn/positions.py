"""Fixed position tables of video transformers, computed for the grid at hand."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Grid: TypeAlias = tuple[int, int, int]
"""Tokens along time, height and width."""
Positions: TypeAlias = Literal["sincos3d_d4", "sinusoid_flat"]


@lru_cache(maxsize=16)
def table(kind: Positions, grid: Grid, dim: int, device: torch.device) -> Float[Tensor, "l dim"]:
    """One row a token in (t, h, w) order, float32 of float64 arithmetic; every call gives the same tensor."""
    rows = {"sincos3d_d4": sincos3d_d4, "sinusoid_flat": sinusoid_flat}[kind](grid, dim)
    return rows.float().to(device)


def sincos3d_d4(grid: Grid, dim: int) -> Float[Tensor, "l dim"]:
    """A quarter of the channels for time, 3/8 for the column, 3/8 for the row, in this order (MVD, InternVideo2)."""
    if dim % 16:
        raise ValueError(f"sincos3d_d4 divides channels by 16; {dim} is not a multiple")
    t, h, w = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    blocks = ((t, dim // 4), (w, 3 * dim // 8), (h, 3 * dim // 8))
    return torch.cat([_sincos(place.flatten(), size) for place, size in blocks], dim=1)


def sinusoid_flat(grid: Grid, dim: int) -> Float[Tensor, "l dim"]:
    """Sine and cosine interleaved over the flat token number, time slowest (VideoMAE, UMT, OmniMAE)."""
    place = torch.arange(grid[0] * grid[1] * grid[2], dtype=torch.float64)
    channel = torch.arange(dim, dtype=torch.float64)
    angle = place[:, None] / 10000 ** (2 * (channel // 2) / dim)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())


def _sincos(place: Float[Tensor, "l"], size: int) -> Float[Tensor, "l size"]:
    """All sines, then all cosines, of frequencies falling from 1 to nearly 1/10000."""
    frequency = 10000.0 ** -(torch.arange(size // 2, dtype=torch.float64) / (size // 2))
    angle = place[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)
