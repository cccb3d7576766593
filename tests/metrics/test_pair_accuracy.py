"""Accuracy over pairs of classes, against scikit-learn; intervals where there is nothing to be told apart."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from vitascope.metrics import pair_accuracy
from vitascope.metrics.pair_accuracy import AUC, HEADLINE, PLAIN, PairMargins, PairScores
from vitascope.metrics.stats import wilson


def random_examples(seed: int, n: int = 200, pairs: int = 3) -> list[PairMargins]:
    """Examples in one or two pairs of unequal sides."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(n):
        own = tuple(sorted(rng.choice(pairs, rng.integers(1, 3), replace=False).tolist()))
        sides = tuple(int(rng.random() < 0.3) for _ in own)
        examples.append(PairMargins(own, sides, tuple(float(rng.normal() + side) for side in sides)))
    return examples


def columns(examples: list[PairMargins], pair: int) -> tuple[np.ndarray, np.ndarray]:
    """Sides and margins of a pair."""
    rows = [(s, m) for e in examples for p, s, m in zip(*e, strict=True) if p == pair]
    side, margin = np.array(rows).T
    return side.astype(int), margin


def test_scores_are_scikit_learns() -> None:
    examples = random_examples(0)
    sides, margins = zip(*(columns(examples, pair) for pair in range(3)), strict=True)
    both = list(zip(sides, margins, strict=True))
    scores = pair_accuracy.summary(examples)
    assert scores[HEADLINE] == pytest.approx(100 * np.mean([balanced_accuracy_score(s, m > 0) for s, m in both]))
    assert scores[PLAIN] == pytest.approx(100 * np.mean([accuracy_score(s, m > 0) for s, m in both]))
    assert scores[AUC] == pytest.approx(100 * np.mean([roc_auc_score(s, m) for s, m in both]))
    with_intervals, by_pair = pair_accuracy.bootstrap(examples, [None] * len(examples), np.random.default_rng(0))
    assert {name: score.value for name, score in with_intervals.items()} == pytest.approx(scores)
    for pair, (side, margin) in enumerate(both):
        assert by_pair[pair].value == pytest.approx(100 * balanced_accuracy_score(side, margin > 0))


def test_weights_repeat_examples() -> None:
    examples = random_examples(1, n=60)
    weights = np.random.default_rng(2).integers(0, 3, (5, 60))
    repeated = [
        pair_accuracy.summary([e for e, w in zip(examples, row, strict=True) for _ in range(w)]) for row in weights
    ]
    expected = [[scores[HEADLINE], scores[PLAIN]] for scores in repeated]
    np.testing.assert_allclose(PairScores(examples).means(weights), expected)
    by_group = PairScores(examples, np.arange(60) // 6)
    groups = np.random.default_rng(3).integers(0, 3, (5, 10))
    np.testing.assert_allclose(by_group.means(groups), PairScores(examples).means(np.repeat(groups, 6, axis=1)))


def test_always_one_answer_is_chance_however_unequal_the_sides() -> None:
    examples = [PairMargins((0,), (int(i < 5),), (1.0,)) for i in range(100)]
    scores = pair_accuracy.summary(examples)
    assert (scores[HEADLINE], scores[PLAIN], scores[AUC]) == (50.0, 5.0, 50.0)
    undecided = [PairMargins((0,), (i % 2,), (0.0,)) for i in range(10)]
    assert set(pair_accuracy.summary(undecided).values()) == {50.0}


def test_a_pair_without_one_side_counts_nowhere() -> None:
    whole = [PairMargins((0,), (i % 2,), (1.0 if i % 2 else -1.0,)) for i in range(8)]
    half = [PairMargins((1,), (1,), (-1.0,)) for _ in range(8)]
    assert pair_accuracy.summary([*whole, *half]) == {HEADLINE: 100.0, PLAIN: 100.0, AUC: 100.0}
    scores, by_pair = pair_accuracy.bootstrap([*whole, *half], [None] * 16, np.random.default_rng(0))
    assert [*by_pair] == [0]
    assert scores[HEADLINE].value == 100
    assert np.isnan(pair_accuracy.summary(half)[HEADLINE])


def test_nothing_wrong_leaves_what_may_be_wrong_unseen() -> None:
    examples = [PairMargins((0,), (i % 2,), (1.0 if i % 2 else -1.0,)) for i in range(40)]
    score = pair_accuracy.bootstrap(examples, [None] * 40, np.random.default_rng(0))[1][0]
    assert score.low is not None
    unseen = 100 * (1 - wilson(1.0, 20)[0])
    assert (score.value, score.high) == (100.0, 100.0)
    assert 100 - score.low >= unseen / 2**0.5 - 1e-9


@pytest.mark.parametrize("grouped", [False, True])
def test_noise_is_chance_within_the_interval(*, grouped: bool) -> None:
    """Of 25 test sets the interval misses 50 in 1, give or take."""
    missed, values = 0, []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        group = rng.integers(0, 12, 80)
        margins = rng.normal(size=80) + (rng.normal(size=12)[group] if grouped else 0.3)
        examples = [PairMargins((i % 2,), (int(i % 8 < 2),), (float(m),)) for i, m in enumerate(margins)]
        scores, _ = pair_accuracy.bootstrap(
            examples, group.tolist() if grouped else [None] * 80, np.random.default_rng(0)
        )
        low, high = scores[HEADLINE].low, scores[HEADLINE].high
        assert low is not None
        assert high is not None
        missed += not low <= 50 <= high
        values.append(scores[HEADLINE].value)
    assert missed <= 3
    assert abs(np.mean(values) - 50) < 3
