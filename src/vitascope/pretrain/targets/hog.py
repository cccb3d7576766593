"""Histograms of oriented gradients, as in MaskFeat, of frames or of their differences in time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitascope.core.errors import UserError

PIXELS_PER_CHUNK = 1 << 17
"""Pixels processed at a time on the CPU, so that intermediate results stay in cache (up to three times faster)."""


def hog(
    frames: Float[Tensor, "n t y x"], *, cell: int = 8, bins: int = 9, signed: bool = False, floor: float = 0.01
) -> Float[Tensor, "n t h w {bins}"]:
    """Histogram of gradient directions in each cell of `cell` x `cell` pixels, as a vector of norm at most 1.

    After MaskFeat (Wei et al. 2022, section 3.2), for one channel: gradients are central differences (one-sided at the
    borders), and each pixel's magnitude is split linearly between the two nearest bins. Bin k is centered on the angle
    k * pi / bins from the x axis towards y (down) or, if `signed`, k * 2 pi / bins, which distinguishes light-to-dark
    from dark-to-light edges. Every cell is normalized separately, v / sqrt(|v|^2 + floor^2), which removes contrast;
    cells whose mean gradient is well below `floor` (units of `frames` per pixel; the default suits values of 0 to 1)
    tend to zero rather than to amplified noise. For motion, pass `frames.diff(dim=1)`. Computes in float32.

    Raises UserError if cells do not divide the frames, or for fewer than two pixels a side or two bins.
    """
    height, width = frames.shape[2:]
    if cell < 1 or height % cell or width % cell or min(height, width) < 2:
        raise UserError(
            f"hog: cells of {cell} pixels do not divide frames of {height} x {width}; use a size that divides both"
        )
    if bins < 2 or not floor > 0:
        raise UserError(f"hog: needs at least 2 bins and a floor above 0, not {bins} and {floor!r}")
    flat = frames.detach().float().flatten(0, 1)
    size = max(1, PIXELS_PER_CHUNK // (height * width)) if flat.device.type == "cpu" else max(1, len(flat))
    parts = [_histogram(piece, cell, bins=bins, signed=signed) for piece in flat.split(size)]
    histogram: Tensor = torch.cat(parts).unflatten(0, frames.shape[:2])
    return histogram * (histogram.square().sum(dim=-1, keepdim=True) + floor**2).rsqrt_()


def _histogram(frames: Float[Tensor, "f y x"], cell: int, *, bins: int, signed: bool) -> Float[Tensor, "f h w {bins}"]:
    """Mean gradient magnitude per direction bin and cell."""
    right, down = _slope(frames, 2), _slope(frames, 1)
    strength = torch.hypot(right, down)
    angle = torch.atan2(down, right).mul_(bins / (math.tau if signed else math.pi)).remainder_(bins)
    # one contiguous pass per bin is faster than scattering and needs no copy for all bins
    sums = [F.avg_pool2d(_part(angle, k, bins).mul_(strength)[:, None], cell) for k in range(bins)]
    return torch.stack(sums, dim=-1).squeeze(1)


def _part(angle: Float[Tensor, "f y x"], k: int, bins: int) -> Float[Tensor, "f y x"]:
    """Weight of bin `k`: 1 at its center, falling to 0 at its neighbors' centers; angles in bins, 0 to `bins`."""
    away = (angle - k).abs_()
    if k == 0:  # only the first bin has neighbors at both ends of the range
        away = torch.minimum(away, bins - away)
    return away.neg_().add_(1.0).clamp_(min=0.0)


def _slope(values: Float[Tensor, "f y x"], dim: int) -> Float[Tensor, "f y x"]:
    """Central differences along an axis, one-sided at both ends, so exact for linear ramps."""
    size = values.shape[dim]
    slope = torch.empty_like(values)
    torch.sub(values.narrow(dim, 2, size - 2), values.narrow(dim, 0, size - 2), out=slope.narrow(dim, 1, size - 2))
    slope.mul_(0.5)
    torch.sub(values.narrow(dim, 1, 1), values.narrow(dim, 0, 1), out=slope.narrow(dim, 0, 1))
    torch.sub(values.narrow(dim, size - 1, 1), values.narrow(dim, size - 2, 1), out=slope.narrow(dim, size - 1, 1))
    return slope
