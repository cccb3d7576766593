"""Folds of whole groups are those of scikit-learn's StratifiedGroupKFold, whatever the groups and classes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from vitascope.core.types import Example
from vitascope.datasets.splits import MAX_ATTEMPTS, group_folds, make_folds
from vitascope.datasets.stratified_folds import GroupCounts, folds_of


def published(truth: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> list[int]:
    """Fold of each example by scikit-learn."""
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    fold_of = np.full(len(truth), -1)
    for fold, (_, test) in enumerate(splitter.split(truth, truth, groups)):
        fold_of[test] = fold
    return fold_of.tolist()


def same(truth: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> bool:
    names = np.array([f"group {g}" for g in groups])
    return folds_of(GroupCounts(truth.tolist(), names.tolist()), folds, seed).tolist() == published(
        truth, names, folds, seed
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=12, max_size=80),
    st.integers(2, 9),
    st.integers(0, MAX_ATTEMPTS - 1),
)
def test_groups_of_any_classes(members: list[tuple[int, int]], folds: int, seed: int) -> None:
    truth, groups = np.array(members).T
    folds = min(folds, int(np.unique(truth, return_counts=True)[1].min()), len(set(groups.tolist())))
    assume(folds > 1)
    assert same(truth, groups, folds, seed)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(12, 60), st.integers(0, 3))
def test_a_single_class(seed: int, folds: int, groups: int, larger: int) -> None:
    group = np.repeat(np.arange(groups), np.random.default_rng(seed).integers(1, 2 + 3 * larger, groups))
    assert same(np.zeros(len(group), int), group, folds, seed % MAX_ATTEMPTS)


@pytest.mark.parametrize("per_group", [1, 3])
@pytest.mark.parametrize("classes", [2, 7, 8, 9, 40, 127, 129, 300])
def test_many_classes_in_pure_and_mixed_groups(classes: int, per_group: int) -> None:
    rng = np.random.default_rng(classes)
    truth = np.sort(np.concatenate([np.arange(classes)] * 5 + [rng.integers(classes, size=3 * classes)]))
    pure = np.arange(len(truth)) // per_group
    for group in (pure, rng.permutation(pure)):
        for folds in (2, 4):
            assert same(truth, group, folds, classes % MAX_ATTEMPTS)


def test_more_groups_than_are_counted_at_once() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(30, size=9_000, p=np.arange(1, 31) / np.arange(1, 31).sum())
    assert same(truth, np.arange(9_000), 5, 0)
    assert same(truth, rng.integers(6_000, size=9_000), 5, 1)


def test_the_folds_of_a_dataset() -> None:
    """Those of the first seed after which every class is in two folds; without classes, of the first seed."""
    later = 0
    for trial in range(40):
        rng = np.random.default_rng(trial)
        groups, truth = rng.integers(0, 5, 20), rng.integers(0, 5, 20)
        fewest = min(len(set(groups[truth == c])) for c in range(5))
        if fewest < 2:
            continue
        items = [Example(id=f"v{i}", path="", truth=int(t), group=f"g{groups[i]}") for i, t in enumerate(truth)]
        names = np.array([e.group for e in items])
        for seed in range(MAX_ATTEMPTS):
            of = published(truth, names, fewest, seed)
            if all(len({of[i] for i in np.flatnonzero(truth == c)}) > 1 for c in range(5)):
                break
        later += seed > 0
        folds = make_folds(items, [""] * 20, "abcde", where="here")
        assert [fold.test for fold in folds] == [members(items, of, i) for i in range(fewest)]
        assert all(fold.train == tuple(e.id for e in items if e.id not in fold.test) for fold in folds)
        count = min(3, len(set(names.tolist())) // 2)
        of = published(np.zeros(20, int), names, count, 0)
        assert [fold.test for fold in group_folds(items, 3)] == [members(items, of, i) for i in range(count)]
    assert later


def members(items: list[Example], fold_of: list[int], fold: int) -> tuple[str, ...]:
    return tuple(e.id for e, of in zip(items, fold_of, strict=True) if of == fold)
