"""What all recognition probes share: how class scores are judged, and the grid of settings that are trained at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, TypeAlias

from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.features.base import Features, truths
from vitascope.metrics import accuracy

Array: TypeAlias = NDArray[Any]


class Classification:
    """A probe whose predictions are scores of classes, a row an example."""

    def score(self, predictions: Sequence[Array] | Array, truth: Sequence[int]) -> dict[str, float]:
        """Top-1 and, of more than five classes, top-5, percent."""
        return accuracy.top_1_and_5(predictions, truth)

    def outcomes(self, predictions: Sequence[Array] | Array, truth: Sequence[int]) -> list[float]:
        """100 for each example whose class is predicted, else 0."""
        return accuracy.outcomes(predictions, truth)


def pairs(lrs: Sequence[float], decays: Sequence[float]) -> list[dict[str, float]]:
    """Every learning rate with every weight decay."""
    return [{"lr": lr, "weight_decay": decay} for lr, decay in product(lrs, decays)]


def check_classes(name: str, train: Features[int]) -> None:
    """ValueError where all training examples are of one class: nothing could be told apart."""
    labels = truths(train)
    if len(labels) and bool((labels == labels[0]).all()):
        only = train.classes[int(labels[0])]
        raise UserError(f"{name}: all {len(labels)} training examples are {only!r}; give it two classes")
