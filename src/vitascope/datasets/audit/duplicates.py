"""Twins: examples with the same content under other names, and whether they stand on both sides of a split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from vitascope.core.types import Dataset

Side = tuple[int, str]
"""Number of the fold, and `train` or `test`."""
OTHER = {"train": "test", "test": "train"}


class Copy(NamedTuple):
    """One example as far as its content is concerned."""

    id: str
    path: str
    label: str
    content: tuple[Any, ...]
    """Equal for equal content: digest of the file, and the span of it."""
    sides: tuple[Side, ...]


class Twin(NamedTuple):
    """Another example with the same content, and the fold in which one is trained and the other tested, if any."""

    copy: Copy
    fold: int | None = None


def sides_of(dataset: Dataset[Any]) -> dict[str, tuple[Side, ...]]:
    """Where each example stands, in every fold that has it."""
    found: dict[str, list[Side]] = defaultdict(list)
    for number, fold in enumerate(dataset.folds):
        for side, ids in (("train", fold.train), ("test", fold.test)):
            for i in ids:
                found[i].append((number, side))
    return {i: tuple(sides) for i, sides in found.items()}


def names_of(dataset: Dataset[Any]) -> tuple[str, ...]:
    """The splits in words and in order; in cross-validation, where all are tested once, the folds that test."""
    names = _names(dataset, sides_of(dataset))
    return tuple(dict.fromkeys(names[f, side] for f in range(len(dataset.folds)) for side in OTHER if names[f, side]))


def splits_of(dataset: Dataset[Any]) -> dict[str, tuple[str, ...]]:
    """The splits that each example belongs to, in the words of `names_of`."""
    sides = sides_of(dataset)
    names = _names(dataset, sides)
    return {i: tuple(names[s] for s in where if names[s]) for i, where in sides.items()}


def _names(dataset: Dataset[Any], sides: Mapping[str, Sequence[Side]]) -> dict[Side, str]:
    folds = dataset.folds
    if len(folds) == 1:
        return {(0, side): side for side in OTHER}
    crossed = all(len(s) == len(folds) and [side for _, side in s].count("test") == 1 for s in sides.values())
    if crossed:
        return {(f, side): fold.name * (side == "test") for f, fold in enumerate(folds) for side in OTHER}
    return {(f, side): f"{fold.name} {side}" for f, fold in enumerate(folds) for side in OTHER}


def twins(copies: Iterable[Copy]) -> dict[str, Twin]:
    """For each copy that has one its most troubling twin, by id: across sides, else with another label, else any.

    Of one file listed twice only what stands on both sides is told: annotations may well ask twice about one video.
    """
    groups: dict[tuple[Any, ...], list[Copy]] = defaultdict(list)
    for copy in copies:
        groups[copy.content].append(copy)
    return {i: twin for group in groups.values() if len(group) > 1 for i, twin in _within(group)}


def _within(group: Sequence[Copy]) -> Iterable[tuple[str, Twin]]:
    """The twins in one group of equal content, which may be large: a placeholder that stands for thousands."""
    on: dict[Side, list[Copy]] = defaultdict(list)
    labeled: dict[str, list[Copy]] = defaultdict(list)
    for copy in group:
        for side in copy.sides:
            on[side] = [*on[side], copy][:2]
        if copy.path not in {c.path for c in labeled[copy.label]}:
            labeled[copy.label] = [*labeled[copy.label], copy][:2]
    for copy in group:
        across = (Twin(c, f) for f, side in copy.sides for c in on.get((f, OTHER[side]), ()) if c.id != copy.id)
        labels = [label for label in labeled if label != copy.label]
        others = (Twin(c) for label in [*labels, copy.label] for c in labeled[label] if c.path != copy.path)
        twin = next(across, None) or next(others, None)
        if twin:
            yield copy.id, twin
