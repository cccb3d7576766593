"""Top-1 accuracy in parts: the right pair of opposite classes, the right one of the two, and both by family of classes.

Of every part there is what guessing gives, and what one can reach who sees the frames without their order.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from vitascope.core.class_structure import ClassStructure, merged
from vitascope.core.types import Score
from vitascope.metrics.stats import FULL, bootstrap

ORDER_FREE = (
    "what a perfect viewer of the frames without their order could score, by the construction of the data, in which "
    "opposite motions consist of the same frames; a score up to it does not show that their order is seen"
)
"""What the bound `order_free` means, for readers of scores."""
CLASS, PAIR, DIRECTION = "class", "pair", "direction given the pair"
EVERY = "all"
"""The family of all classes."""
Outcomes: TypeAlias = Mapping[str, tuple[Bool[ndarray, "n"], Bool[ndarray, "n"]]]
"""By name of the part, whether each example is right, and whether it counts."""
Part: TypeAlias = tuple[float | None, float | None, float | None]
"""Value and interval."""


@dataclass(frozen=True)
class ClassPart:
    """One part of the accuracy, percent."""

    part: str
    """`class`, `pair` (a class without an opposite is its own), or `direction given the pair` where that is right."""
    family: str
    """Family of the true class; `all` for all of them."""
    n: int
    """Number of predictions that count: test examples, times seeds."""
    value: float | None = None
    """None where none counts."""
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    """Of guessing classes as often as they occur in the test set."""
    order_free: float | None = None
    """Of knowing everything but the order of frames, see `order_free`; None if unknown."""

    @property
    def score(self) -> Score | None:
        """The value with its interval."""
        return None if self.value is None else Score(self.value, self.low, self.high)


def order_free(truth: Sequence[int], structure: ClassStructure, classes: int) -> float | None:
    """Top-1 accuracy of one who recognizes each frame but not their order, percent; None if unknown.

    Of classes that are alike it says the most common one of the test set, as chance does of all. Where classes are
    equally frequent this is the mean over examples of 1 / number of classes like its own.
    """
    if structure.alike is None or not len(truth):
        return None
    labels = np.asarray(truth)
    return float(FULL * (_blind(labels, structure.alike, classes) == labels).mean())


def parts(
    truth: Sequence[int],
    predicted: Sequence[int],
    groups: Sequence[Hashable] | None,
    structure: ClassStructure,
    rng: np.random.Generator,
) -> list[ClassPart]:
    """All parts that the structure of the classes gives, of all examples and of those of each family.

    `groups` are the units that intervals resample; an example that is predicted with several seeds occurs several
    times in one group. Empty without pairs and families, and without examples.
    """
    if structure.is_empty or not len(truth):
        return []
    labels, answers = np.asarray(truth), np.asarray(predicted)
    classes = 1 + max(int(labels.max()), int(answers.max()), *(c for group in _groups(structure) for c in group))
    units = np.array(merged(structure.pairs, classes))
    paired = np.isin(labels, np.array(structure.pairs).ravel())
    right = _outcomes(labels, answers, units, paired)
    known = structure.alike is not None
    blind = _outcomes(labels, _blind(labels, structure.alike or (), classes), units, paired) if known else {}
    guessed = _guessed(labels, units, classes)
    found = []
    for family, members in ((EVERY, range(classes)), *structure.families.items()):
        inside = np.isin(labels, members)
        for part, (correct, counts) in right.items():
            rows, asked = np.flatnonzero(inside & counts), inside & (paired if part == DIRECTION else counts)
            if asked.any():
                value = _score(FULL * correct[rows], [groups[int(i)] for i in rows] if groups else None, rng)
                chance = float(guessed[part][asked].mean())
                free = _mean(*blind[part], inside) if blind else None
                found.append(ClassPart(part, family, len(rows), *value, chance=chance, order_free=free))
    return found


def _score(outcomes: Float[ndarray, "n"], groups: Sequence[Hashable] | None, rng: np.random.Generator) -> Part:
    return bootstrap(outcomes, groups, rng=rng) if len(outcomes) else (None, None, None)


def _groups(structure: ClassStructure) -> Iterator[Sequence[int]]:
    yield from structure.pairs
    yield from structure.families.values()
    yield from structure.alike or ()


def _outcomes(
    truth: Int[ndarray, "n"], answers: Int[ndarray, "n"], units: Int[ndarray, "c"], paired: Bool[ndarray, "n"]
) -> Outcomes:
    """Which examples are right in each part, and which count; `units` are the pairs of the classes."""
    every, right_pair = np.ones(len(truth), bool), units[truth] == units[answers]
    return {
        CLASS: (truth == answers, every),
        PAIR: (right_pair, every),
        DIRECTION: (truth == answers, right_pair & paired),
    }


def _blind(truth: Int[ndarray, "n"], alike: Sequence[Sequence[int]], classes: int) -> Int[ndarray, "n"]:
    """The answers of one who knows the group of each example: the most common class of the group."""
    counts = np.bincount(truth, minlength=classes)
    answer = np.arange(len(counts))
    for group in alike:
        answer[list(group)] = max(group, key=lambda c: counts[c])
    answers: Int[ndarray, "n"] = answer[truth]
    return answers


def _guessed(truth: Int[ndarray, "n"], units: Int[ndarray, "c"], classes: int) -> dict[str, ndarray]:
    """How likely a guess is right in each part, percent, of every example."""
    share = np.bincount(truth, minlength=classes) / len(truth)
    of_unit = np.bincount(units, share, minlength=classes)[units]
    return {
        CLASS: FULL * share[truth],
        PAIR: FULL * of_unit[truth],
        DIRECTION: FULL * share[truth] / of_unit[truth],
    }


def _mean(correct: Bool[ndarray, "n"], counts: Bool[ndarray, "n"], inside: Bool[ndarray, "n"]) -> float | None:
    return float(FULL * correct[inside & counts].mean()) if (inside & counts).any() else None
