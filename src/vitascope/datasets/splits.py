"""Splits into training and test examples: given splits, or stratified folds that never divide a group."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from vitascope.core.actors import Keyframes
from vitascope.core.errors import UserError
from vitascope.core.truth import classes_of
from vitascope.core.types import Dataset, Example, Fold
from vitascope.datasets import multilabel_folds
from vitascope.datasets.label_sets import NO_CLASS, class_strata, is_multilabel
from vitascope.datasets.stratified_folds import GroupCounts, folds_of

T = TypeVar("T")
MAX_FOLDS = 5
MAX_ATTEMPTS = 20
"""Random assignments of groups to folds that are tried until every test class also occurs in training."""


def make_folds(
    examples: Sequence[Example[Any]], splits: Sequence[str], classes: Sequence[str], *, where: str
) -> tuple[Fold, ...]:
    """One fold if `splits` names train and test (or val), else up to five stratified folds that divide no group."""
    if not any(splits):
        return _stratified(examples, classes, where)
    if not all(splits):
        raise UserError(
            f"{where}: {examples[splits.index('')].id!r} has no split but others do; fill in the column or remove it"
        )
    test = "test" if "test" in splits else "val"
    sides = {s: tuple(e.id for e, of in zip(examples, splits, strict=True) if of == s) for s in ("train", test)}
    for side, ids in sides.items():
        if not ids:
            raise UserError(f"{where}: no example is in split {side!r}; both train and test (or val) are required")
    return (Fold(name=f"train/{test}", train=sides["train"], test=sides[test]),)


def _stratified(examples: Sequence[Example[Any]], classes: Sequence[str], where: str) -> tuple[Fold, ...]:
    if isinstance(examples[0].truth, Keyframes):
        return _stratified_by_actors(examples, where)
    groups_of: dict[int, set[str]] = defaultdict(set)
    for e in examples:
        for label in classes_of(e.truth):
            groups_of[label].add(e.group or f"\0{e.id}")
    of_class = {classes[label]: len(groups_of[label]) for label in sorted(groups_of)}
    fewest = min(of_class, key=lambda label: of_class[label])
    if of_class[fewest] < 2:
        raise UserError(
            f"{where}: class {fewest!r} has a single example or group (spans of a file and copies of a video "
            "are one recording); at least two are required, to train and to test, or a split of your own"
        )
    if isinstance(examples[0].truth, tuple):
        count = min(MAX_FOLDS, len(set.union(*groups_of.values())))
        return _folds(examples, multilabel_folds.folds_of(examples, count), count)
    return _stratified_by_class(examples, min(MAX_FOLDS, of_class[fewest]))


def _stratified_by_actors(examples: Sequence[Example[Keyframes]], where: str) -> tuple[Fold, ...]:
    """Folds of whole videos; classes of a single one are allowed, since most sets of boxes have some."""
    count = min(MAX_FOLDS, len(set(_groups(examples))))
    if count < 2:
        raise UserError(f"{where}: boxes of a single video; at least two are required, to train and to test")
    unlabeled: Sequence[Example[Any]] = examples
    labeled = [replace(e, truth=tuple(sorted(set(e.truth.labels)))) for e in unlabeled]
    return _folds(examples, multilabel_folds.folds_of(labeled, count), count)


def _stratified_by_class(examples: Sequence[Example[int]], count: int) -> tuple[Fold, ...]:
    return _folds(examples, _drawn(tuple(e.truth for e in examples), _groups(examples), count), count)


@lru_cache(maxsize=2)  # they are drawn again to see whether those of a dataset are the drawn ones
def _drawn(truth: tuple[int, ...], groups: tuple[str, ...], count: int) -> tuple[int, ...]:
    counts, labels = GroupCounts(truth, groups), np.array(truth)
    for attempt in range(MAX_ATTEMPTS):
        fold_of = folds_of(counts, count, attempt)
        occurs = np.zeros((labels.max() + 1, count), bool)
        occurs[labels, fold_of] = True
        if (occurs.sum(axis=1) != 1).all():
            break  # otherwise a large group has put a whole class into one test set
    return tuple(fold_of.tolist())


def group_folds(examples: Sequence[Example[Any]], count: int) -> tuple[Fold, ...]:
    """At most `count` folds of about as many examples each, none of which divides a group; classes do not matter.

    `count` is at least two, and there are at least four groups.
    """
    groups = _groups(examples)
    count = min(count, len(set(groups)) // 2)
    return _folds(examples, folds_of(GroupCounts([0] * len(examples), groups), count, 0).tolist(), count)


def _groups(examples: Sequence[Example[Any]]) -> tuple[str, ...]:
    """The group of each example, or one of its own."""
    return tuple(e.group or f"\0{e.id}" for e in examples)


def _folds(examples: Sequence[Example[Any]], fold_of: Sequence[int], count: int) -> tuple[Fold, ...]:
    """Folds of which each tests the examples that are in it, and trains on all others."""
    tested = [(e.id, fold) for e, fold in zip(examples, fold_of, strict=True)]
    return tuple(
        Fold(
            name=f"fold {i + 1} of {count}",
            train=tuple(name for name, fold in tested if fold != i),
            test=tuple(name for name, fold in tested if fold == i),
        )
        for i in range(count)
    )


def are_drawn(dataset: Dataset[Any]) -> bool:
    """Whether the folds of a dataset are those that `make_folds` draws without a given split."""
    names = [f"fold {i + 1} of {len(dataset.folds)}" for i in range(len(dataset.folds))]
    if (
        dataset.kind not in ("recognition", "detection")
        or len(names) < 2
        or [fold.name for fold in dataset.folds] != names
    ):
        return False
    try:
        return _stratified(dataset.examples, dataset.classes, dataset.name) == dataset.folds
    except UserError:
        return False


def check_labels(
    examples: Sequence[Example[Any]], folds: Sequence[Fold], classes: Sequence[str], *, where: str
) -> None:
    """Raise `UserError` if a test class does not occur in training, or a group is in both training and test."""
    truth = {e.id: e.truth for e in examples}
    group = {e.id: e.group for e in examples if e.group is not None}
    for fold in folds:
        untrained = classes_only_in_test(truth, fold, classes)
        if untrained:
            names = ", ".join(map(repr, untrained[:3]))
            raise UserError(f"{where}: {len(untrained)} label(s) in test but not in training ({fold.name}): {names}")
        both = {group.get(i) for i in fold.train} & {group.get(i) for i in fold.test} - {None}
        if both:
            raise UserError(f"{where}: group {sorted(map(str, both))[0]!r} is in both training and test ({fold.name})")


def classes_only_in_test(truth: Mapping[str, Any], fold: Fold, classes: Sequence[str]) -> list[str]:
    """The classes that occur in the test set of `fold` but not in its training set, as in some official splits."""
    tested, trained = ({c for i in ids for c in classes_of(truth[i])} for ids in (fold.test, fold.train))
    return [classes[c] for c in sorted(tested - trained)]


def limit_examples(dataset: Dataset[T], count: int, *, evaluated: bool = True) -> Dataset[T]:
    """`dataset` with at most `count` examples, balanced over classes and splits: for trial runs, not for results.

    Unless they are to be `evaluated`, they are just `count`, and need not have training and test examples.
    """
    tested = {i: n for n, fold in enumerate(dataset.folds) for i in fold.test}
    strata: dict[tuple[int, int], list[str]] = defaultdict(list)
    truth = class_strata(dataset)
    labels = {e.id: classes_of(e.truth) if dataset.kind == "recognition" else [0] for e in dataset.examples}
    for e in sorted(dataset.examples, key=lambda e: random.Random(e.id).random()):
        if e.id not in dataset.missing_files:
            strata[tested.get(e.id, -1), truth[e.id]].append(e.id)
    ranked = sorted((rank, stratum, i) for stratum, ids in strata.items() for rank, i in enumerate(ids))
    keep = {i for _, _, i in ranked[:count]}
    for fold in dataset.folds if evaluated else ():
        trained = {c for i in fold.train if i in keep for c in labels[i]}
        keep -= {i for i in fold.test if not trained.issuperset(labels[i])}
    cut = [
        Fold(name=f.name, train=tuple(i for i in f.train if i in keep), test=tuple(i for i in f.test if i in keep))
        for f in dataset.folds
    ]
    folds = tuple(f for f in cut if f.train and f.test)
    if evaluated and not folds:
        raise UserError(f"--limit {count} leaves no training or no test examples; try {4 * len(dataset.classes)}")
    return replace(dataset, examples=tuple(e for e in dataset.examples if e.id in keep), folds=folds, missing_files={})


TRAIN_FRACTION = re.compile(r"(\d+(?:\.\d+)?)%|(\d+)-shot")


def check_train_fraction(train_fraction: str) -> str:
    """Return `train_fraction` if it is a percentage (`5%`) or a number per class (`8-shot`); else raise `UserError`."""
    match = TRAIN_FRACTION.fullmatch(train_fraction)
    if match is None or not 0 < float(match[1] or 1) <= 100 or match[2] == "0":
        raise UserError(
            f"low-shot {train_fraction!r}: give a percentage of the training set, e.g. 5%, or a number of examples per "
            "class, e.g. 8-shot"
        )
    return train_fraction


def low_shot(dataset: Dataset[Any], fold: Fold, seed: int) -> Fold:
    """`fold` with `dataset.train_fraction` of its training examples, drawn class by class, at least one per class.

    Smaller fractions are subsets of larger ones with the same seed. Examples whose video is missing are not drawn. Of
    multi-label examples a percentage is drawn by their rarest class, a number from all that belong to a class: an
    example counts for each of its classes, so that a class may end up with more.
    """
    match = TRAIN_FRACTION.fullmatch(check_train_fraction(dataset.train_fraction))
    assert match
    truth, by_class = _drawn_by(dataset, each=match[2] is not None), defaultdict[int, list[str]](list)
    for i in fold.train:
        for label in truth[i] if i not in dataset.missing_files else ():
            by_class[label].append(i)
    rng = random.Random(f"few {seed}")
    keep: set[str] = set()
    for label in sorted(by_class):
        ids = rng.sample(sorted(by_class[label]), len(by_class[label]))
        keep.update(ids[: int(match[2]) if match[2] else max(1, round(len(ids) * float(match[1]) / 100))])
    return replace(fold, train=tuple(i for i in fold.train if i in keep))


def _drawn_by(dataset: Dataset[Any], *, each: bool) -> dict[str, Sequence[int]]:
    """The classes from which an example may be drawn: all of its classes with `each`, else its stratum."""
    if each and is_multilabel(dataset):
        return {e.id: e.truth or (NO_CLASS,) for e in dataset.examples}
    return {i: (label,) for i, label in class_strata(dataset).items()}
