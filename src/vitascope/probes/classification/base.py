"""Shared by all classification probes: scoring of predictions, and the candidates of a hyper-parameter search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.features.base import Features
from vitascope.metrics import accuracy, average_precision
from vitascope.probes.base import Probe
from vitascope.probes.classification.multilabel import class_targets, is_multilabel, truth_is_several

Array: TypeAlias = NDArray[Any]


class Classification(Probe[Any, Any]):
    """A probe that predicts one score per class for each example."""

    select: str
    """By which side one of several models is chosen, see `model_selection.Select`."""

    @property
    def selects_on_test(self) -> bool:
        """Whether hyper-parameters are selected on the test set."""
        return self.select == "best-on-test"

    @property
    def order_aware(self) -> bool | None:
        """Whether a view keeps the order of its clips: the probe itself reads the mean or a set of vectors."""
        return self.train.order_aware or self.test.order_aware

    def score(self, predictions: Sequence[Array] | Array, truth: Sequence[Any]) -> dict[str, float]:
        """Return top-1, with more than five classes top-5, and mean class accuracy; of several labels mAP; percent."""
        if truth_is_several(truth):
            return average_precision.summary(predictions, truth)
        return accuracy.summary(predictions, truth)

    def outcomes(self, predictions: Sequence[Array] | Array, truth: Sequence[Any]) -> list[float]:
        """Return 100 for each correctly classified example, else 0; of several labels, any one is correct."""
        if truth_is_several(truth):
            return [100.0 * (int(np.argmax(p)) in labels) for p, labels in zip(predictions, truth, strict=True)]
        return accuracy.outcomes(predictions, truth)


def lr_decay_pairs(lrs: Sequence[float], decays: Sequence[float]) -> list[dict[str, float]]:
    """Return all combinations of learning rate and weight decay."""
    return [{"lr": lr, "weight_decay": decay} for lr, decay in product(lrs, decays)]


def check_classes(name: str, train: Features[Any]) -> None:
    """Raise UserError if all training examples belong to one class, or, with several labels, all to the same."""
    labels = class_targets(train)
    if is_multilabel(labels):
        if bool((labels == labels[0]).all()):
            raise UserError(f"{name}: all {len(labels)} training examples have the same labels; they must differ")
    elif len(labels) and bool((labels == labels[0]).all()):
        only = train.classes[int(labels[0])]
        raise UserError(
            f"{name}: all {len(labels)} training examples belong to class {only!r}; at least two classes are needed"
        )
