"""Position embeddings: fixed tables, resampling of tables, and rotary embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.nn.attention import Rope
from vitascope.nn.configs.video_vit import Grid


def table(kind: str, grid: Grid, dim: int) -> Float[Tensor, "l dim"]:
    """A fixed position table, one row per token in (t, h, w) order; float32, computed in float64."""
    return {"sincos3d_d4": sincos3d_d4, "sinusoid_flat": sinusoid_flat}[kind](grid, dim).float()


def sincos3d_d4(grid: Grid, dim: int) -> Float[Tensor, "l dim"]:
    """Sine-cosine table: 1/4 of the channels for time, 3/8 for the column, 3/8 for the row (MVD, InternVideo2)."""
    if dim % 16:
        raise UserError(f"sincos3d_d4 requires a width that is a multiple of 16, not {dim}")
    t, h, w = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    blocks = ((t, dim // 4), (w, 3 * dim // 8), (h, 3 * dim // 8))
    return torch.cat([_sincos(place.flatten(), size) for place, size in blocks], dim=1)


def sinusoid_flat(grid: Grid, dim: int) -> Float[Tensor, "l dim"]:
    """Interleaved sines and cosines of the flat token index, time slowest (VideoMAE, UMT, OmniMAE)."""
    place = torch.arange(grid[0] * grid[1] * grid[2], dtype=torch.float64)
    channel = torch.arange(dim, dtype=torch.float64)
    angle = place[:, None] / 10000 ** (2 * (channel // 2) / dim)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())


def _sincos(place: Float[Tensor, "l"], size: int) -> Float[Tensor, "l size"]:
    """All sines, then all cosines, with frequencies from 1 down to almost 1/10000."""
    frequency = 10000.0 ** -(torch.arange(size // 2, dtype=torch.float64) / (size // 2))
    angle = place[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def linear_bicubic(rows: Float[Tensor, "1 l d"], old: Grid, new: Grid) -> Float[Tensor, "1 m d"]:
    """Resample a table to another token grid: linear in time, then bicubic in space (UMT, InternVideo2, VideoMAE)."""
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
    """Resample a table to another token grid trilinearly (V-JEPA).

    The target size is given explicitly: with scale factors, as in the official code, 11 * (15 / 11) rounds down to 14.
    """
    volume = rows.unflatten(1, old).permute(0, 4, 1, 2, 3)
    return F.interpolate(volume, size=new, mode="trilinear").flatten(2).transpose(1, 2)


RESAMPLE = {"linear_bicubic": linear_bicubic, "trilinear": trilinear}


def rope3d(grid: Grid, width: int, *, tiled: bool, scaled_to: int = 0) -> Rope:
    """Rotary embedding for heads of `width` channels: equal shares for time, row and column, the rest unrotated.

    V-JEPA 2 tiles the frequencies although channels are paired with their neighbors (`tiled`); its weights rely on
    that. V-JEPA 2.1 repeats each frequency for its pair and scales rows and columns to a grid of side `scaled_to`.
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
