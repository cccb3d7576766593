"""Chirality: are opposite classes told apart, up from down and opening from closing, by a linear probe of each pair?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.fields import check_fields
from vitascope.core.log import log
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Dataset, Fold
from vitascope.datasets import class_pairs
from vitascope.datasets.class_pairs import Sides
from vitascope.features.base import Features, check_same_shape, mean_vectors
from vitascope.features.view import View
from vitascope.metrics import pair_accuracy
from vitascope.metrics.pair_accuracy import CHANCE, HEADLINE, PairMargins
from vitascope.probes.base import JointlyScored, PredictionList, ScoredPredictions, TestPredictions, WorkloadSize
from vitascope.probes.classification.opposites import LEAST_TRAIN, PairChoice, left_out
from vitascope.probes.classification.two_classes import Classifier, fit
from vitascope.sampling.names import Uniform

Array: TypeAlias = NDArray[Any]

_WHOLE = View(Uniform())


@dataclass(frozen=True, kw_only=True)
class ChiralityProbe(JointlyScored[Any, PairMargins]):
    """Held-out accuracy of telling two opposite classes apart, averaged over pairs; chance is 50.

    For each pair a linear classifier is trained on one vector per video (the mean where a view gives several) of the
    training videos of the two classes, and tested on their test videos. The task is that of Chirality in Action (Bagad
    and Zisserman, NeurIPS 2025), whose groups can be read, too. The accuracy of a pair is the mean over its two sides,
    so that chance is 50 also of unequal ones; the share of correct videos, theirs, is beside it. Nothing is random.
    """

    name: str = "chirality"
    """Name as typed by users, with variant and options."""
    version: int = 1
    """Version; incremented whenever the same inputs would yield another score."""
    train: View = _WHOLE
    """View of the training videos."""
    test: View = _WHOLE
    """View of the test videos."""
    classifier: Classifier = "lda"
    """Classifier of a pair: shrinkage LDA, logistic regression or ridge regression."""
    pairs: str = ""
    """Pairs of opposite classes, `up:down,left:right`, or a csv file with two columns, `class,opposite`."""
    groups: str = ""
    """Files of Chirality in Action that name the videos of each pair, such as `cia-ssv2-validation.csv`; the file of
    the training videos is found beside it, or given behind a comma."""
    known: str = ""
    """The list of pairs of a dataset that comes along; empty: that of the dataset itself."""

    def __post_init__(self) -> None:
        check_fields(self, self.name)
        if self.pairs and self.groups:
            raise UserError(f"{self.name}: pairs and groups exclude each other; give one of them")

    @property
    def random(self) -> bool:
        """Whether results depend on the seed."""
        return False

    @property
    def choice(self) -> PairChoice:
        """The pairs to tell apart."""
        return PairChoice(self.name, self.pairs, self.groups, self.known)

    @property
    def input_files(self) -> tuple[str, ...]:
        """The files that name the pairs."""
        return self.choice.files

    def for_dataset(self, family: str) -> ChiralityProbe:
        """Return the probe with the list of the dataset, if there is one."""
        return replace(self, known=family) if not self.known and family in class_pairs.families() else self

    def check_dataset(self, dataset: Dataset[Any]) -> None:
        """Raise UserError if the pairs cannot be asked of the dataset; say which are left out."""
        if dataset.factors:
            raise UserError(f"{self.name}: {dataset.name} has classes of {' and '.join(dataset.factor_names)}; use one")
        usable, lacking = self.choice.check(dataset)
        if lacking:
            log.warning("%s: %s: %s", self.name, dataset.name, left_out(lacking, len(usable) + len(lacking)))

    def part_of(self, dataset: Dataset[Any]) -> Dataset[Any]:
        """Return the dataset with the examples of the pairs alone; nothing else is encoded."""
        used = {i for pair in self.choice.sides(dataset.examples, dataset.classes) for i in pair.side}
        if not used or len(used) == len(dataset.examples):
            return dataset
        folds = (
            Fold(name=f.name, train=tuple(i for i in f.train if i in used), test=tuple(i for i in f.test if i in used))
            for f in dataset.folds
        )
        examples = tuple(e for e in dataset.examples if e.id in used)
        key = dataset.key or dataset.name
        return replace(dataset, examples=examples, folds=tuple(folds), key=key, official_counts={})

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Return the multiply-adds of training: the Gram matrix of the vectors of each pair."""
        return float(load.train * load.dim * min(load.train, load.dim))

    def predict(self, train: Features[Any], test: Features[Any], *, seed: int) -> PredictionList[PairMargins]:
        """Return the margins of each test example in its pairs; pairs without training examples are left out."""
        del seed  # nothing is drawn
        train_vectors, test_vectors = check_same_shape(mean_vectors(train), mean_vectors(test))
        known, asked = (_numpy(vectors.values) for vectors in (train_vectors, test_vectors))
        trained = self.choice.sides(train.examples, train.classes)
        tested = self.choice.sides(test.examples, test.classes)
        made: list[list[tuple[int, int, float]]] = [[] for _ in test.examples]
        notes = []
        for number, (pair, queries) in enumerate(zip(trained, tested, strict=True)):
            rows, side = _rows(pair, train)
            places, truth = _rows(queries, test)
            counts = np.bincount(side, minlength=2).tolist()
            if min(counts) < LEAST_TRAIN or not len(places):
                continue
            margins = fit(known[rows], side, self.classifier).margins(asked[places])
            for place, true, margin in zip(places.tolist(), truth.tolist(), margins.tolist(), strict=True):
                made[place].append((number, true, margin))
            notes.append({"name": pair.name, "train": counts, "test": _distinct(queries, test)})
        if not notes:
            raise UserError(f"{self.name}: no pair has training examples of both sides that could be read")
        return PredictionList((_margins(own) for own in made), pairs=notes)

    def score(self, predictions: Sequence[PairMargins], truth: Sequence[Any]) -> Mapping[str, float]:
        """Return the mean balanced accuracy, accuracy and AUC of the pairs in percent."""
        return pair_accuracy.summary(predictions)

    def outcomes(self, predictions: Sequence[PairMargins], truth: Sequence[Any]) -> list[float]:
        """Return the percentage of its pairs in which an example is on the right side; NaN in none."""
        return [100.0 * float(np.mean(p.correct)) if p.pairs else float("nan") for p in predictions]

    def score_predictions(self, test: TestPredictions, rng: np.random.Generator) -> ScoredPredictions:
        """Return the scores with intervals over groups of videos, the accuracy of each pair, and the margins kept."""
        names = [pair.name for pair in self.choice.sides(test.examples, test.classes)]
        groups = [group or e.id for group, e in zip(test.groups, test.examples, strict=True)]
        scores, by_pair = pair_accuracy.bootstrap(test.predictions, groups, rng)
        if np.isnan(scores[HEADLINE].value):
            raise UserError(f"{self.name}: no pair has test examples of both sides that could be read")
        columns = {
            **test.columns,
            "pairs": [list(p.pairs) for p in test.predictions],
            "sides": [list(p.sides) for p in test.predictions],
            "margins": [list(p.margins) for p in test.predictions],
            "pair_names": [[names[pair] for pair in p.pairs] for p in test.predictions],
        }
        return ScoredPredictions(scores, {names[pair]: s for pair, s in by_pair.items()}, columns, chance=CHANCE)


def _rows(pair: Sides, features: Features[Any]) -> tuple[Array, Array]:
    """The examples of a pair, by index, and their sides."""
    found = [(i, pair.side[e.id]) for i, e in enumerate(features.examples) if e.id in pair.side]
    table = np.array(found, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _distinct(pair: Sides, features: Features[Any]) -> list[int]:
    """Number of videos on each side of a pair; several test views may show the same."""
    sides = [pair.side[i] for i in {e.id for e in features.examples} if i in pair.side]
    return [sides.count(0), sides.count(1)]


def _margins(own: Sequence[tuple[int, int, float]]) -> PairMargins:
    return PairMargins(*map(tuple, zip(*own, strict=True))) if own else PairMargins()


def _numpy(values: torch.Tensor) -> Float64[Array, "n d"]:
    numbers: Float64[Array, "n d"] = values.double().cpu().numpy()
    return numbers


PRESETS: Mapping[str, ChiralityProbe] = {
    "": ChiralityProbe(),
    "logistic": ChiralityProbe(name="chirality/logistic", classifier="logistic"),
    "ridge": ChiralityProbe(name="chirality/ridge", classifier="ridge"),
}
VARIANTS: dict[str, str] = {
    "": "opposite classes (up/down, opening/closing) told apart, by shrinkage LDA of each pair; chance 50",
    "logistic": "`chirality` by logistic regression, both classes weighing the same",
    "ridge": "`chirality` by scikit-learn's RidgeClassifier, as in public code of the authors of Chirality in Action",
}
"""{variant: description}, as listed by `vitascope ls probes`."""


def build(variant: str = "") -> ChiralityProbe:
    """Return the probe `chirality/variant`, or `chirality`."""
    known = PRESETS.get(variant)
    if known is None:
        raise unknown_variant("probes", "chirality", variant, VARIANTS)
    return known
