"""Softmax classifiers of vectors: many at once by mini-batches, or one solved; what linear probing trains."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from vitascope.features.base import Rows

Start: TypeAlias = Literal["zeros", "uniform"]
CHUNK = 4096
"""Vectors whose class scores are held at once."""
Steps: TypeAlias = Iterator[tuple[Float[Tensor, "b d"], Int[Tensor, "b"]]]
"""Batches of vectors and their labels, without end."""


class Heads(NamedTuple):
    """P linear classifiers of scaled vectors."""

    weight: Float[Tensor, "p c d"]
    bias: Float[Tensor, "p c"]

    def one(self, i: int) -> Heads:
        """Classifier `i` alone."""
        return Heads(self.weight[i : i + 1], self.bias[i : i + 1])


class Scaling(NamedTuple):
    """x becomes (x - shift) / scale."""

    shift: Float[Tensor, "d"]
    scale: Float[Tensor, "d"]

    @classmethod
    def none(cls, values: Float[Tensor, "n d"]) -> Scaling:
        """x stays x."""
        return cls(torch.zeros_like(values[0]), torch.ones_like(values[0]))

    def __call__(self, values: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """`values`, overwritten."""
        return values.sub_(self.shift).div_(self.scale)


def standard(values: Float[Tensor, "n d"]) -> Scaling:
    """The mean of each column, and sqrt(its variance + the median variance of all).

    The first makes a few columns of huge numbers no longer drown the others, as plain standardizing does; the second
    keeps columns of hardly any variance from becoming noise as loud as the rest, as plain standardizing would.
    """
    total, square = torch.zeros(2, values.shape[1], dtype=torch.float64, device=values.device)
    for part in torch.split(values, CHUNK):
        total += part.double().sum(0)
    mean = total / len(values)
    for part in torch.split(values, CHUNK):
        square += (part.double() - mean).square().sum(0)
    variance = square / len(values)
    # float32 knows no better: this much is what rounding leaves of a constant
    variance[variance <= (1e-6 * mean).square()] = 0
    scale = (variance + variance.median()).sqrt()
    return Scaling(mean.float(), scale.where(scale > 0, torch.ones_like(scale)).float())


def begin(count: int, classes: int, dim: int, kind: Start, generator: torch.Generator) -> Heads:
    """`count` equal classifiers, so that a grid compares its settings and not its starts."""
    weight, bias = torch.zeros(1, classes, dim), torch.zeros(1, classes)
    if kind == "uniform":
        bound = dim**-0.5
        weight.uniform_(-bound, bound, generator=generator)
        bias.uniform_(-bound, bound, generator=generator)
    return Heads(weight.repeat(count, 1, 1), bias.repeat(count, 1))


def logits(heads: Heads, values: Float[Tensor, "b d"]) -> Float[Tensor, "b p c"]:
    """Of every classifier, in one product."""
    flat = torch.addmm(heads.bias.flatten(), values, heads.weight.flatten(0, 1).T)
    return flat.view(len(values), *heads.bias.shape)


def gradient(heads: Heads, values: Float[Tensor, "b d"], labels: Int[Tensor, "b"]) -> Heads:
    """Of each classifier's mean softmax cross-entropy, by weight and bias."""
    error = logits(heads, values).softmax(dim=2)
    error[torch.arange(len(labels), device=labels.device), :, labels] -= 1
    error /= len(labels)
    return Heads((error.flatten(1).T @ values).view(heads.weight.shape), error.sum(dim=0))


def probabilities(head: Heads, test: Rows, scaling: Scaling, examples: int) -> Float[Tensor, "e c"]:
    """Softmax of each vector by one classifier, then the mean over those of each example; NaN where it has none."""
    parts = [logits(head, scaling(part.clone()))[:, 0].softmax(dim=1) for part in torch.split(test.values, CHUNK)]
    counts = torch.bincount(test.owner, minlength=examples)
    mean: Tensor = torch.segment_reduce(torch.cat(parts), "mean", lengths=counts)
    return mean


def learning_rate(step: int, steps: int, warm: int, peak: float) -> float:
    """Of `step` (from 0) of `steps`: linear up to `peak` over `warm` steps, then half a cosine down to 0."""
    if step < warm:
        return peak * (step + 1) / warm
    return 0.5 * peak * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def solve(train: Rows, labels: Int[Tensor, "e"], classes: int, *, decay: float, most: int, scaling: Scaling) -> Heads:
    """The classifier that minimizes mean cross-entropy + decay / 2 |W|^2, from zero, by L-BFGS in `most` iterations.

    An example weighs the same however many vectors it has.
    """
    from scipy.optimize import minimize

    values = scaling(train.values.clone())
    counts = torch.bincount(train.owner)
    importance = 1 / counts[train.owner] / int((counts > 0).sum())
    targets = labels[train.owner]
    dim = values.shape[1]

    def head_of(flat: NDArray[np.float64]) -> Heads:
        both = torch.from_numpy(flat).to(values.device, torch.float32).view(1, classes, dim + 1)
        return Heads(both[..., :dim], both[..., dim])

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        head = head_of(flat)
        slope = torch.zeros(classes, dim + 1, dtype=torch.float64, device=values.device)
        slope[:, :dim] = decay * head.weight[0]
        total = 0.5 * decay * float(head.weight.double().square().sum())
        for start in range(0, len(values), CHUNK):
            x, y, w = (v[start : start + CHUNK] for v in (values, targets, importance))
            logs = logits(head, x)[:, 0].log_softmax(dim=1)
            own = torch.arange(len(y), device=y.device), y
            total -= float((w * logs[own]).double().sum())
            error = logs.exp_()
            error[own] -= 1
            error *= w[:, None]
            slope[:, :dim] += error.T @ x
            slope[:, dim] += error.sum(dim=0)
        return total, slope.flatten().cpu().numpy()

    limits = {"maxiter": most, "ftol": 1e-9, "gtol": 1e-6}
    found = minimize(loss, np.zeros(classes * (dim + 1)), jac=True, method="L-BFGS-B", options=limits)
    return head_of(found.x)
