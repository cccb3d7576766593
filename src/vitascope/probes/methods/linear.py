"""Linear probing: softmax regression on frozen features, one or a grid at once; features stored or encoded anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Literal, TypeAlias, get_args

import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.registry import unknown_variant
from vitascope.features.base import READ, Features, Rows, alike, finite, means, rows, truths
from vitascope.features.view import View
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.classification.base import Classification, check_classes, pairs
from vitascope.probes.classification.model_selection import SHARE, Select, Sides, check_select, chosen, held_out, top_1
from vitascope.probes.classification.softmax import (
    Heads,
    Scaling,
    Start,
    Steps,
    begin,
    gradient,
    learning_rate,
    probabilities,
    solve,
    standard,
)
from vitascope.probes.classification.twlv1_table4 import ASPECT, LINEAR
from vitascope.probes.training.stacked_optimizer import Stacked
from vitascope.sampling.augmentations import drawing
from vitascope.sampling.names import MultiClip, Uniform

Array: TypeAlias = NDArray[Any]
Optimizer: TypeAlias = Literal["sgd", "adam", "adamw", "lars", "lbfgs"]

_WHOLE = View(Uniform())
_CLIPS = View(MultiClip(2.0))


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Classification):
    """Logits = W x + b on frozen vectors, softmax cross-entropy; the state after the last epoch is what counts.

    The default has table 4's numbers for Kinetics-400 with SGD, and what the table leaves open chosen so that sets of
    thirty and of a million videos, of features of any scale, are served alike: the vectors are shifted and scaled
    column by column (see `standard`; with W and b it is still a linear map of the features), nothing is dropped, and
    small sets get `min_steps` steps. A training view that draws gives one draw of each video an epoch: a stored one
    in turn, or one encoded anew.
    """

    name: str = "linear"
    version: int = 2
    train: View = _WHOLE
    test: View = _WHOLE
    optimizer: Optimizer = "sgd"
    lr: float = 0.1
    """Its largest value; `lbfgs` has none."""
    weight_decay: float = 0.0
    """Added to each gradient as weight_decay * parameter; `adamw` takes it off the weights, `lbfgs` spares the bias."""
    lrs: tuple[float, ...] = ()
    """Several, each with each of `weight_decays`: trained at once on one pass over the features; `select` chooses."""
    weight_decays: tuple[float, ...] = ()
    select: Select = "held-out"
    """By which side one of several is chosen; what is held out, a tenth of the training side, is not trained on."""
    momentum: float = 0.9
    """Of `sgd` and `lars`."""
    epochs: int = 150
    """Of `lbfgs`: iterations at most, each over all examples."""
    warmup: int = 10
    """Epochs in which the learning rate rises linearly; afterwards it falls to 0 along a cosine."""
    min_steps: int = 300
    """Epochs, warm-up among them, are lengthened in proportion until they make so many steps."""
    batch: int = 1024
    drop_last: bool = False
    """Leave out the incomplete batch at the end of each epoch."""
    standardize: bool = True
    """Shift and scale by `standard` of the training vectors."""
    init: Start = "zeros"
    """Of the weights and biases: 0, or uniform within dim**-0.5 of it."""
    mean: bool = False
    """Of an example with several vectors take the mean; else train on one drawn anew each epoch (`lbfgs`: on all, an
    example weighing 1) and average the class probabilities of all in test."""

    def __post_init__(self) -> None:
        for word, kind in ((self.optimizer, Optimizer), (self.init, Start)):
            if word not in get_args(kind):
                raise UserError(f"{self.name}: {word!r} is none of {', '.join(get_args(kind))}")
        check_select(self.name, self.select)
        above = {"lr": min([self.lr, *self.lrs]), "epochs": self.epochs, "batch": self.batch}
        wrong = [f"{name} = {value}" for name, value in above.items() if not value > 0]
        wrong += [f"weight_decay = {d}" for d in (self.weight_decay, *self.weight_decays) if d < 0]
        wrong += [f"warmup = {self.warmup}"] if not 0 <= self.warmup <= self.epochs else []
        wrong += [f"momentum = {self.momentum}"] if not 0 <= self.momentum < 1 else []
        if wrong:
            raise UserError(
                f"{self.name}: {', '.join(wrong)}: lr, epochs and batch must be positive, weight_decay not negative, "
                "warmup between 0 and epochs, momentum below 1"
            )
        if self.optimizer == "lbfgs" and not self.train.stored:
            raise UserError(f"{self.name}: lbfgs is for stored sets; say draws:8 for stored augmentation")

    @property
    def random(self) -> bool:
        """Whether anything is drawn from the seed."""
        return self.optimizer != "lbfgs" or len(self.grid) > 1

    @property
    def grid(self) -> list[dict[str, float]]:
        """The settings that are trained at once."""
        return pairs(self.lrs or (self.lr,), self.weight_decays or (self.weight_decay,))

    def on(self, family: str) -> LinearProbe:
        """`linear/paper` with the column of the table that is of the data set; any other as it is."""
        return _paper(family, self.name) if self.name == "linear/paper" and family in LINEAR else self

    def passes(self, train: int) -> int:
        """How often `train` examples are read."""
        return self._epochs(train)[0]

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Of forward and backward products, and of the test."""
        trained = 2 * load.train * self._epochs(load.train)[0]
        return float((trained + load.test * load.test_clips) * load.dim * load.classes * len(self.grid))

    def predict(self, train: Features[int], test: Features[int], *, seed: int) -> PredictionList[Float[Array, "c"]]:
        """Class probabilities of each test example, float32; `seed` sets the start and the order of the batches."""
        answers, data = truths(test), _Data(self, train, seed)
        theirs = alike(data.sample, means(test) if self.mean else rows(test))[1]
        fit = self._solve if self.optimizer == "lbfgs" else self._fit
        heads, about = fit(data, seed)
        grid = self.grid
        if len(grid) == 1:
            found = probabilities(heads, theirs, data.scaling, len(test.examples))
            return PredictionList(found.cpu().numpy(), **about)
        if self.select == "held-out":
            best, told = chosen(grid, self.select, data.held_scores(heads))
            found = probabilities(heads.one(best), theirs, data.scaling, len(test.examples))
        else:
            each = [probabilities(heads.one(i), theirs, data.scaling, len(test.examples)) for i in range(len(grid))]
            best, told = chosen(grid, self.select, [top_1(p, answers) for p in each])
            found = each[best]
        return PredictionList(found.cpu().numpy(), **about, **told)

    def _epochs(self, examples: int) -> tuple[int, int]:
        """Epochs, and steps of one."""
        if self.optimizer == "lbfgs":
            return 1, self.epochs
        batch = self.batch if self.drop_last else min(self.batch, examples)
        an_epoch = examples // batch if self.drop_last else -(-examples // batch)
        if not an_epoch:
            raise UserError(
                f"{self.name} drops incomplete batches: {examples} training examples make none of {batch}, so nothing "
                "would be trained; use `linear`, which drops none"
            )
        return max(self.epochs, -(-self.min_steps // an_epoch)), an_epoch

    def _fit(self, data: _Data, seed: int) -> tuple[Heads, dict[str, Any]]:
        """The heads after all epochs of mini-batches; every example once an epoch, unless `drop_last`."""
        epochs, an_epoch = self._epochs(len(data.sides.train))
        steps, warm = epochs * an_epoch, round(self.warmup * epochs / self.epochs) * an_epoch
        generator = torch.Generator().manual_seed(seed)
        where, dim = data.sample.values.device, data.sample.values.shape[1]
        heads = begin(len(self.grid), len(data.train.classes), dim, self.init, generator)
        heads = Heads(*(p.to(where).requires_grad_() for p in heads))
        optimizer = Stacked(heads, self.optimizer, momentum=self.momentum)  # type: ignore[arg-type]  # lbfgs is solved
        lr, decay = (torch.tensor([g[k] for g in self.grid], dtype=torch.float64) for k in ("lr", "weight_decay"))
        with torch.no_grad():
            for step, (values, labels) in zip(range(steps), data.steps(an_epoch, generator), strict=False):
                heads.weight.grad, heads.bias.grad = gradient(heads, data.scaling(values), labels)
                optimizer.step(lr * learning_rate(step, steps, warm, 1.0), decay)
        lost = optimizer.lost
        if len(lost) == len(self.grid):
            raise UserError(f"{self.name}: the gradient is not finite from step {min(lost.values())} on; lower lr")
        diverged = {"diverged": [self.grid[i] for i in lost]} if lost else {}
        return Heads(*(p.detach() for p in heads)), diverged

    def _solve(self, data: _Data, seed: int) -> tuple[Heads, dict[str, Any]]:
        """One solution for each weight decay."""
        del seed  # nothing is drawn
        ours = data.of(data.sides.train)
        classes = len(data.train.classes)
        heads = [
            solve(ours, data.labels, classes, decay=g["weight_decay"], most=self.epochs, scaling=data.scaling)
            for g in self.grid
        ]
        return Heads(torch.cat([h.weight for h in heads]), torch.cat([h.bias for h in heads])), {}


class _Data:
    """The training side: in memory, or read anew at every epoch; who is trained on, and who is held out."""

    def __init__(self, how: LinearProbe, train: Features[int], seed: int) -> None:
        self.how, self.train = how, train
        self.labels = truths(train)
        everyone = list(range(len(train.examples)))
        check_classes(how.name, train)
        choosing = len(how.grid) > 1 and how.select == "held-out"
        self.sides = held_out(train.examples, seed) if choosing else Sides(everyone, [])
        self.memory = (means if how.mean else rows)(train) if how.train.stored else None
        self.sample = self.memory or self.draw(self.sides.train if how.standardize else everyone[:SHARE], 0)
        """Training vectors, all of them or enough to know their size."""
        self.labels = self.labels.to(self.sample.values.device)
        self.scaling = standard(self.sample.values) if how.standardize else Scaling.none(self.sample.values)

    def draw(self, chosen: Sequence[int], number: int) -> Rows:
        """One vector of each of the `chosen` examples that can be read."""
        read = (finite(self.train, b) for b in self.train.batches(READ, chosen, number))
        found = [(b.values[:, 0].float(), b.owner) for b in read]
        if not found:
            raise UserError(f"{self.how.name}: none of {len(chosen)} training videos could be encoded")
        return Rows(torch.cat([v for v, _ in found]), torch.cat([o for _, o in found]).to(found[0][0].device))

    def of(self, chosen: Sequence[int]) -> Rows:
        """All vectors of the `chosen` examples, from memory."""
        assert self.memory is not None
        among = torch.isin(self.memory.owner, torch.tensor(chosen, device=self.memory.owner.device))
        return Rows(self.memory.values[among], self.memory.owner[among])

    def held_scores(self, heads: Heads) -> list[float]:
        """Top-1 of every head on what is held out."""
        held = self.sides.held
        drawn = self.memory is None or drawing(self.how.train.sampler) is not None
        ours = self.draw(held, 0) if drawn else self.of(held)
        each = (probabilities(heads.one(i), ours, self.scaling, len(self.labels)) for i in range(len(heads.bias)))
        return [top_1(p[held], self.labels[held]) for p in each]

    def steps(self, an_epoch: int, generator: torch.Generator) -> Steps:
        """Batches without end: every example trained on once an epoch, in a new order."""
        chosen = torch.tensor(self.sides.train)
        batch = min(self.how.batch, len(chosen))
        for epoch in count():
            order = chosen[torch.randperm(len(chosen), generator=generator)]
            if self.memory is None:
                found = self.train.batches(batch, order.tolist(), epoch)
                whole = (b for b in found if len(b.owner) == batch or not self.how.drop_last)
                yield from ((finite(self.train, b).values[:, 0].float(), self.labels[b.owner]) for b in whole)
                continue
            vectors = self._vectors(self.memory, order, epoch, generator)
            for start in range(0, an_epoch * batch, batch):
                part = slice(start, start + batch)
                yield self.memory.values[vectors[part]], self.labels[order[part]]

    def _vectors(
        self, memory: Rows, order: Int[Tensor, "e"], epoch: int, generator: torch.Generator
    ) -> Int[Tensor, "e"]:
        """One vector of each example: the draw whose turn it is, or any of its clips."""
        counts = torch.bincount(memory.owner, minlength=len(self.labels)).cpu()
        first = (counts.cumsum(0) - counts)[order]
        if drawing(self.how.train.sampler):
            return first + epoch % counts[order]
        if len(memory.owner) == len(counts):
            return first
        return first + (torch.rand(len(order), generator=generator) * counts[order]).long()


def _paper(family: str, name: str) -> LinearProbe:
    column = LINEAR[family]
    plain = LinearProbe(name=name, standardize=False, init="uniform", min_steps=0)
    return replace(plain, **column.training, **column.views(ASPECT["linear"], "clip"))


_PUBLISHED = LinearProbe(
    name="linear/published",
    optimizer="adam",
    lr=1e-3,
    drop_last=True,
    standardize=False,
    init="uniform",
    min_steps=0,
    train=_CLIPS,
    test=_CLIPS,
    mean=True,
)
_LBFGS = LinearProbe(name="linear/lbfgs", optimizer="lbfgs", weight_decay=0.01, epochs=500, warmup=0, min_steps=0)
PRESETS: Mapping[str, LinearProbe] = {
    "": LinearProbe(),
    "grid": LinearProbe(name="linear/grid", lrs=(0.01, 0.03, 0.1, 0.3, 1.0), weight_decays=(0.0, 1e-4, 1e-3, 1e-2)),
    "adamw": LinearProbe(name="linear/adamw", optimizer="adamw", lr=1e-3, weight_decay=0.01),
    "lars": LinearProbe(name="linear/lars", optimizer="lars", lr=1.0),
    "lbfgs": _LBFGS,
    "lbfgs-grid": replace(_LBFGS, name="linear/lbfgs-grid", weight_decays=(1e-4, 1e-3, 1e-2, 1e-1, 1.0)),
    "paper": _paper("k400", "linear/paper"),
    **{f"paper-{family}": _paper(family, f"linear/paper-{family}") for family in LINEAR},
    "published": _PUBLISHED,
    "published-clip": replace(_PUBLISHED, name="linear/published-clip", mean=False),
}
VARIANTS: dict[str, str] = {
    "": "SGD as in table 4 of the TWLV-I report (Kinetics-400), but standardized features and at least 300 steps",
    "grid": "the same with five learning rates times four weight decays at once, one chosen on held-out training data",
    "adamw": "the same with AdamW",
    "lars": "the same with LARS",
    "lbfgs": "L2-regularized logistic regression solved on all examples at once; draws nothing",
    "lbfgs-grid": "the same with five weight decays, one chosen on held-out training data",
    "paper": "table 4 to the letter, the column of the data set: random crops encoded anew at every epoch, 3 x n views",
    "paper-k400": "the Kinetics-400 column, on any data set; +draws:8 stores eight random crops a video instead",
    "paper-mit": "the Moments-in-Time column",
    "paper-ssv2": "the Something-Something-v2 column",
    "paper-diving48": "the Diving-48 column",
    "paper-epic": "the EPIC-Kitchens column",
    "paper-in1k": "the ImageNet-1K column",
    "published": "the TWLV-I repository's offline protocol on mean clip vectors: Adam, incomplete batches dropped",
    "published-clip": "the same on clips: one drawn an epoch, probabilities averaged in test",
}
"""What follows `linear/` (nothing: plain `linear`), and what it is."""


def build(variant: str = "") -> LinearProbe:
    """The probe called `linear/variant`, or `linear`."""
    known = PRESETS.get(variant)
    if known is None:
        raise unknown_variant("probes", "linear", variant, VARIANTS)
    return known
