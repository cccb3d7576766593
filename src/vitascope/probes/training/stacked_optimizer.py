"""Training many classifiers at once: P stacked heads, each with a learning rate and a weight decay of its own.

Parameters are stacked on their first axis (`nn.pooler`); every head is trained as an optimizer of its own would train
it, and one that diverges, as some of a sweep will, is left as it is and does the others no harm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def losses(logits: Float[Tensor, "p b c"], labels: Int[Tensor, "b"]) -> Float[Tensor, "p"]:
    """Mean cross-entropy of each head; the gradient of their sum is to each head that of its own."""
    every = F.cross_entropy(logits.flatten(0, 1).float(), labels.repeat(len(logits)), reduction="none")
    return every.view(len(logits), -1).mean(1)


Kind: TypeAlias = Literal["adamw", "adam", "sgd", "lars"]
KINDS: dict[Kind, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "sgd": partial(torch.optim.SGD, lr=0.0, fused=True),
    "lars": partial(torch.optim.SGD, lr=0.0, fused=True),
}
"""Adam's betas are 0.9 and 0.999, its epsilon 1e-8; `adamw` takes decay off the weights, the others add it to the
gradient; momentum is without damping. `lars` is `sgd` on gradients that `lars` has scaled."""
TRUST = 0.001
"""LARS: norm of a matrix's scaled gradient over the matrix's own."""


class Stacked:
    """P optimizers of torch, one for each head; the parameters must stay on the device where they are now.

    Each head's slice of every parameter is a parameter to them, so that an update reads and writes each number once
    and needs no memory besides the optimizer's state.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        kind: Kind,
        *,
        no_decay_bias: bool = False,
        clip_grad_norm: float | None = None,
        momentum: float = 0.9,
    ) -> None:
        """`no_decay_bias`: no decay of biases and other vectors. `clip_grad_norm`: largest norm of a head's gradient; longer is cut.

        `momentum` is that of `sgd` and `lars`.
        """
        self.parameters = [p for p in parameters if p.requires_grad]
        self.count = len(self.parameters[0])
        self.kind, self.clip_grad_norm = kind, clip_grad_norm
        self.taken = 0
        """Steps so far."""
        self.lost: dict[int, int] = {}
        """Heads whose gradient was not finite, and at which step (from 1): they keep what they were before it."""
        self.slices = [[p.detach()[head] for p in self.parameters] for head in range(self.count)]
        decayed = [[p for p in own if p.ndim > 1 or not no_decay_bias] for own in self.slices]
        spared = [[p for p in own if p.ndim <= 1 and no_decay_bias] for own in self.slices]
        extra = {"momentum": momentum} if kind in ("sgd", "lars") else {}
        self.optimizer = KINDS[kind]([{"params": own} for own in (*decayed, *spared)], **extra)

    @property
    def alive(self) -> Bool[Tensor, "p"]:
        """The heads that are still trained."""
        return torch.tensor([head not in self.lost for head in range(self.count)])

    def state_dict(self) -> dict[str, Any]:
        """Of all of them, and who was given up."""
        return {"optimizer": self.optimizer.state_dict(), "taken": self.taken, "lost": self.lost}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Take on such a state."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.taken, self.lost = int(state["taken"]), dict(state["lost"])

    @torch.no_grad()
    def step(self, lr: Float[Tensor, "p"], decay: Float[Tensor, "p"]) -> None:
        """One update of every head by its gradients, which are used up; `lr` and `decay` have a number for each.

        In float64 these are what was meant to the last digit, as with torch's own optimizers.
        """
        self.taken += 1
        slopes = {i: p.grad for i, p in enumerate(self.parameters) if p.grad is not None}
        self._judge(list(slopes.values()))
        if self.kind == "lars":
            for i, slope in slopes.items():
                lars(self.parameters[i], slope, decay)
            decay = torch.zeros_like(decay)
        for j, group in enumerate(self.optimizer.param_groups):
            head, spared = j % self.count, j >= self.count
            group["lr"], group["weight_decay"] = float(lr[head]), 0.0 if spared else float(decay[head])
        for head, own in enumerate(self.slices):
            for i, slope in slopes.items():
                own[i].grad = None if head in self.lost else slope[head]
        self.optimizer.step()
        for p in (*self.parameters, *(p for own in self.slices for p in own)):
            p.grad = None

    def _judge(self, slopes: list[Tensor]) -> None:
        """Give up heads whose gradient is not finite; clip the others'."""
        norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in slopes]).norm(dim=0)
        for head, norm in enumerate(norms.tolist()):
            if not math.isfinite(norm):
                self.lost.setdefault(head, self.taken)
        if self.clip_grad_norm is not None:
            share = (self.clip_grad_norm / (norms + 1e-6)).clamp(max=1.0)
            for g in slopes:
                g.mul_(_per_head(share, g))


def lars(weights: Float[Tensor, "p *s"], slope: Float[Tensor, "p *s"], decay: Float[Tensor, "p"]) -> None:
    """Decay added to `slope`, then `slope` scaled to the norm 0.001 |w|, head by head, in place; vectors stay.

    You et al. 2017 (arXiv 1708.03888) in the form of MoCo v3 and MAE: the decay is within the norm, and where weights
    or gradient are 0 nothing is scaled.
    """
    if weights.ndim <= 2:
        return
    slope.addcmul_(weights, _per_head(decay, weights))
    own, norm = (torch.linalg.vector_norm(x.flatten(1), dim=1) for x in (weights, slope))
    slope.mul_(_per_head(torch.where((own > 0) & (norm > 0), TRUST * own / norm, 1.0), slope))


def _per_head(values: Float[Tensor, "p"], like: Float[Tensor, "p *s"]) -> Float[Tensor, "p *o"]:
    """`values` in the form that multiplies `like` head by head."""
    return values.to(like).view(-1, *[1] * (like.ndim - 1))
