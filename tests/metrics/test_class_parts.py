"""Accuracy in parts, against counting by hand and by loops, and what frames without order give."""

from __future__ import annotations

import numpy as np
import pytest

from vitascope.core.class_structure import ClassStructure
from vitascope.metrics.class_parts import CLASS, DIRECTION, EVERY, PAIR, ClassPart, order_free, parts
from vitascope.metrics.stats import bootstrap

PAIRS = ((1, 2), (3, 4))
STRUCTURE = ClassStructure(pairs=PAIRS, families={"still": (0,), "moving": (1, 2, 3, 4)}, alike=PAIRS)


def table(truth: list[int], answers: list[int], groups: list[str] | None = None) -> dict[tuple[str, str], ClassPart]:
    found = parts(truth, answers, groups, STRUCTURE, np.random.default_rng(0))
    return {(one.part, one.family): one for one in found}


def test_parts_by_hand() -> None:
    """Still; up right, as down, as left; left as right, right."""
    found = table([0, 1, 1, 1, 3, 3], [0, 1, 2, 3, 4, 3])
    assert found[CLASS, EVERY].value == pytest.approx(100 * 3 / 6)
    assert found[PAIR, EVERY].value == pytest.approx(100 * 5 / 6)
    assert (found[DIRECTION, EVERY].value, found[DIRECTION, EVERY].n) == (50.0, 4)
    assert found[CLASS, "moving"].value == pytest.approx(40.0)
    assert (found[PAIR, "still"].value, (DIRECTION, "still") in found) == (100.0, False)


@pytest.mark.parametrize("seed", range(5))
def test_parts_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answers = rng.integers(0, 5, 80).tolist(), rng.integers(0, 5, 80).tolist()
    pair_of = {0: "0", 1: "a", 2: "a", 3: "b", 4: "b"}
    shares = {c: truth.count(c) / 80 for c in range(5)}
    shared = {p: sum(s for c, s in shares.items() if pair_of[c] == p) for p in "0ab"}
    for (part, family), found in table(truth, answers).items():
        members = range(5) if family == EVERY else STRUCTURE.families[family]
        both = [(t, a) for t, a in zip(truth, answers, strict=True) if t in members]
        if part == CLASS:
            right, guess = [t == a for t, a in both], [shares[t] for t, _ in both]
        elif part == PAIR:
            right, guess = [pair_of[t] == pair_of[a] for t, a in both], [shared[pair_of[t]] for t, _ in both]
        else:
            right = [t == a for t, a in both if t and pair_of[t] == pair_of[a]]
            guess = [shares[t] / shared[pair_of[t]] for t, _ in both if t]
        assert found.value == pytest.approx(100 * np.mean(right))
        assert found.n == len(right)
        assert found.chance == pytest.approx(100 * np.mean(guess))
        assert found.low is not None
        assert found.low <= found.value <= (found.high or 0)


def test_the_share_of_right_classes_is_that_of_pairs_times_that_of_directions() -> None:
    rng = np.random.default_rng(1)
    truth, answers = rng.integers(1, 5, 200).tolist(), rng.integers(1, 5, 200).tolist()
    found = table(truth, answers)
    values = [found[part, EVERY].value or 0.0 for part in (CLASS, PAIR, DIRECTION)]
    assert values[0] == pytest.approx(values[1] * values[2] / 100)


def test_guessing_is_as_good_as_guesses() -> None:
    """Over many random answers with the frequencies of the classes, the mean of each part is its chance."""
    rng, truth = np.random.default_rng(2), [0] * 8 + [1] * 20 + [2] * 10 + [3] * 16 + [4] * 16
    several = truth * 300
    found = table(several, rng.permutation(several).tolist())
    for one in found.values():
        assert one.value == pytest.approx(one.chance, abs=1.5)


def test_without_a_right_pair_there_is_no_direction() -> None:
    found = table([1, 2, 3], [3, 4, 0])
    assert (found[DIRECTION, EVERY].value, found[DIRECTION, EVERY].n, found[DIRECTION, EVERY].score) == (None, 0, None)


def test_intervals_resample_groups() -> None:
    truth, answers = [1, 2] * 60, [1, 1] * 30 + [2, 2] * 30
    groups = [f"g{i // 6}" for i in range(120)]
    right = [100.0 * (t == a) for t, a in zip(truth, answers, strict=True)]
    expected = bootstrap(right, groups, rng=np.random.default_rng(0))
    assert table(truth, answers, groups)[CLASS, EVERY].score == expected


def test_order_free_of_equal_classes_is_the_mean_of_one_over_the_classes_alike() -> None:
    truth = [0, 1, 2, 3, 4] * 7
    assert order_free(truth, STRUCTURE, 5) == pytest.approx(100 * (1 + 4 / 2) / 5)
    three = ClassStructure(alike=((0, 2, 4),))
    assert order_free(truth, three, 5) == pytest.approx(100 * (2 + 3 / 3) / 5)


def test_order_free_is_never_below_chance() -> None:
    """Of unequal classes the most common one is said, as chance does."""
    truth = [1] * 9 + [2]
    assert order_free(truth, STRUCTURE, 5) == pytest.approx(90.0)


def test_order_free_is_everything_where_nothing_is_alike_and_unknown_where_nothing_is_said() -> None:
    assert order_free([0, 1, 2], ClassStructure(alike=()), 3) == 100.0
    assert order_free([0, 1, 2], ClassStructure(), 3) is None
    assert order_free([], STRUCTURE, 5) is None


def test_what_it_says_of_parts_is_what_its_answers_get() -> None:
    truth = [0] * 4 + [1] * 6 + [2] * 3 + [3] * 5 + [4] * 5
    answers = [0] * 4 + [1] * 9 + [3] * 10
    for one in table(truth, answers).values():
        assert one.order_free == pytest.approx(one.value)


def test_nothing_without_structure_or_examples() -> None:
    assert parts([0, 1], [0, 1], None, ClassStructure(alike=()), np.random.default_rng(0)) == []
    assert parts([], [], None, STRUCTURE, np.random.default_rng(0)) == []


@pytest.mark.parametrize("wrong", [{"pairs": ((0, 1), (1, 2))}, {"alike": ((0, 1), (2, 0))}])
def test_a_class_is_in_one_pair_and_in_one_group(wrong: dict[str, tuple[tuple[int, int], ...]]) -> None:
    with pytest.raises(ValueError, match="is in two"):
        ClassStructure(**wrong)
