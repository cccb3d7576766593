"""One step of an optimizer with clipped gradients."""

from __future__ import annotations

import math

import torch

from vitascope.core.errors import UserError
from vitascope.probes.training import resume


def clipped_step(
    optimizer: torch.optim.Optimizer, lr: float, *, max_norm: float, name: str, scratch: resume.Scratch
) -> None:
    """Update the weights at learning rate `lr`, the norm of all gradients clipped to `max_norm` (0: not clipped).

    Raises UserError where that norm is not finite; the saved state of the training is deleted then.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm or math.inf)
    if not norm.isfinite():
        resume.delete(scratch)  # the state is of no use
        raise UserError(f"{name}: gradient norm {float(norm)} at learning rate {lr:.3g}; lower lr")
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad()
