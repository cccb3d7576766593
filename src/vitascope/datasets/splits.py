"""Dividing examples into training and test: given splits, or stratified folds that keep every group whole."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Example, Fold

T = TypeVar("T")
MOST_FOLDS = 5
TURNS = 20
"""Orders in which groups are dealt to folds until every tested class is trained too."""


def folds_of(
    examples: Sequence[Example[int]], splits: Sequence[str], classes: Sequence[str], *, where: str
) -> tuple[Fold, ...]:
    """One fold where `splits` names train and test (or val); else up to five stratified folds, groups kept whole."""
    if not any(splits):
        return _stratified(examples, classes, where)
    if not all(splits):
        raise UserError(
            f"{where}: {examples[splits.index('')].id!r} has no split, others do; fill the column or drop it"
        )
    test = "test" if "test" in splits else "val"
    sides = {s: tuple(e.id for e, of in zip(examples, splits, strict=True) if of == s) for s in ("train", test)}
    for side, ids in sides.items():
        if not ids:
            raise UserError(f"{where}: no example is in split {side!r}; both train and test (or val) are needed")
    return (Fold(name=f"train/{test}", train=sides["train"], test=sides[test]),)


def _stratified(examples: Sequence[Example[int]], classes: Sequence[str], where: str) -> tuple[Fold, ...]:
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.array([e.group or f"\0{e.id}" for e in examples])
    truth = np.array([e.truth for e in examples])
    of_class = {classes[c]: len(set(groups[truth == c])) for c in np.unique(truth).tolist()}
    fewest = min(of_class, key=lambda label: of_class[label])
    if of_class[fewest] < 2:
        raise UserError(
            f"{where}: class {fewest!r} has one example or one group; two are needed, one to train on and one to test"
        )
    count = min(MOST_FOLDS, of_class[fewest])
    for turn in range(TURNS):
        divide = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=turn)
        sides = list(divide.split(truth, truth, groups))
        if all(set(truth[test]) <= set(truth[train]) for train, test in sides):
            break  # large groups may put all of a class on one side: then another order is tried
    ids = np.array([e.id for e in examples])
    return tuple(
        Fold(name=f"fold {i + 1} of {count}", train=tuple(ids[train].tolist()), test=tuple(ids[test].tolist()))
        for i, (train, test) in enumerate(sides)
    )


def check_labels(
    examples: Sequence[Example[int]], folds: Sequence[Fold], classes: Sequence[str], *, where: str
) -> None:
    """Raise ValueError where a label is tested that is never trained, or a group stands on both sides."""
    truth = {e.id: e.truth for e in examples}
    group = {e.id: e.group for e in examples if e.group is not None}
    for fold in folds:
        unseen = untrained(truth, fold, classes)
        if unseen:
            names = ", ".join(map(repr, unseen[:3]))
            raise UserError(f"{where}: {len(unseen)} label(s) only in test, never in training ({fold.name}): {names}")
        both = {group.get(i) for i in fold.train} & {group.get(i) for i in fold.test} - {None}
        if both:
            raise UserError(f"{where}: group {sorted(map(str, both))[0]!r} is in both training and test ({fold.name})")


def untrained(truth: Mapping[str, int], fold: Fold, classes: Sequence[str]) -> list[str]:
    """The classes that `fold` tests and never trains, by `truth` of the ids: some official splits have them."""
    return [classes[c] for c in sorted({truth[i] for i in fold.test} - {truth[i] for i in fold.train})]


def _classes(dataset: Dataset[Any]) -> dict[str, int]:
    """The class of every example; one for all where examples hold several."""
    return {e.id: e.truth if dataset.kind == "recognition" else 0 for e in dataset.examples}


def limited(dataset: Dataset[T], count: int) -> Dataset[T]:
    """`dataset` with at most `count` examples, spread over classes and sides: for a quick look, not to publish."""
    tested = {i: n for n, fold in enumerate(dataset.folds) for i in fold.test}
    strata: dict[tuple[int, int], list[str]] = defaultdict(list)
    truth = _classes(dataset)
    for e in sorted(dataset.examples, key=lambda e: random.Random(e.id).random()):
        if e.id not in dataset.missing_files:
            strata[tested.get(e.id, -1), truth[e.id]].append(e.id)
    turns = sorted((turn, stratum, i) for stratum, ids in strata.items() for turn, i in enumerate(ids))
    keep = {i for _, _, i in turns[:count]}
    for fold in dataset.folds:
        trained = {truth[i] for i in fold.train if i in keep}
        keep -= {i for i in fold.test if truth[i] not in trained}
    cut = [
        Fold(name=f.name, train=tuple(i for i in f.train if i in keep), test=tuple(i for i in f.test if i in keep))
        for f in dataset.folds
    ]
    folds = tuple(f for f in cut if f.train and f.test)
    if not folds:
        raise UserError(f"--limit {count} leaves nothing to train on or to test; try {4 * len(dataset.classes)}")
    return replace(dataset, examples=tuple(e for e in dataset.examples if e.id in keep), folds=folds, missing_files={})


FEW = re.compile(r"(\d+(?:\.\d+)?)%|(\d+)-shot")


def check_few(few: str) -> str:
    """`few` if it is a share (`5%`) or a number a class (`8-shot`); else ValueError."""
    form = FEW.fullmatch(few)
    if form is None or not 0 < float(form[1] or 1) <= 100 or form[2] == "0":
        raise UserError(f"low-shot {few!r}: give a share of the training side like 5%, or a number a class like 8-shot")
    return few


def few(dataset: Dataset[Any], fold: Fold, seed: int) -> Fold:
    """`fold` with only `dataset.train_fraction` of its training examples, drawn class by class; at least one of every class.

    Smaller shares are contained in larger ones of the same seed. Videos that are not there are not drawn.
    """
    form = FEW.fullmatch(check_few(dataset.train_fraction))
    assert form
    truth = _classes(dataset)
    of: dict[int, list[str]] = defaultdict(list)
    for i in fold.train:
        if i not in dataset.missing_files:
            of[truth[i]].append(i)
    draw = random.Random(f"few {seed}")
    keep: set[str] = set()
    for label in sorted(of):
        ids = draw.sample(sorted(of[label]), len(of[label]))
        keep.update(ids[: int(form[2]) if form[2] else max(1, round(len(ids) * float(form[1]) / 100))])
    return replace(fold, train=tuple(i for i in fold.train if i in keep))
