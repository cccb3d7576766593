"""Optical flow between successive frames by least squares: a target that holds motion and nothing of what moves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

DAMPING = 1e-5
"""Added to both squared slopes: where a window has no contrast (units of brightness 0 to 1), its flow tends to 0."""


def flow(
    frames: Float[Tensor, "n t y x"], *, cell: int = 4, blur: float = 1.0, window: int = 3, limit: float = 6.0
) -> Float[Tensor, "n t-1 h w 2"]:
    """Right and down, pixels a frame, of each cell of `cell` x `cell` pixels between a frame and the next.

    After Lucas and Kanade (1981): in a window of `window` x `window` cells (an odd number) round the cell, the shift
    that explains the change between the two frames best by the slopes of their mean, both blurred by a Gaussian of
    `blur` pixels; at most `limit` either way. Small shifts are what it sees, and it is exact for them: coarser motion
    wants more blur. Backwards in time it is its own negative.

    ValueError where frames are not whole cells, the window is even, or the blur is none.
    """
    height, width = frames.shape[2:]
    if cell < 1 or height % cell or width % cell or min(height, width) < 3:
        raise ValueError(
            f"flow: frames of {height} x {width} are no whole cells of {cell} pixels; give a cell that divides both"
        )
    if window < 1 or window % 2 == 0 or not blur > 0:
        raise ValueError(f"flow: a window of {window} cells and a blur of {blur:g}; an odd number, and above 0")
    with torch.autocast(frames.device.type, enabled=False):  # bfloat16 does not know what moves by a tenth of a pixel
        smooth = _blurred(frames.detach().float(), blur)
        change, mean = smooth.diff(dim=1), (smooth[:, 1:] + smooth[:, :-1]) / 2
        right, down = _inner_slope(mean, 3), _inner_slope(mean, 2)
        products = torch.stack([right * right, down * down, right * down, right * change, down * change], dim=2)
        sums = F.avg_pool2d(products.flatten(0, 1), cell)
        if window > 1:
            sums = F.avg_pool2d(sums, window, stride=1, padding=window // 2, count_include_pad=False)
        xx, yy, xy, xt, yt = sums.unflatten(0, change.shape[:2]).unbind(2)
        xx, yy = xx + DAMPING, yy + DAMPING
        shift: Tensor = torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], dim=-1) / (xx * yy - xy * xy)[..., None]
        return shift.clamp_(-limit, limit)


def _blurred(frames: Float[Tensor, "n t y x"], blur: float) -> Float[Tensor, "n t y x"]:
    """By a Gaussian cut off at three standard deviations, the edge held beyond itself."""
    reach = round(3 * blur)
    weights = torch.arange(-reach, reach + 1, device=frames.device).float().div_(blur).square_().mul_(-0.5).exp_()
    weights /= weights.sum()
    padded = F.pad(frames.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    across = F.conv2d(padded, weights.view(1, 1, 1, -1))
    return F.conv2d(across, weights.view(1, 1, -1, 1))[:, 0].view_as(frames)


def _inner_slope(values: Float[Tensor, "n t y x"], dim: int) -> Float[Tensor, "n t y x"]:
    """Central differences along an axis; none at its ends, where what comes in was not to be seen."""
    size = values.shape[dim]
    slope = torch.zeros_like(values)
    before, after = values.narrow(dim, 0, size - 2), values.narrow(dim, 2, size - 2)
    torch.sub(after, before, out=slope.narrow(dim, 1, size - 2))
    return slope.mul_(0.5)
