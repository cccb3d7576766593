"""Time codes of attentive heads: a vector for each time step, added to the normalized tokens that attention reads.

The readout of 4DS adds a learned code between its layer norm and its keys and values (Carreira et al. 2024, arXiv
2412.15212). Without a code, attention reads its tokens as a set: of an encoder that encodes every frame alone, the
prediction then cannot depend on the order of frames.

A learned table starts from the sines, of the size of normalized tokens. That of 4DS starts from normal numbers with
standard deviation 0.02 and is trained for much longer: after the 300 steps of a probe on a small dataset such codes are
still too small to be told apart from the tokens, and the head has learned nothing of order.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitascope.nn.positions import sinusoid_flat

TimeCode: TypeAlias = Literal["none", "learned", "sine"]
"""No time code, a learned table, or the sines and cosines of Vaswani et al. 2017 (arXiv 1706.03762)."""


class TimeTable(nn.Module):
    """P tables with one code per time step; between two rows, codes are interpolated."""

    def __init__(self, count: int, rows: int, dim: int, *, fixed: bool) -> None:
        super().__init__()
        codes = sinusoid_flat((rows, 1, 1), dim).float().repeat(count, 1, 1)
        self.codes: Tensor
        if fixed:
            self.register_buffer("codes", codes)
        else:
            self.codes = nn.Parameter(codes)

    def weights(
        self, tokens: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None, steps: int
    ) -> Float[Tensor, "g n r"]:
        """Return the weights of the rows in the code of every token; `tokens` are of `steps` time steps, in order."""
        if mask is None:
            valid = torch.tensor([steps], device=tokens.device)
        else:
            valid = mask.unflatten(1, (steps, -1))[..., 0].sum(1)
        each = row_weights(valid, steps, self.codes.shape[1]).to(self.codes.dtype)
        return each.repeat_interleave(tokens.shape[1] // steps, 1)


def row_weights(valid: Tensor, steps: int, rows: int) -> Float[Tensor, "b s r"]:
    """Return the weights of the rows of a table in the code of each time step, of `valid` steps per example.

    As many steps as rows take one row each. Other numbers are interpolated linearly between the centers of equal parts,
    like a table of positions (`F.interpolate` without aligned corners). Steps beyond `valid` take the last row.
    """
    whole = 2 * valid[:, None].clamp(min=1)
    place = ((2 * torch.arange(steps, device=valid.device) + 1) * rows - whole // 2).clamp(min=0)
    below = (place // whole).clamp(max=rows - 1)
    above, share = (below + 1).clamp(max=rows - 1), (place % whole) / whole
    row = torch.arange(rows, device=valid.device)
    return (1 - share)[..., None] * (below[..., None] == row) + share[..., None] * (above[..., None] == row)
