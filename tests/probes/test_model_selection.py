"""Holding out training examples: a tenth, classes in proportion, groups whole."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.types import Example
from vitascope.probes.classification.model_selection import choose, held_out, selection_score


def examples(labels, groups=None):
    groups = groups or [None] * len(labels)
    return [
        Example(id=f"v{i:03}", path="", truth=t, group=g) for i, (t, g) in enumerate(zip(labels, groups, strict=True))
    ]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=8, max_size=80), st.integers(0, 5))
def test_a_tenth_and_every_class_stays(labels, seed):
    labels = labels + labels[:1] * 2
    sides = held_out(examples(labels), seed)
    assert sorted(sides.train + sides.held_out) == list(range(len(labels)))
    assert 1 <= len(sides.held_out) <= max(1, round(len(labels) / 10))
    assert {labels[i] for i in sides.train} == set(labels)
    assert held_out(examples(labels), seed) == sides


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(2, 30), st.integers(0, 5))
def test_groups_stay_whole(groups, each, seed):
    labels = [i % 2 for i in range(groups * each)]
    names = [f"g{i // each}" for i in range(groups * each)]
    sides = held_out(examples(labels, names), seed)
    assert not {names[i] for i in sides.train} & {names[i] for i in sides.held_out}
    assert {labels[i] for i in sides.train} == set(labels)


def test_a_group_that_is_all_of_its_class_is_parted():
    labels = [i // 20 for i in range(60)]
    sides = held_out(examples(labels, [f"only {t}" for t in labels]), 0)
    assert Counter(labels[i] for i in sides.held_out) == {0: 2, 1: 2, 2: 2}


def test_classes_in_proportion():
    labels = [0] * 600 + [1] * 300 + [2] * 100
    sides = held_out(examples(labels), 0)
    assert Counter(labels[i] for i in sides.held_out) == {0: 60, 1: 30, 2: 10}


def test_nothing_to_hold_out():
    with pytest.raises(ValueError, match="cannot hold out any of 4 training examples"):
        held_out(examples([0, 1, 2, 3]), 0)


def test_the_first_of_the_best_is_chosen():
    grid = [{"lr": 1.0}, {"lr": 2.0}, {"lr": 3.0}]
    best, about = choose(grid, "held-out", [50.0, 60.0, 60.0])
    assert best == 1
    assert about == {
        "select": "held-out",
        "chosen": {"lr": 2.0},
        "grid": [{"lr": 1.0, "held-out": 50.0}, {"lr": 2.0, "held-out": 60.0}, {"lr": 3.0, "held-out": 60.0}],
    }
    best, about = choose(grid, "best-on-test", [1.0, 2.0, 3.0])
    assert (best, about["select"], about["grid"][2]) == (2, "best-on-test", {"lr": 3.0, "test": 3.0})


def test_what_could_not_be_read_does_not_count():
    nan = float("nan")
    scores = torch.tensor([[0.9, 0.1], [nan, nan], [0.2, 0.8], [0.7, 0.3]])
    assert selection_score(scores, torch.tensor([0, 0, 1, 1])) == pytest.approx(200 / 3)
    assert selection_score(torch.full((2, 2), nan), torch.tensor([0, 1])) == 0.0
