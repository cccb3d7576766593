"""Measures: numbers that tell whether features still say different things of different clips."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitascope.core.errors import UserError


def effective_rank(features: Float[Tensor, "n d"]) -> float:
    """How many directions the features of `n` clips fill, 1 to min(n - 1, d).

    Exp of the entropy of the singular values of the centered features, divided by their sum (Roy and Vetterli, "The
    effective rank", EUSIPCO 2007, definition 1). 0 where all features are alike: then there is no direction at all.
    """
    values = features.detach().cpu().double()
    if not torch.isfinite(values).all():
        return float("nan")
    spectrum = torch.linalg.svdvals(values - values.mean(0))
    # what rounding leaves of equal features points in all directions, and would pass for a full rank
    noise = torch.finfo(features.dtype).eps * sum(size**-0.5 for size in values.shape)
    spectrum = torch.where(spectrum > noise * values.norm(), spectrum, 0.0)
    if not spectrum.any():
        return 0.0
    return float(torch.special.entr(spectrum / spectrum.sum()).sum().exp())


def token_std(tokens: Float[Tensor, "n *l d"]) -> float:
    """How much unit-length tokens differ between clips: 1 where they point everywhere alike, 0 where all are one.

    Standard deviation over the clips at each place and channel, averaged, times sqrt(d) (Chen and He, "Exploring
    simple Siamese representation learning", CVPR 2021, figure 2). Over clips, since tokens that differ from place to
    place but not from clip to clip have collapsed as well.
    """
    units = _units(tokens)
    return float(units.std(0, correction=0).mean() * units.shape[-1] ** 0.5)


def similarity(targets: Float[Tensor, "n *l d"]) -> float:
    """Mean cosine between the targets of different clips at the same place: 1 where all clips have the same.

    ValueError for fewer than two clips.
    """
    if len(targets) < 2:
        raise UserError(f"similarity is between different clips, {len(targets)} given; measure on two or more")
    units, n = _units(targets), len(targets)
    # |sum of u_i|^2 holds every pair twice, and every clip with itself once
    together = units.sum(0).square().sum(-1) - units.square().sum(-1).sum(0)
    return float(together.mean() / (n * (n - 1)))


def _units(tokens: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """Of length one, in double precision: sums over many tokens keep their digits."""
    return F.normalize(tokens.detach().to(torch.float64 if tokens.device.type != "mps" else torch.float32), dim=-1)
