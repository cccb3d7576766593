"""Duplicates: examples with identical content under different ids, and whether they leak from training into test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from vitascope.core.types import Dataset

Side = tuple[int, str]
"""Index of the fold, and `train` or `test`."""
OTHER = {"train": "test", "test": "train"}


class ExampleContent(NamedTuple):
    """The content of one example, and where it is used."""

    id: str
    path: str
    label: str
    content: tuple[Any, ...]
    """Digest of the file and the span: equal for identical content."""
    sides: tuple[Side, ...]


class Duplicate(NamedTuple):
    """Another example with identical content; `fold` is set if the two are in its training and its test set."""

    other: ExampleContent
    fold: int | None = None


def example_sides(dataset: Dataset[Any]) -> dict[str, tuple[Side, ...]]:
    """The sides of each example, by id, in every fold that contains it."""
    sides: dict[str, list[Side]] = defaultdict(list)
    for number, fold in enumerate(dataset.folds):
        for side, ids in (("train", fold.train), ("test", fold.test)):
            for i in ids:
                sides[i].append((number, side))
    return {i: tuple(of_example) for i, of_example in sides.items()}


def split_names(dataset: Dataset[Any]) -> tuple[str, ...]:
    """The names of the splits, in order; in cross-validation, the names of the folds that test them."""
    names = _side_names(dataset, example_sides(dataset))
    return tuple(dict.fromkeys(names[f, side] for f in range(len(dataset.folds)) for side in OTHER if names[f, side]))


def example_splits(dataset: Dataset[Any]) -> dict[str, tuple[str, ...]]:
    """The names of the splits that contain each example, by id; see `split_names`."""
    sides = example_sides(dataset)
    names = _side_names(dataset, sides)
    return {i: tuple(names[s] for s in of_example if names[s]) for i, of_example in sides.items()}


def _side_names(dataset: Dataset[Any], sides: Mapping[str, Sequence[Side]]) -> dict[Side, str]:
    folds = dataset.folds
    if len(folds) == 1:
        return {(0, side): side for side in OTHER}
    crossed = all(len(s) == len(folds) and [side for _, side in s].count("test") == 1 for s in sides.values())
    if crossed:
        return {(f, side): fold.name * (side == "test") for f, fold in enumerate(folds) for side in OTHER}
    return {(f, side): f"{fold.name} {side}" for f, fold in enumerate(folds) for side in OTHER}


def find_duplicates(examples: Iterable[ExampleContent]) -> dict[str, Duplicate]:
    """The most serious duplicate of each example, by id: across train and test, else another label, else any.

    Two examples of the same file count only across train and test: annotations may label one video more than once.
    """
    groups: dict[tuple[Any, ...], list[ExampleContent]] = defaultdict(list)
    for example in examples:
        groups[example.content].append(example)
    return {i: d for group in groups.values() if len(group) > 1 for i, d in _duplicates_within(group)}


def _duplicates_within(group: Sequence[ExampleContent]) -> Iterable[tuple[str, Duplicate]]:
    """The duplicates in one group of identical content, which may be large (a placeholder file)."""
    by_side: dict[Side, list[ExampleContent]] = defaultdict(list)
    by_label: dict[str, list[ExampleContent]] = defaultdict(list)
    for example in group:
        for side in example.sides:
            by_side[side] = [*by_side[side], example][:2]
        if example.path not in {e.path for e in by_label[example.label]}:
            by_label[example.label] = [*by_label[example.label], example][:2]
    for example in group:
        across = (
            Duplicate(e, f)
            for f, side in example.sides
            for e in by_side.get((f, OTHER[side]), ())
            if e.id != example.id
        )
        labels = [*(label for label in by_label if label != example.label), example.label]
        others = (Duplicate(e) for label in labels for e in by_label[label] if e.path != example.path)
        duplicate = next(across, None) or next(others, None)
        if duplicate:
            yield example.id, duplicate
