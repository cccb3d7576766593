"""Linear probing: one softmax regression on frozen features, trained from tensors in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from vitascope.catalogue import unknown
from vitascope.features import Features, Rows, alike, means, rows, truths
from vitascope.metrics import accuracy
from vitascope.probe import View
from vitascope.sampling import MultiClip, Uniform

Array: TypeAlias = NDArray[Any]
Optimiser: TypeAlias = Literal["sgd", "adam", "lbfgs"]
Start: TypeAlias = Literal["zeros", "uniform"]

_WHOLE = View(Uniform())
_CLIPS = View(MultiClip(2.0))

CHUNK = 4096
"""Vectors whose class scores are held at once."""


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Logits = W x + b on frozen vectors, softmax cross-entropy; the state after the last epoch is what counts.

    The default has table 4's numbers for Kinetics-400 with SGD, and what the table leaves open chosen so that sets of
    thirty and of a million videos, of features of any scale, are served alike: the vectors are shifted and scaled
    column by column (see `standard`; with W and b it is still a linear map of the features), nothing is dropped, and
    small sets get `min_steps` steps. Training sees vectors as they are stored, so no augmentation.
    """

    name: str = "linear"
    version: int = 1
    train: View = _WHOLE
    test: View = _WHOLE
    optimiser: Optimiser = "sgd"
    lr: float = 0.1
    """Its largest value; `lbfgs` has none."""
    weight_decay: float = 0.0
    """Added to each gradient as weight_decay * parameter; `lbfgs` spares the bias."""
    momentum: float = 0.9
    """Of `sgd`."""
    epochs: int = 150
    """Of `lbfgs`: iterations at most, each over all examples."""
    warmup: int = 10
    """Epochs in which the learning rate rises linearly; afterwards it falls to 0 along a cosine."""
    min_steps: int = 300
    """Epochs, warm-up among them, are lengthened in proportion until they make so many steps."""
    batch: int = 1024
    drop_last: bool = False
    """Leave out the incomplete batch at the end of each epoch."""
    standardise: bool = True
    """Shift and scale by `standard` of the training vectors."""
    start: Start = "zeros"
    """Of the weights and biases: 0, or uniform within dim**-0.5 of it."""
    mean: bool = False
    """Of an example with several vectors take the mean; else train on one drawn anew each epoch (`lbfgs`: on all, an
    example weighing 1) and average the class probabilities of all in test."""

    def __post_init__(self) -> None:
        for word, kind in ((self.optimiser, Optimiser), (self.start, Start)):
            if word not in get_args(kind):
                raise ValueError(f"{self.name}: {word!r} is none of {', '.join(get_args(kind))}")
        least = {"lr": self.lr, "epochs": self.epochs, "batch": self.batch}
        wrong = [f"{name} = {value}" for name, value in least.items() if not value > 0]
        if wrong or self.weight_decay < 0 or not 0 <= self.warmup <= self.epochs or not 0 <= self.momentum < 1:
            raise ValueError(
                f"{self.name}: {', '.join(wrong) or self}: lr, epochs and batch must be positive, weight_decay not "
                "negative, warmup between 0 and epochs, momentum below 1"
            )

    @property
    def random(self) -> bool:
        """Whether anything is drawn from the seed."""
        return self.optimiser != "lbfgs"

    def predict(self, train: Features[int], test: Features[int], *, seed: int) -> list[Float[Array, "c"]]:
        """Class probabilities of each test example, float32; `seed` sets the start and the order of the batches."""
        read = means if self.mean else rows
        ours, theirs = alike(read(train), read(test))
        labels = truths(train).to(ours.values.device)
        if int(labels.min()) == int(labels.max()):
            only = train.classes[int(labels[0])]
            raise ValueError(f"{self.name}: all {len(labels)} training examples are {only!r}; give it two classes")
        scaling = standard(ours.values) if self.standardise else Scaling.none(ours.values)
        fit = fit_lbfgs if self.optimiser == "lbfgs" else fit_steps
        head = fit(ours, labels, len(train.classes), self, scaling=scaling, seed=seed)
        return list(probabilities(head, theirs, scaling).cpu().numpy())

    def score(self, predictions: Sequence[Array] | Array, truth: Sequence[int]) -> dict[str, float]:
        """Top-1 and, of more than five classes, top-5, percent."""
        return accuracy.top_1_and_5(predictions, truth)

    def outcomes(self, predictions: Sequence[Array] | Array, truth: Sequence[int]) -> list[float]:
        """100 for each example whose class is predicted, else 0."""
        return accuracy.outcomes(predictions, truth)


PAPER: Mapping[str, Mapping[str, float]] = {
    "k400": {"lr": 0.1, "epochs": 150, "warmup": 10, "batch": 1024},
    "mit": {"lr": 0.1, "epochs": 50, "warmup": 10, "batch": 1024},
    "ssv2": {"lr": 0.075, "epochs": 50, "warmup": 10, "batch": 1024},
    "dv48": {"lr": 0.02, "epochs": 300, "warmup": 10, "batch": 1024},
    "ek": {"lr": 0.1, "epochs": 150, "warmup": 10, "batch": 1024},
    "in1k": {"lr": 0.1, "epochs": 90, "warmup": 0, "batch": 4096},
}
"""The LP columns of the report's table 4; weight decay is 0 everywhere, the optimiser is not given."""


def _paper(dataset: str, name: str) -> Linear:
    plain = Linear(name=name, standardise=False, start="uniform", min_steps=0)
    return replace(plain, **PAPER[dataset])  # type: ignore[arg-type]  # the table's integers are integers


_PUBLISHED = Linear(
    name="linear/published",
    optimiser="adam",
    lr=1e-3,
    drop_last=True,
    standardise=False,
    start="uniform",
    min_steps=0,
    train=_CLIPS,
    test=_CLIPS,
    mean=True,
)
PRESETS = {
    "": Linear(),
    "lbfgs": Linear(name="linear/lbfgs", optimiser="lbfgs", weight_decay=0.01, epochs=500, warmup=0, min_steps=0),
    "paper": _paper("k400", "linear/paper"),
    **{f"paper-{d}": _paper(d, f"linear/paper-{d}") for d in PAPER if d != "k400"},
    "published": _PUBLISHED,
    "published-clip": replace(_PUBLISHED, name="linear/published-clip", mean=False),
}
VARIANTS: dict[str, str] = {
    "": "SGD as in table 4 of the TWLV-I report (Kinetics-400), but standardised features and at least 300 steps",
    "lbfgs": "L2-regularised logistic regression solved on all examples at once; draws nothing",
    "paper": "table 4 to the letter, the Kinetics-400 column; no augmentation, as vectors are stored",
    "paper-mit": "the same, the Moments-in-Time column",
    "paper-ssv2": "the same, the Something-Something-v2 column",
    "paper-dv48": "the same, the Diving-48 column",
    "paper-ek": "the same, the EPIC-Kitchens column",
    "paper-in1k": "the same, the ImageNet-1K column",
    "published": "the TWLV-I repository's offline protocol on mean clip vectors: Adam, incomplete batches dropped",
    "published-clip": "the same on clips: one drawn an epoch, probabilities averaged in test",
}
"""What follows `linear/` (nothing: plain `linear`), and what it is."""


def build(variant: str = "") -> Linear:
    """The probe called `linear/variant`, or `linear`."""
    known = PRESETS.get(variant)
    if known is None:
        raise unknown("probes", f"linear/{variant}")
    return known


class Head(NamedTuple):
    """A linear classifier of scaled vectors."""

    weight: Float[Tensor, "c d"]
    bias: Float[Tensor, "c"]


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

    The first makes a few columns of huge numbers no longer drown the others, as plain standardising does; the second
    keeps columns of hardly any variance from becoming noise as loud as the rest, as plain standardising would.
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


def probabilities(head: Head, test: Rows, scaling: Scaling) -> Float[Tensor, "e c"]:
    """Softmax of each vector, then the mean over the vectors of each example."""
    parts = [
        torch.addmm(head.bias, scaling(part.clone()), head.weight.T).softmax(dim=1)
        for part in torch.split(test.values, CHUNK)
    ]
    mean: Tensor = torch.segment_reduce(torch.cat(parts), "mean", lengths=torch.bincount(test.owner))
    return mean


def learning_rate(step: int, steps: int, warm: int, peak: float) -> float:
    """Of `step` (from 0) of `steps`: linear up to `peak` over `warm` steps, then half a cosine down to 0."""
    if step < warm:
        return peak * (step + 1) / warm
    return 0.5 * peak * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def fit_steps(train: Rows, labels: Int[Tensor, "e"], classes: int, how: Linear, *, scaling: Scaling, seed: int) -> Head:
    """The head after all epochs of mini-batches; every example once an epoch, unless `how.drop_last`."""
    batch = how.batch if how.drop_last else min(how.batch, len(labels))
    an_epoch = len(labels) // batch if how.drop_last else -(-len(labels) // batch)
    if not an_epoch:
        raise ValueError(
            f"{how.name} drops incomplete batches: {len(labels)} training examples make none of {batch}, so nothing "
            "would be trained; use `linear`, which drops none"
        )
    epochs = max(how.epochs, -(-how.min_steps // an_epoch))
    steps, warm = epochs * an_epoch, round(how.warmup * epochs / how.epochs) * an_epoch
    generator = torch.Generator().manual_seed(seed)
    head = _start(train.values, classes, how.start, generator)
    update = (_adam if how.optimiser == "adam" else _sgd)(head, how)
    examples = _epochs(train.owner, generator)
    for step in range(steps):
        at = step % an_epoch * batch
        if at == 0:
            vectors, owners = next(examples)
        slope = gradient(head, scaling(train.values[vectors[at : at + batch]]), labels[owners[at : at + batch]])
        update(slope, learning_rate(step, steps, warm, how.lr))
    return head


def gradient(head: Head, values: Float[Tensor, "b d"], labels: Int[Tensor, "b"]) -> Head:
    """Of the mean softmax cross-entropy, by weight and bias."""
    error = torch.addmm(head.bias, values, head.weight.T).softmax(dim=1)
    error[torch.arange(len(labels), device=labels.device), labels] -= 1
    error /= len(labels)
    return Head(error.T @ values, error.sum(dim=0))


def _start(values: Float[Tensor, "n d"], classes: int, kind: Start, generator: torch.Generator) -> Head:
    weight, bias = torch.zeros(classes, values.shape[1]), torch.zeros(classes)
    if kind == "uniform":
        bound = values.shape[1] ** -0.5
        weight.uniform_(-bound, bound, generator=generator)
        bias.uniform_(-bound, bound, generator=generator)
    return Head(weight.to(values.device), bias.to(values.device))


def _epochs(owner: Int[Tensor, "r"], generator: torch.Generator) -> Iterator[tuple[Int[Tensor, "e"], Int[Tensor, "e"]]]:
    """For ever: one vector of each example, and whose it is, in a new order."""
    counts = torch.bincount(owner).cpu()
    first = counts.cumsum(0) - counts
    while True:
        order = torch.randperm(len(counts), generator=generator)
        chosen = first[order]
        if len(owner) > len(counts):
            chosen += (torch.rand(len(counts), generator=generator) * counts[order]).long()
        yield chosen.to(owner.device), order.to(owner.device)


def _sgd(head: Head, how: Linear) -> Callable[[Head, float], None]:
    """Momentum without damping: v = momentum v + g, p = p - lr v."""
    speed = Head(*map(torch.zeros_like, head))

    def update(slope: Head, lr: float) -> None:
        for p, v, g in zip(head, speed, slope, strict=True):
            v.mul_(how.momentum).add_(g).add_(p, alpha=how.weight_decay)
            p.sub_(v, alpha=lr)

    return update


def _adam(head: Head, how: Linear) -> Callable[[Head, float], None]:
    """Adam (Kingma and Ba 2015, algorithm 1), betas 0.9 and 0.999, epsilon 1e-8."""
    mean, square = Head(*map(torch.zeros_like, head)), Head(*map(torch.zeros_like, head))
    steps = 0

    def update(slope: Head, lr: float) -> None:
        nonlocal steps
        steps += 1
        for p, m, s, g in zip(head, mean, square, slope, strict=True):
            g.add_(p, alpha=how.weight_decay)
            m.lerp_(g, 0.1)
            s.mul_(0.999).addcmul_(g, g, value=0.001)
            p.addcdiv_(m, (s / (1 - 0.999**steps)).sqrt_().add_(1e-8), value=-lr / (1 - 0.9**steps))

    return update


def fit_lbfgs(train: Rows, labels: Int[Tensor, "e"], classes: int, how: Linear, *, scaling: Scaling, seed: int) -> Head:
    """The head that minimises mean cross-entropy + weight_decay / 2 |W|^2, from zero; nothing is drawn from `seed`."""
    from scipy.optimize import minimize

    values = scaling(train.values.clone())
    importance = 1 / torch.bincount(train.owner)[train.owner] / len(labels)
    targets = labels[train.owner]
    dim = values.shape[1]

    def head_of(flat: NDArray[np.float64]) -> Head:
        both = torch.from_numpy(flat).to(values.device, torch.float32).view(classes, dim + 1)
        return Head(both[:, :dim], both[:, dim])

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        head = head_of(flat)
        slope = torch.zeros(classes, dim + 1, dtype=torch.float64, device=values.device)
        slope[:, :dim] = how.weight_decay * head.weight
        total = 0.5 * how.weight_decay * float(head.weight.double().square().sum())
        for start in range(0, len(values), CHUNK):
            x, y, w = (v[start : start + CHUNK] for v in (values, targets, importance))
            logs = torch.addmm(head.bias, x, head.weight.T).log_softmax(dim=1)
            own = torch.arange(len(y), device=y.device), y
            total -= float((w * logs[own]).double().sum())
            error = logs.exp_()
            error[own] -= 1
            error *= w[:, None]
            slope[:, :dim] += error.T @ x
            slope[:, dim] += error.sum(dim=0)
        return total, slope.flatten().cpu().numpy()

    limits = {"maxiter": how.epochs, "ftol": 1e-9, "gtol": 1e-6}
    found = minimize(loss, np.zeros(classes * (dim + 1)), jac=True, method="L-BFGS-B", options=limits)
    return head_of(found.x)
