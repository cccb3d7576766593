"""Measures of feature collapse: effective rank, token deviation, and similarity between clips."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitascope.core.errors import UserError


def effective_rank(features: Float[Tensor, "n d"]) -> float:
    """Effective number of dimensions spanned by the features of `n` clips, 1 to min(n - 1, d).

    Exp of the entropy of the singular values of the centered features, divided by their sum (Roy and Vetterli, "The
    effective rank", EUSIPCO 2007, definition 1). 0 if all features are equal; NaN if any is not finite.
    """
    values = features.detach().cpu().double()
    if not torch.isfinite(values).all():
        return float("nan")
    spectrum = torch.linalg.svdvals(values - values.mean(0))
    # rounding errors of equal features point in all directions and would look like full rank
    noise = torch.finfo(features.dtype).eps * sum(size**-0.5 for size in values.shape)
    spectrum = torch.where(spectrum > noise * values.norm(), spectrum, 0.0)
    if not spectrum.any():
        return 0.0
    return float(torch.special.entr(spectrum / spectrum.sum()).sum().exp())


def token_std(tokens: Float[Tensor, "n *l d"]) -> float:
    """Deviation of unit-length tokens between clips: 1 if their directions are uniform, 0 if all are equal.

    Standard deviation over the clips at each position and channel, averaged, times sqrt(d) (Chen and He, "Exploring
    simple Siamese representation learning", CVPR 2021, figure 2). Over clips, because tokens that differ
    between positions but not between clips have collapsed as well.
    """
    units = _units(tokens)
    return float(units.std(0, correction=0).mean() * units.shape[-1] ** 0.5)


def similarity(targets: Float[Tensor, "n *l d"]) -> float:
    """Mean cosine similarity between the targets of different clips at the same position: 1 if all are equal.

    Raises UserError for fewer than two clips.
    """
    if len(targets) < 2:
        raise UserError(f"similarity compares different clips; it needs at least two, not {len(targets)}")
    units, n = _units(targets), len(targets)
    # |sum of u_i|^2 contains every pair twice and every clip with itself once
    pairs = units.sum(0).square().sum(-1) - units.square().sum(-1).sum(0)
    return float(pairs.mean() / (n * (n - 1)))


def _units(tokens: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """Normalize to unit length in double precision, so that sums over many tokens stay accurate."""
    return F.normalize(tokens.detach().to(torch.float64 if tokens.device.type != "mps" else torch.float32), dim=-1)
