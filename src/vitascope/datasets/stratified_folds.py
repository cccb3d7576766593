"""Stratified folds of whole groups: those of scikit-learn's StratifiedGroupKFold to the bit, in a tenth of its time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

ROWS = 1 << 12
"""Groups whose counts of all classes are in memory at once."""
RELATIVE, ABSOLUTE = 1e-5, 1e-8
"""Tolerances of `numpy.isclose`, within which folds are equally good."""
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class GroupCounts:
    """How many examples every group has, of each class."""

    def __init__(self, truth: Sequence[int], groups: Sequence[str]) -> None:
        """`truth`: class of each example."""
        _, label, self.size = np.unique(np.array(truth), return_inverse=True, return_counts=True)
        names, self.group = np.unique(np.array(groups), return_inverse=True)
        self.groups, self.classes = len(names), len(self.size)
        self.members = np.bincount(self.group)
        pairs, counts = np.unique(self.group * self.classes + label, return_counts=True)
        self.owner, self.label = np.divmod(pairs, self.classes)
        self.counts = counts.astype(np.float64)
        self.starts = np.searchsorted(self.owner, np.arange(self.groups + 1))

    def of(self, groups: Iterable[int]) -> Iterable[tuple[Any, Floats]]:
        """For each group the columns of its classes, and how many examples are in each; a single class is a slice."""
        starts = self.starts.tolist()
        for group in groups:
            own = slice(starts[group], starts[group + 1])
            label = self.label[own]
            yield slice(label[0], label[0] + 1) if len(label) == 1 else label, self.counts[own]

    def deviations(self) -> Floats:
        """Standard deviation of each group's counts over all classes."""
        parts = []
        for start in range(0, self.groups, ROWS):
            own = slice(*self.starts[[start, min(start + ROWS, self.groups)]])
            table = np.zeros((min(ROWS, self.groups - start), self.classes))
            table[self.owner[own] - start, self.label[own]] = self.counts[own]
            parts.append(table.std(axis=1))
        return np.concatenate(parts)


def folds_of(counts: GroupCounts, folds: int, seed: int) -> Ints:
    """Fold of each example: no group is divided, and classes are spread over the folds as evenly as that allows.

    Groups are shuffled, and come by the standard deviation of their counts, the largest first. Each goes to the fold
    with which the share of a class in the folds deviates least, averaged over the classes; of those that are as good,
    to the one with the fewest examples. Every class needs at least as many examples as there are folds.

    A group changes the deviation of its own classes only. Sums are taken in the order of scikit-learn, since their last
    bits decide which fold is better.
    """
    assert folds > 1
    assert counts.size.min() >= folds
    assert counts.groups >= folds
    shuffled = np.arange(counts.groups)
    np.random.RandomState(seed).shuffle(shuffled)
    order = shuffled[np.argsort(-counts.deviations()[shuffled], kind="stable")].tolist()
    held = np.zeros((folds, counts.classes))
    deviation = np.zeros((folds, counts.classes))  # of the shares, if the group was in this fold
    filled, chosen, proposals = [0] * folds, np.empty(counts.groups, np.int64), np.eye(folds)[:, :, None]
    members = counts.members.tolist()
    for group, (columns, added) in zip(order, counts.of(order), strict=True):
        shares = (held[:, None, columns] + proposals * added) / counts.size[columns]
        deviation[:, columns] = _deviation_of_rows(shares.reshape(folds, -1), counts.classes).reshape(folds, -1)
        best = _best((np.add.reduce(deviation, axis=1) / counts.classes).tolist(), filled)
        chosen[group] = best
        held[best, columns] += added
        filled[best] += members[group]
        deviation[:, columns] = deviation[best, columns]
    return chosen[counts.group]


def _deviation_of_rows(shares: Floats, classes: int) -> Floats:
    """Standard deviation over the first axis; the rows of many classes are added one by one, as NumPy does."""
    shares = np.asarray(shares, order="F" if classes == 1 else "C")
    apart = shares - np.add.reduce(shares, axis=0) / len(shares)
    deviation: Floats = np.sqrt(np.add.reduce(apart * apart, axis=0) / len(shares))
    return deviation


def _best(deviations: Sequence[float], filled: Sequence[int]) -> int:
    best = 0
    for fold, deviation in enumerate(deviations):
        least = deviations[best]
        close = abs(deviation - least) <= ABSOLUTE + RELATIVE * abs(least)
        if deviation < least or (close and filled[fold] < filled[best]):
            best = fold
    return best
