"""Training of many classifiers at once: P stacked heads, each with its own learning rate and weight decay.

Parameters are stacked along their first axis (see `attentive_pooler`). Every head is trained exactly as by an optimizer
of its own; one that diverges, as some in a sweep will, keeps its last finite state and does not affect the others.

Updates are torch's functions, not its classes: making one of these imports torch's compiler, for a second of processor
time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd


def head_losses(logits: Float[Tensor, "p b c"], labels: Int[Tensor, "b"] | Float[Tensor, "b c"]) -> Float[Tensor, "p"]:
    """Return the mean cross-entropy of each head; the gradient of their sum is, for each head, that of its own loss.

    With 0 or 1 for every class in place of a label, the loss is the sum of the binary cross-entropies of all classes.
    """
    if labels.ndim == 2:
        each = labels.expand(len(logits), -1, -1)
        return F.binary_cross_entropy_with_logits(logits.float(), each, reduction="none").sum(2).mean(1)
    losses = F.cross_entropy(logits.flatten(0, 1).float(), labels.repeat(len(logits)), reduction="none")
    return losses.view(len(logits), -1).mean(1)


class _Rates(NamedTuple):
    """What a step is scaled by."""

    lr: float
    decay: float
    momentum: float
    """Of SGD."""


def _sgd(parameters: list[Tensor], gradients: list[Tensor], kept: Sequence[list[Tensor]], rates: _Rates) -> None:
    """Take a step of SGD; `kept` holds the momentum of each parameter, and nothing before its first step."""
    buffers = [own[0] if own else None for own in kept]
    sgd(
        parameters,
        gradients,
        buffers,
        fused=True,
        lr=rates.lr,
        weight_decay=rates.decay,
        momentum=rates.momentum,
        dampening=0.0,
        nesterov=False,
        maximize=False,
    )
    for own, buffer in zip(kept, buffers, strict=True):
        own[:] = [] if buffer is None else [buffer]


def _adam(
    parameters: list[Tensor], gradients: list[Tensor], kept: Sequence[list[Tensor]], rates: _Rates, *, decoupled: bool
) -> None:
    """Take a step of Adam; `kept` holds both means of each parameter and its number of steps."""
    for own, p in zip(kept, parameters, strict=True):
        if not own:
            own += [torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), dtype=torch.float32, device=p.device)]
    means, squares, steps = (list(part) for part in zip(*kept, strict=True))
    adam(
        parameters,
        gradients,
        means,
        squares,
        [],
        steps,
        fused=True,
        lr=rates.lr,
        weight_decay=rates.decay,
        decoupled_weight_decay=decoupled,
        beta1=0.9,
        beta2=0.999,
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    )


OptimizerName: TypeAlias = Literal["adamw", "adam", "sgd", "lars"]
UPDATES: dict[OptimizerName, Callable[..., None]] = {
    "adamw": partial(_adam, decoupled=True),
    "adam": partial(_adam, decoupled=False),
    "sgd": _sgd,
    "lars": _sgd,
}
"""Adam has betas 0.9 and 0.999 and epsilon 1e-8. `adamw` decouples weight decay, the others add it to the gradient.
Momentum has no dampening. `lars` is SGD on gradients scaled by the function `lars`."""
TRUST_COEFFICIENT = 0.001
"""LARS: ratio of the norm of a scaled gradient to the norm of its weight matrix."""


class StackedOptimizer:
    """P optimizers in one, one for each head; the parameters must stay on their current device.

    An update takes the slice of each head of every parameter, so that it reads and writes each number once and needs no
    memory besides the optimizer state.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        kind: OptimizerName,
        *,
        no_decay_bias: bool = False,
        clip_grad_norm: float | None = None,
        momentum: float = 0.9,
    ) -> None:
        """`no_decay_bias`: exempt biases and other vectors from weight decay. `momentum`: of `sgd` and `lars`.

        `clip_grad_norm`: maximum gradient norm of a head.
        """
        self.parameters = [p for p in parameters if p.requires_grad]
        self.count = len(self.parameters[0])
        self.kind, self.clip_grad_norm, self.momentum = kind, clip_grad_norm, momentum
        self.steps = 0
        """Steps taken so far."""
        self.diverged: dict[int, int] = {}
        """{head: step} of heads that diverged: the step (from 1) whose gradient was not finite; they stop before it."""
        self.slices = [[p.detach()[head] for p in self.parameters] for head in range(self.count)]
        self.exempt = [no_decay_bias and p.ndim <= 1 for p in self.slices[0]]
        self.kept: list[list[list[Tensor]]] = [[[] for _ in own] for own in self.slices]
        """What the optimizer keeps, by head and parameter."""

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer state, the step count and the diverged heads."""
        return {"kept": self.kept, "taken": self.steps, "lost": self.diverged}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore such a state."""
        for own, parts, slices in zip(self.kept, state["kept"], self.slices, strict=True):
            own[:] = [[t.to(p.device) for t in kept] for kept, p in zip(parts, slices, strict=True)]
        self.steps, self.diverged = int(state["taken"]), dict(state["lost"])

    @torch.no_grad()
    def step(self, lr: Float[Tensor, "p"], decay: Float[Tensor, "p"]) -> None:
        """Update every head by its gradients and clear them; `lr` and `decay` hold one value per head.

        Pass float64, so that rates are exact, as Python floats are for torch's own optimizers.
        """
        self.steps += 1
        gradients = {i: p.grad for i, p in enumerate(self.parameters) if p.grad is not None}
        self._check_gradients(list(gradients.values()))
        if self.kind == "lars":
            for i, gradient in gradients.items():
                lars(self.parameters[i], gradient, decay)
            decay = torch.zeros_like(decay)
        for head in range(self.count):
            if head not in self.diverged:
                self._update(head, gradients, lr=float(lr[head]), decay=float(decay[head]))
        for p in self.parameters:
            p.grad = None

    def _update(self, head: int, gradients: dict[int, Tensor], *, lr: float, decay: float) -> None:
        """Update the parameters of a head that have a gradient; those that have none yet begin when they get one."""
        slices, kept = self.slices[head], self.kept[head]
        begun = [bool(own) for own in kept]
        for alike in product((False, True), (False, True)):
            chosen = [i for i in gradients if (self.exempt[i], begun[i]) == alike]
            if chosen:
                UPDATES[self.kind](
                    [slices[i] for i in chosen],
                    [gradients[i][head] for i in chosen],
                    [kept[i] for i in chosen],
                    _Rates(lr, 0.0 if alike[0] else decay, self.momentum),
                )

    def _check_gradients(self, gradients: list[Tensor]) -> None:
        """Stop heads whose gradient is not finite; clip the gradients of the others."""
        norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]).norm(dim=0)
        for head, norm in enumerate(norms.tolist()):
            if not math.isfinite(norm):
                self.diverged.setdefault(head, self.steps)
        if self.clip_grad_norm is not None:
            factor = (self.clip_grad_norm / (norms + 1e-6)).clamp(max=1.0)
            for g in gradients:
                g.mul_(_per_head(factor, g))


def lars(weights: Float[Tensor, "p *s"], gradient: Float[Tensor, "p *s"], decay: Float[Tensor, "p"]) -> None:
    """Add weight decay to the gradient and scale it to the norm 0.001 |w|, head by head, in place; vectors are skipped.

    You et al. 2017 (arXiv 1708.03888), in the form of MoCo v3 and MAE: the norm includes the decay, and nothing is
    scaled where weights or gradient are 0.
    """
    if weights.ndim <= 2:
        return
    gradient.addcmul_(weights, _per_head(decay, weights))
    own, norm = (torch.linalg.vector_norm(x.flatten(1), dim=1) for x in (weights, gradient))
    gradient.mul_(_per_head(torch.where((own > 0) & (norm > 0), TRUST_COEFFICIENT * own / norm, 1.0), gradient))


def _per_head(values: Float[Tensor, "p"], like: Float[Tensor, "p *s"]) -> Float[Tensor, "p *o"]:
    """Reshape `values` to broadcast against `like` head by head."""
    return values.to(like).view(-1, *[1] * (like.ndim - 1))
