"""Whether frozen vectors know the direction of time: forward against reversed, ordered against shuffled, and speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.fields import NOT_NEGATIVE, POSITIVE, check_fields
from vitascope.core.registry import unknown_variant
from vitascope.core.truth import classes_of
from vitascope.core.types import Dataset
from vitascope.features.base import Features
from vitascope.features.view import View
from vitascope.metrics.permutation import relabelings
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.direction.classifiers import Classifier, lda, logistic
from vitascope.probes.direction.outcomes import VersionScores, apply
from vitascope.probes.direction.picture import picture
from vitascope.probes.direction.scoring import ToldApart
from vitascope.probes.direction.selection import LEAST, selected
from vitascope.probes.direction.vectors import VersionVectors, read_versions
from vitascope.sampling.names import Sampler, Uniform
from vitascope.sampling.samplers import SamplerWrapper
from vitascope.sampling.versions import Question, Versions

_WHOLE = View(Uniform())


@dataclass(frozen=True, kw_only=True)
class DirectionProbe(ToldApart):
    """A linear classifier of the versions of a clip, trained on some videos and tested on others.

    Every video is there in every version, on the same side, as are whole groups. The headline compares a video with
    itself: of its versions, the share that scores highest as what it is (of two: whether the projection of the forward
    clip exceeds that of the reversed one), so that what else is to be seen in it does not matter. Chance is one over
    the number of versions. The p-value is from relabeling the versions of whole groups at random and training anew.
    """

    name: str = "direction"
    """Name as typed by users, with variant and options."""
    version: int = 1
    """Version; incremented whenever the same inputs would yield another score."""
    train: View = _WHOLE
    """View of the training videos; each of its clips is shown in all versions."""
    test: View = _WHOLE
    """View of the test videos; each of its clips is shown in all versions."""
    of: Question = "direction"
    """What the versions differ in: forward or reversed, ordered or shuffled, half, normal or double speed."""
    classifier: Literal["lda", "logistic"] = "lda"
    """Linear discriminant analysis with Ledoit and Wolf's shrinkage, or logistic regression."""
    classes: str = ""
    """Classes or groups of classes to which the videos belong, with commas; empty: all."""
    each: bool = False
    """Train one classifier for each class, on the videos of that class alone, instead of one for all."""
    folds: Annotated[int, NOT_NEGATIVE] = 0
    """Folds of whole groups that all videos are divided into; 0: the split of the data set, where it has both sides."""
    c: Annotated[float, POSITIVE] = 0.01
    """Inverse of the penalty of logistic regression."""
    permutations: Annotated[int, NOT_NEGATIVE] = 999
    """Random relabelings for the p-value."""
    picture: bool = False
    """Also draw what the TWLV-I report draws: all videos on the axis of an analysis that was fitted to them."""

    def __post_init__(self) -> None:
        check_fields(self, self.name)
        for side in ("train", "test"):
            view: View = getattr(self, side)
            if view.reduce != "clip":
                raise UserError(f"{self.name}: compares one vector per clip; its views must reduce to clip")
            if _versions_in(view.sampler) is None:
                object.__setattr__(self, side, replace(view, sampler=Versions(view.sampler, self.of)))

    @property
    def random(self) -> bool:
        """Whether the seed changes the predictions; it does not."""
        return False

    def part_of(self, dataset: Dataset[Any]) -> Dataset[Any]:
        """The examples of the classes, and the folds."""
        return selected(dataset, self.classes, self.folds, self.name)

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Return the multiply-adds of the covariance, its factorization and the relabelings."""
        rows = load.train * len(self.versions)
        return float(load.dim * (rows * (load.dim + self.permutations) + load.dim**2))

    def predict(self, train: Features[Any], test: Features[Any], *, seed: int = 0) -> PredictionList[VersionScores]:
        """Return the scores of all versions of each test example, and how they fare in random relabelings."""
        known, asked = (read_versions(features, len(self.versions)) for features in (train, test))
        if known.values.shape[2] != asked.values.shape[2]:
            raise UserError(f"{self.name}: training and test vectors differ in size; embed both with one encoder")
        about = {"picture": picture(known, asked)} if self.picture else {}
        found: dict[int, VersionScores] = {}
        for rows, places in self._parts(train, known, asked):
            predicted = self._apply(known.part(rows), asked.part(places))
            found |= dict(zip(places, predicted, strict=True))
        return PredictionList([found[i] for i in range(len(asked.examples))], **about)

    def _apply(self, known: VersionVectors, asked: VersionVectors) -> list[VersionScores]:
        labels = relabelings([*known.units, *asked.units], len(self.versions), self.permutations, 0)
        classifier = self._fit(known.values, labels[: len(known.examples)])
        return apply(classifier, asked, labels[len(known.examples) :])

    def _fit(self, values: np.ndarray, labels: np.ndarray) -> Classifier:
        return lda(values, labels) if self.classifier == "lda" else logistic(values, labels, self.c)

    def _parts(
        self, train: Features[Any], known: VersionVectors, asked: VersionVectors
    ) -> list[tuple[list[int], list[int]]]:
        """The training and test examples of each classifier; of several labels the first counts."""
        if not self.each:
            return [(list(range(len(known.examples))), list(range(len(asked.examples))))]
        trained, tested = (_by_class(side) for side in (known, asked))
        for label in tested:
            if len({known.units[i] for i in trained.get(label, [])}) < LEAST:
                raise UserError(
                    f"{self.name}: class {train.classes[label]!r} has too few training videos; leave it out"
                )
        return [(trained[label], places) for label, places in tested.items()]


def _by_class(vectors: VersionVectors) -> dict[int, list[int]]:
    """The places of the examples of each class: of several labels the first, without any class 0."""
    places: dict[int, list[int]] = {}
    for i, example in enumerate(vectors.examples):
        places.setdefault(next(iter(classes_of(example.truth)), 0), []).append(i)
    return places


def _versions_in(sampler: Sampler) -> Versions | None:
    """The sampler of versions in a sampler, at any depth; None if there is none."""
    if isinstance(sampler, Versions):
        return sampler
    return _versions_in(sampler.inner) if isinstance(sampler, SamplerWrapper) else None


_LOGISTIC: Mapping[str, Any] = {"classifier": "logistic", "permutations": 99}
PRESETS: Mapping[str, DirectionProbe] = {
    "": DirectionProbe(),
    "logistic": DirectionProbe(name="direction/logistic", **_LOGISTIC),
    "classes": DirectionProbe(name="direction/classes", each=True),
    "picture": DirectionProbe(name="direction/picture", picture=True),
    "shuffled": DirectionProbe(name="direction/shuffled", of="order"),
    "speed": DirectionProbe(name="direction/speed", of="speed"),
}
VARIANTS: Mapping[str, str] = {
    "": "forward or reversed, by shrinkage LDA; of all videos, or +classes=NAME,...; chance 50",
    "logistic": "the same by logistic regression",
    "classes": "the same with one classifier for each class, trained and tested on its videos alone",
    "picture": "the same, and the LDA picture of the TWLV-I report, fitted to the points that it shows",
    "shuffled": "ordered or shuffled frames; chance 50",
    "speed": "half, normal or double speed of the same frames; chance 33.3",
}
"""{variant: description}, as listed by `vitascope ls probes`."""


def build(variant: str = "") -> DirectionProbe:
    """Return the probe `direction/variant`, or `direction`."""
    known = PRESETS.get(variant)
    if known is None:
        raise unknown_variant("probes", "direction", variant, VARIANTS)
    return known
