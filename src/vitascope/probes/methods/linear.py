"""Linear probing: softmax regression on frozen features, stored or encoded live; one classifier or many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Annotated, Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.fields import BELOW_ONE, NOT_NEGATIVE, POSITIVE, check_fields
from vitascope.core.registry import unknown_variant
from vitascope.features.base import (
    READ_EXAMPLES,
    Features,
    FlatVectors,
    check_finite,
    check_same_shape,
    kept_means,
    kept_vectors,
)
from vitascope.features.view import View
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.classification.base import Classification, check_classes, lr_decay_pairs
from vitascope.probes.classification.model_selection import (
    HELD_OUT_ONE_IN,
    HeldOutSplit,
    Select,
    choose,
    held_out,
    selection_score,
)
from vitascope.probes.classification.multilabel import class_targets, is_multilabel
from vitascope.probes.classification.softmax import (
    Batches,
    Init,
    LinearHeads,
    Scaling,
    fit_lbfgs,
    fit_scaling,
    gradient,
    init_heads,
    learning_rate,
    probabilities,
)
from vitascope.probes.classification.twlv1_table4 import ASPECT, LINEAR
from vitascope.probes.training.stacked_optimizer import StackedOptimizer
from vitascope.sampling.augmentations import find_drawn
from vitascope.sampling.names import MultiClip, Uniform

Array: TypeAlias = NDArray[Any]
Optimizer: TypeAlias = Literal["sgd", "adam", "adamw", "lars", "lbfgs"]

_WHOLE = View(Uniform())
_CLIPS = View(MultiClip(2.0))


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Classification):
    """Logits = W x + b on frozen vectors, trained with softmax cross-entropy; the state after the last epoch is used.

    Where examples have several labels, with the sum of a binary cross-entropy per class.

    The default has the settings of table 4 for Kinetics-400 with SGD. What the table leaves open is chosen so that
    datasets of thirty and of a million videos and features of any scale work: vectors are standardized per column
    (see `fit_scaling`; with W and b this remains a linear map), no batch is dropped, and small datasets get `min_steps`
    steps. A view that augments yields one draw per video and epoch, either stored or encoded live.
    """

    name: str = "linear"
    """Name as typed by users, with variant and options."""
    version: int = 2
    """Version; incremented whenever the same inputs would yield another score."""
    train: View = _WHOLE
    """View of the training videos."""
    test: View = _WHOLE
    """View of the test videos."""
    optimizer: Optimizer = "sgd"
    """Optimizer; `lbfgs` solves for the weights on all examples at once."""
    lr: Annotated[float, POSITIVE] = 0.1
    """Peak learning rate; unused by `lbfgs`."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight decay, added to the gradient (`adamw`: decoupled; `lbfgs`: not applied to the bias)."""
    lrs: Annotated[tuple[float, ...], POSITIVE] = ()
    """Learning rates to search, combined with all `weight_decays`, trained at once; `select` chooses. Empty: `lr`."""
    weight_decays: Annotated[tuple[float, ...], NOT_NEGATIVE] = ()
    """Weight decays to search, combined with all `lrs`. Empty: `weight_decay`."""
    select: Select = "held-out"
    """Selection of hyper-parameters: on a held-out tenth of the training examples, or on the test set."""
    momentum: Annotated[float, BELOW_ONE] = 0.9
    """Momentum of `sgd` and `lars`."""
    epochs: Annotated[int, POSITIVE] = 150
    """Passes over the training examples; for `lbfgs`, the maximum number of iterations over all examples."""
    warmup: Annotated[int, NOT_NEGATIVE] = 10
    """Epochs of linear warm-up, before the cosine decay to 0."""
    min_steps: int = 300
    """Minimum number of steps; the number of epochs, warm-up included, is scaled up to reach it."""
    batch: Annotated[int, POSITIVE] = 1024
    """Examples per step."""
    drop_last: bool = False
    """Drop the incomplete batch at the end of each epoch."""
    standardize: bool = True
    """Standardize every column with statistics of the training vectors."""
    init: Init = "zeros"
    """Initial weights and biases: 0, or uniform within dim**-0.5 of 0."""
    mean: bool = False
    """Use the mean of the vectors of an example. Else train on one vector per example and epoch (`lbfgs`: on all, with
    equal weight per example), and average the class probabilities of all vectors in test."""

    def __post_init__(self) -> None:
        check_fields(self, self.name)
        if self.warmup > self.epochs:
            raise UserError(f"{self.name}: warmup = {self.warmup} must be at most epochs = {self.epochs}")
        if self.optimizer == "lbfgs" and not self.train.stored:
            raise UserError(f"{self.name}: lbfgs needs stored features; set draws=8 to store augmented clips")

    @property
    def random(self) -> bool:
        """Whether results depend on the seed."""
        return self.optimizer != "lbfgs" or len(self.candidates) > 1

    @property
    def candidates(self) -> list[dict[str, float]]:
        """Hyper-parameter candidates, trained at once."""
        return lr_decay_pairs(self.lrs or (self.lr,), self.weight_decays or (self.weight_decay,))

    def for_dataset(self, family: str) -> LinearProbe:
        """Return `linear/paper` with the column of table 4 for the dataset; others unchanged."""
        return _paper(family, self.name) if self.name == "linear/paper" and family in LINEAR else self

    def passes(self, train: int) -> int:
        """Return the number of passes over `train` examples."""
        return self._epochs(train)[0]

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Return the multiply-adds of training (forward and backward) and test."""
        trained = 2 * load.train * self._epochs(load.train)[0]
        return float((trained + load.test * load.test_clips) * load.dim * load.classes * len(self.candidates))

    def predict(self, train: Features[Any], test: Features[Any], *, seed: int) -> PredictionList[Float[Array, "c"]]:
        """Return class probabilities of each test example, float32; `seed` sets initialization and batch order."""
        test_labels, data = class_targets(test), _TrainingData(self, train, seed)
        test_vectors = check_same_shape(data.sample, (kept_means if self.mean else kept_vectors)(test))[1]
        fit = self._solve if self.optimizer == "lbfgs" else self._fit
        heads, about = fit(data, seed)
        candidates, examples = self.candidates, len(test.examples)
        if len(candidates) == 1:
            return PredictionList(data.probabilities(heads, test_vectors, examples).cpu().numpy(), **about)
        if self.select == "held-out":
            best, selection = choose(candidates, self.select, data.held_out_scores(heads))
            predictions = data.probabilities(heads.select(best), test_vectors, examples)
        else:
            probabilities_by_head = [
                data.probabilities(heads.select(i), test_vectors, examples) for i in range(len(candidates))
            ]
            best, selection = choose(
                candidates, self.select, [selection_score(p, test_labels) for p in probabilities_by_head]
            )
            predictions = probabilities_by_head[best]
        return PredictionList(predictions.cpu().numpy(), **about, **selection)

    def _epochs(self, examples: int) -> tuple[int, int]:
        """Return the number of epochs and the steps per epoch."""
        if self.optimizer == "lbfgs":
            return 1, self.epochs
        batch = self.batch if self.drop_last else min(self.batch, examples)
        steps = examples // batch if self.drop_last else -(-examples // batch)
        if not steps:
            raise UserError(
                f"{self.name} drops incomplete batches, and {examples} training examples do not fill one of {batch}; "
                "use `linear`, which drops none"
            )
        return max(self.epochs, -(-self.min_steps // steps)), steps

    def _fit(self, data: _TrainingData, seed: int) -> tuple[LinearHeads, dict[str, Any]]:
        """Train the heads by mini-batches, every example once per epoch unless `drop_last`."""
        epochs, epoch_steps = self._epochs(len(data.split.train))
        steps, warmup_steps = epochs * epoch_steps, round(self.warmup * epochs / self.epochs) * epoch_steps
        generator = torch.Generator().manual_seed(seed)
        device, dim = data.sample.values.device, data.sample.values.shape[1]
        heads = init_heads(len(self.candidates), len(data.train.classes), dim, self.init, generator)
        heads = LinearHeads(*(p.to(device).requires_grad_() for p in heads))
        optimizer = StackedOptimizer(heads, self.optimizer, momentum=self.momentum)  # type: ignore[arg-type]  # not lbfgs here
        lr, decay = (torch.tensor([g[k] for g in self.candidates], dtype=torch.float64) for k in ("lr", "weight_decay"))
        with torch.no_grad():
            for step, (values, labels) in zip(range(steps), data.steps(epoch_steps, generator), strict=False):
                heads.weight.grad, heads.bias.grad = gradient(heads, data.scaling(values), labels)
                optimizer.step(lr * learning_rate(step, steps, warmup_steps, 1.0), decay)
        diverged_at = optimizer.diverged
        if len(diverged_at) == len(self.candidates):
            raise UserError(f"{self.name}: all heads diverged from step {min(diverged_at.values())} on; lower lr")
        diverged = {"diverged": [self.candidates[i] for i in diverged_at]} if diverged_at else {}
        return LinearHeads(*(p.detach() for p in heads)), diverged

    def _solve(self, data: _TrainingData, seed: int) -> tuple[LinearHeads, dict[str, Any]]:
        """Solve for each weight decay."""
        del seed  # nothing is drawn
        vectors = data.select(data.split.train)
        classes = len(data.train.classes)
        heads = [
            fit_lbfgs(
                vectors, data.labels, classes, decay=g["weight_decay"], max_iterations=self.epochs, scaling=data.scaling
            )
            for g in self.candidates
        ]
        return LinearHeads(torch.cat([h.weight for h in heads]), torch.cat([h.bias for h in heads])), {}


class _TrainingData:
    """Training features, in memory or read anew every epoch, and their split into training and held-out examples."""

    def __init__(self, probe: LinearProbe, train: Features[Any], seed: int) -> None:
        self.probe, self.train = probe, train
        self.labels = class_targets(train)
        indices = list(range(len(train.examples)))
        check_classes(probe.name, train)
        hold_out = len(probe.candidates) > 1 and probe.select == "held-out"
        self.split = held_out(train.examples, seed) if hold_out else HeldOutSplit(indices, [])
        self.memory = (kept_means if probe.mean else kept_vectors)(train) if probe.train.stored else None
        self.sample = self.memory or self.draw(self.split.train if probe.standardize else indices[:HELD_OUT_ONE_IN], 0)
        """Training vectors: all of them, or enough to know their size."""
        self.labels = self.labels.to(self.sample.values.device)
        self.scaling = fit_scaling(self.sample.values) if probe.standardize else Scaling.none(self.sample.values)

    def draw(self, chosen: Sequence[int], number: int) -> FlatVectors:
        """Read draw `number` of each of the `chosen` examples; unreadable ones are left out."""
        batches = (check_finite(self.train, b) for b in self.train.batches(READ_EXAMPLES, chosen, number))
        parts = [(b.values[:, 0].float(), b.owner) for b in batches]
        if not parts:
            raise UserError(f"{self.probe.name}: none of {len(chosen)} training videos could be encoded")
        return FlatVectors(torch.cat([v for v, _ in parts]), torch.cat([o for _, o in parts]).to(parts[0][0].device))

    def select(self, chosen: Sequence[int]) -> FlatVectors:
        """Return all vectors of the `chosen` examples, from memory."""
        assert self.memory is not None
        if len(chosen) == len(self.labels):
            return self.memory
        mask = torch.isin(self.memory.owner, torch.tensor(chosen, device=self.memory.owner.device))
        return FlatVectors(self.memory.values[mask], self.memory.owner[mask])

    def held_out_scores(self, heads: LinearHeads) -> list[float]:
        """Return the top-1 accuracy, or mAP, of every head on the held-out examples."""
        indices = self.split.held_out
        redraw = self.memory is None or find_drawn(self.probe.train.sampler) is not None
        vectors = self.draw(indices, 0) if redraw else self.select(indices)
        probabilities_by_head = (
            self.probabilities(heads.select(i), vectors, len(self.labels)) for i in range(len(heads.bias))
        )
        return [selection_score(p[indices], self.labels[indices]) for p in probabilities_by_head]

    def probabilities(self, head: LinearHeads, vectors: FlatVectors, examples: int) -> Float[Tensor, "e c"]:
        """Return the class probabilities of `examples` examples by one head; see `softmax.probabilities`."""
        return probabilities(head, vectors, self.scaling, examples, multilabel=is_multilabel(self.labels))

    def steps(self, epoch_steps: int, generator: torch.Generator) -> Batches:
        """Yield endless batches: every training example once per epoch, shuffled."""
        chosen = torch.tensor(self.split.train)
        batch = min(self.probe.batch, len(chosen))
        for epoch in count():
            order = chosen[torch.randperm(len(chosen), generator=generator)]
            if self.memory is None:
                batches = self.train.batches(batch, order.tolist(), epoch)
                complete = (b for b in batches if len(b.owner) == batch or not self.probe.drop_last)
                yield from ((check_finite(self.train, b).values[:, 0].float(), self.labels[b.owner]) for b in complete)
                continue
            vectors = self._vectors(self.memory, order, epoch, generator)
            for start in range(0, epoch_steps * batch, batch):
                part = slice(start, start + batch)
                yield self.memory.values[vectors[part]], self.labels[order[part]]

    def _vectors(
        self, memory: FlatVectors, order: Int[Tensor, "e"], epoch: int, generator: torch.Generator
    ) -> Int[Tensor, "e"]:
        """Return the row of one vector per example: the draw of this epoch, or a random clip."""
        counts = torch.bincount(memory.owner, minlength=len(self.labels)).cpu()
        first = (counts.cumsum(0) - counts)[order]
        if find_drawn(self.probe.train.sampler):
            return first + epoch % counts[order]
        if len(memory.owner) == len(counts):
            return first
        return first + (torch.rand(len(order), generator=generator) * counts[order]).long()


def _paper(family: str, name: str) -> LinearProbe:
    settings = LINEAR[family]
    plain = LinearProbe(name=name, standardize=False, init="uniform", min_steps=0)
    return replace(plain, **settings.training, **settings.views(ASPECT["linear"], "clip"))


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
    "": "SGD as in table 4 of the TWLV-I report (Kinetics-400), with standardized features and at least 300 steps",
    "grid": "`linear` with five learning rates times four weight decays at once, selected on held-out training data",
    "adamw": "`linear` with AdamW",
    "lars": "`linear` with LARS",
    "lbfgs": "L2-regularized logistic regression by L-BFGS on all examples at once; deterministic",
    "lbfgs-grid": "`linear/lbfgs` with five weight decays, selected on held-out training data",
    "paper": "exactly table 4 of the TWLV-I report, by dataset: a new random crop per epoch, 3 x n test views",
    "paper-k400": "table 4 as for Kinetics-400, on any dataset; +draws=8 stores eight random crops per video instead",
    "paper-mit": "table 4 as for Moments in Time, on any dataset",
    "paper-ssv2": "table 4 as for Something-Something v2, on any dataset",
    "paper-diving48": "table 4 as for Diving-48, on any dataset",
    "paper-epic": "table 4 as for EPIC-Kitchens, on any dataset",
    "paper-in1k": "table 4 as for ImageNet-1K, on any dataset",
    "published": "offline protocol of the TWLV-I repository: mean clip vectors, Adam, incomplete batches dropped",
    "published-clip": "`linear/published` on clips: one drawn per epoch, probabilities averaged in test",
}
"""{variant: description}, as listed by `vitascope ls probes`."""


def build(variant: str = "") -> LinearProbe:
    """Return the probe `linear/variant`, or `linear`."""
    known = PRESETS.get(variant)
    if known is None:
        raise unknown_variant("probes", "linear", variant, VARIANTS)
    return known
