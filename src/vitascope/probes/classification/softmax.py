"""Linear classifiers on vectors, for linear probing: many trained at once by mini-batches, or one by L-BFGS."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vitascope.features.base import FlatVectors
from vitascope.probes.classification.multilabel import Targets, logit_errors, loss_and_errors, probabilities_of

Init: TypeAlias = Literal["zeros", "uniform"]
CHUNK = 4096
"""Vectors whose logits are computed at once."""
Batches: TypeAlias = Iterator[tuple[Float[Tensor, "b d"], Targets]]
"""Endless batches of vectors and their targets."""


class LinearHeads(NamedTuple):
    """P linear classifiers of standardized vectors."""

    weight: Float[Tensor, "p c d"]
    bias: Float[Tensor, "p c"]

    def select(self, i: int) -> LinearHeads:
        """Return classifier `i` alone."""
        return LinearHeads(self.weight[i : i + 1], self.bias[i : i + 1])


class Scaling(NamedTuple):
    """Standardization: x becomes (x - shift) / scale."""

    shift: Float[Tensor, "d"]
    scale: Float[Tensor, "d"]

    @classmethod
    def none(cls, values: Float[Tensor, "n d"]) -> Scaling:
        """Return the identity."""
        zeros = torch.zeros_like(values[0], dtype=torch.float32)
        return cls(zeros, zeros + 1)

    def __call__(self, values: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return standardized `values` of any precision in single precision."""
        return (values - self.shift).div_(self.scale)


def fit_scaling(values: Float[Tensor, "n d"]) -> Scaling:
    """Return the mean of each column and sqrt(its variance + the median variance of all columns) as shift and scale.

    As in plain standardization, a few columns of large values no longer dominate. The median term keeps columns of
    almost no variance from being scaled up to noise.
    """
    total, square = torch.zeros(2, values.shape[1], dtype=torch.float64, device=values.device)
    for part in torch.split(values, CHUNK):
        total += part.double().sum(0)
    mean = total / len(values)
    for part in torch.split(values, CHUNK):
        square += (part.double() - mean).square().sum(0)
    variance = square / len(values)
    # the rounding error of a constant column in float32
    variance[variance <= (1e-6 * mean).square()] = 0
    scale = (variance + variance.median()).sqrt()
    return Scaling(mean.float(), scale.where(scale > 0, torch.ones_like(scale)).float())


def init_heads(count: int, classes: int, dim: int, init: Init, generator: torch.Generator) -> LinearHeads:
    """Return `count` identical classifiers, so that candidates differ in their settings, not in initialization."""
    weight, bias = torch.zeros(1, classes, dim), torch.zeros(1, classes)
    if init == "uniform":
        bound = dim**-0.5
        weight.uniform_(-bound, bound, generator=generator)
        bias.uniform_(-bound, bound, generator=generator)
    return LinearHeads(weight.repeat(count, 1, 1), bias.repeat(count, 1))


def logits(heads: LinearHeads, values: Float[Tensor, "b d"]) -> Float[Tensor, "b p c"]:
    """Return the logits of every classifier, by one matrix product."""
    flat = torch.addmm(heads.bias.flatten(), values, heads.weight.flatten(0, 1).T)
    return flat.view(len(values), *heads.bias.shape)


def gradient(heads: LinearHeads, values: Float[Tensor, "b d"], targets: Targets) -> LinearHeads:
    """Return the gradient of the mean loss of each classifier: softmax cross-entropy, or, multi-label, binary ones."""
    error = logit_errors(logits(heads, values), targets)
    error /= len(targets)
    return LinearHeads((error.flatten(1).T @ values).view(heads.weight.shape), error.sum(dim=0))


def probabilities(
    head: LinearHeads, test: FlatVectors, scaling: Scaling, examples: int, *, multilabel: bool = False
) -> Float[Tensor, "e c"]:
    """Return class probabilities by one classifier, averaged over the vectors of each example; NaN if it has none."""
    each = (logits(head, scaling(part))[:, 0] for part in torch.split(test.values, CHUNK))
    parts = [probabilities_of(part, multilabel=multilabel) for part in each]
    counts = torch.bincount(test.owner, minlength=examples)
    mean: Tensor = torch.segment_reduce(torch.cat(parts), "mean", lengths=counts)
    return mean


def learning_rate(step: int, steps: int, warm: int, peak: float) -> float:
    """Return the rate at `step` (from 0): linear warm-up to `peak` over `warm` steps, then a half cosine down to 0."""
    if step < warm:
        return peak * (step + 1) / warm
    return 0.5 * peak * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def fit_lbfgs(
    train: FlatVectors, labels: Targets, classes: int, *, decay: float, max_iterations: int, scaling: Scaling
) -> LinearHeads:
    """Minimize the loss of `gradient` + decay / 2 |W|^2 from zero by L-BFGS, in at most `max_iterations` iterations.

    Every example has the same weight, however many vectors it has.
    """
    from scipy.optimize import minimize

    values = train.values
    counts = torch.bincount(train.owner)
    importance = 1 / counts[train.owner] / int((counts > 0).sum())
    targets = labels[train.owner]
    dim = values.shape[1]

    def head_of(flat: NDArray[np.float64]) -> LinearHeads:
        parameters = torch.from_numpy(flat).to(values.device, torch.float32).view(1, classes, dim + 1)
        return LinearHeads(parameters[..., :dim], parameters[..., dim])

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        head = head_of(flat)
        gradient = torch.zeros(classes, dim + 1, dtype=torch.float64, device=values.device)
        gradient[:, :dim] = decay * head.weight[0]
        total = 0.5 * decay * float(head.weight.double().square().sum())
        for start in range(0, len(values), CHUNK):
            x, y, w = (v[start : start + CHUNK] for v in (values, targets, importance))
            x = scaling(x)
            losses, error = loss_and_errors(logits(head, x)[:, 0], y)
            total += float((w * losses).double().sum())
            error *= w[:, None]
            gradient[:, :dim] += error.T @ x
            gradient[:, dim] += error.sum(dim=0)
        return total, gradient.flatten().cpu().numpy()

    limits = {"maxiter": max_iterations, "ftol": 1e-9, "gtol": 1e-6}
    result = minimize(loss, np.zeros(classes * (dim + 1)), jac=True, method="L-BFGS-B", options=limits)
    return head_of(result.x)
