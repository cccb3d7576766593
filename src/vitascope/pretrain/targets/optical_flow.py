"""Optical flow between successive frames by least squares: a target that contains motion but not appearance."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.pretrain.constants import constant

DAMPING = 1e-4
"""Added to both mean squared gradients (brightness 0 to 1), so that windows without contrast tend to zero flow."""


def flow(
    frames: Float[Tensor, "n t y x"], *, cell: int = 4, blur: float = 1.0, window: int = 3, limit: float = 6.0
) -> Float[Tensor, "n t-1 h w 2"]:
    """Optical flow (right, down) in pixels per frame, for each cell of `cell` x `cell` pixels and pair of frames.

    After Lucas and Kanade (1981): the shift that best explains, in a window of `window` x `window` cells (odd), the
    difference of the two frames by the gradients of their mean; frames are blurred by a Gaussian of `blur` pixels, and
    shifts are limited to `limit`. Exact for small shifts; larger motion needs more blur. Reversing time negates it.

    Raises UserError if cells do not divide the frames, the window is even, or the blur is not positive.
    """
    height, width = frames.shape[2:]
    if cell < 1 or height % cell or width % cell or min(height, width) < 3:
        raise UserError(
            f"flow: cells of {cell} pixels do not divide frames of {height} x {width}; use a size that divides both"
        )
    if window < 1 or window % 2 == 0 or not blur > 0:
        raise UserError(f"flow: the window must be odd and the blur above 0, not {window} and {blur:g}")
    with torch.autocast(frames.device.type, enabled=False):  # bfloat16 cannot resolve shifts of a tenth of a pixel
        values = frames.detach().float()
        smooth = _along(values, *(constant(values, _gaussian, size, blur) for size in (height, width)))
        change, mean = smooth.diff(dim=1), (smooth[:, 1:] + smooth[:, :-1]) / 2
        right, down = _inner_slope(mean, 3), _inner_slope(mean, 2)
        products = (right * right, down * down, right * down, right * change, down * change)
        rows, columns = (constant(values, _windows, size, cell, window) for size in (height, width))
        xx, yy, xy, xt, yt = (_along(product, rows, columns) for product in products)
        xx, yy = xx + DAMPING, yy + DAMPING
        shift: Tensor = torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], dim=-1) / (xx * yy - xy * xy)[..., None]
        return shift.clamp_(-limit, limit)


def _along(
    images: Float[Tensor, "n t y x"], rows: Float[Tensor, "h y"], columns: Float[Tensor, "w x"]
) -> Float[Tensor, "n t h w"]:
    """Apply a matrix along each axis; many times faster than convolving or pooling a single channel."""
    return rows @ (images @ columns.T)


def _gaussian(size: int, blur: float) -> Float[Tensor, "{size} {size}"]:
    """Matrix of a one-dimensional Gaussian blur, truncated at three standard deviations, with replicated borders."""
    reach = round(3 * blur)
    steps = torch.arange(-reach, reach + 1)
    weights = steps.double().div_(blur).square_().mul_(-0.5).exp_()
    weights /= weights.sum()
    source = (torch.arange(size)[:, None] + steps).clamp_(0, size - 1)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, source, weights.expand(size, -1)).float()


def _windows(size: int, cell: int, window: int) -> Float[Tensor, "{size//cell} {size}"]:
    """Matrix that averages a line over windows of cells; windows are smaller at the ends."""
    count = size // cell
    near = (torch.arange(count)[:, None] - torch.arange(count)).abs() <= window // 2
    return (near / near.sum(1, keepdim=True)).repeat_interleave(cell, dim=1) / cell


def _inner_slope(values: Float[Tensor, "n t y x"], dim: int) -> Float[Tensor, "n t y x"]:
    """Central differences along an axis, zero at both ends, where content enters the frame."""
    size = values.shape[dim]
    slope = torch.zeros_like(values)
    before, after = values.narrow(dim, 0, size - 2), values.narrow(dim, 2, size - 2)
    torch.sub(after, before, out=slope.narrow(dim, 1, size - 2))
    return slope.mul_(0.5)
