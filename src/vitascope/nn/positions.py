"""Positions of tokens: fixed tables, tables brought to another grid, and rotary angles."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.nn.attention import Rope
from vitascope.nn.configs.video_vit import Grid


def table(kind: str, grid: Grid, dim: int) -> Float[Tensor, "l dim"]:
    """One row a token in (t, h, w) order, float32 of float64 arithmetic."""
    return {"sincos3d_d4": sincos3d_d4, "sinusoid_flat": sinusoid_flat}[kind](grid, dim).float()


def sincos3d_d4(grid: Grid, dim: int) -> Float[Tensor, "l dim"]:
    """A quarter of the channels for time, 3/8 for the column, 3/8 for the row, in this order (MVD, InternVideo2)."""
    if dim % 16:
        raise UserError(f"sincos3d_d4 divides channels by 16; {dim} is not a multiple")
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


def linear_bicubic(rows: Float[Tensor, "1 l d"], old: Grid, new: Grid) -> Float[Tensor, "1 m d"]:
    """A table at another grid: linear over time, then bicubic over space (UMT, InternVideo2, VideoMAE)."""
    if old[0] != new[0]:
        lines = rows.unflatten(1, (old[0], -1)).permute(0, 2, 3, 1).flatten(0, 1)
        lines = F.interpolate(lines, size=new[0], mode="linear")
        rows = lines.unflatten(0, (1, -1)).permute(0, 3, 1, 2).flatten(1, 2)
    if old[1:] != new[1:]:
        planes = rows.unflatten(1, (new[0], *old[1:])).flatten(0, 1).permute(0, 3, 1, 2)
        planes = F.interpolate(planes, size=new[1:], mode="bicubic", align_corners=False)
        rows = planes.permute(0, 2, 3, 1).flatten(0, 2)[None]
    return rows


def trilinear(rows: Float[Tensor, "1 l d"], old: Grid, new: Grid) -> Float[Tensor, "1 m d"]:
    """A table at another grid, all axes in one go (V-JEPA).

    By sizes: factors, as the official code has them, round 11 * (15 / 11) down to 14.
    """
    volume = rows.unflatten(1, old).permute(0, 4, 1, 2, 3)
    return F.interpolate(volume, size=new, mode="trilinear").flatten(2).transpose(1, 2)


RESAMPLE = {"linear_bicubic": linear_bicubic, "trilinear": trilinear}


def rope3d(grid: Grid, width: int, *, tiled: bool, scaled_to: int = 0) -> Rope:
    """Angles of a head of `width` channels: three even shares for time, row and column, the rest not turned.

    V-JEPA 2 tiles the frequencies against pairs of neighbors, which is kept as its weights know it; V-JEPA 2.1
    repeats each for its pair, and scales rows and columns to those of a grid of `scaled_to`.
    """
    share = 2 * (width // 3 // 2)
    frequency = 10000.0 ** -(torch.arange(share // 2, dtype=torch.float64) / (share // 2))
    frequency = frequency.repeat(2) if tiled else frequency.repeat_interleave(2)
    scale = [1.0] + [(scaled_to - 1) / (n - 1) if scaled_to and n > 1 else 1.0 for n in grid[1:]]
    axes = [torch.arange(n, dtype=torch.float64) * s for n, s in zip(grid, scale, strict=True)]
    places = torch.meshgrid(*axes, indexing="ij")
    angle = torch.cat([place.reshape(-1, 1) * frequency for place in places], dim=1)
    angle = F.pad(angle, (0, width - 3 * share))
    return Rope(angle.cos().float(), angle.sin().float(), pairs=True)
