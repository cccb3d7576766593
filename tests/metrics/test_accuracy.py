"""Accuracies against counting by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vitascope.metrics import accuracy


@st.composite
def cases(draw):
    """Few distinct scores, so that ties are the rule."""
    n, c = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    scores = draw(hnp.arrays(np.float32, (n, c), elements=st.sampled_from([0.0, -0.0, 0.25, 1.0, -2.0])))
    truth = draw(hnp.arrays(np.int64, n, elements=st.integers(0, c - 1)))
    return scores, truth


def ranking(row):
    """Classes by descending score, lower class first among ties."""
    return sorted(range(len(row)), key=lambda c: (-row[c], c))


@settings(deadline=None)
@given(cases(), st.integers(1, 6))
def test_hits_are_membership_in_the_sorted_list(case, k):
    scores, truth = case
    k = min(k, scores.shape[1])
    expected = [t in ranking(row)[:k] for row, t in zip(scores, truth, strict=True)]
    assert accuracy.hits(scores, truth, k).tolist() == expected
    assert accuracy.top_k(scores, truth, k) == pytest.approx(100 * sum(expected) / len(expected))


@settings(deadline=None)
@given(cases())
def test_all_classes_allowed_is_always_a_hit_and_more_never_hurts(case):
    scores, truth = case
    values = [accuracy.top_k(scores, truth, k) for k in range(1, scores.shape[1] + 1)]
    assert values == sorted(values)
    assert values[-1] == 100.0


def test_rows_may_come_one_by_one():
    rows = [np.array([0.1, 0.9], np.float32), np.array([0.5, 0.5], np.float32)]
    assert accuracy.top_k(rows, [1, 1]) == 50.0


@pytest.mark.parametrize(
    ("scores", "truth", "k", "message"),
    [
        ([[0.0, np.nan], [1, 0]], [0, 0], 1, "NaN scores for 1 of 2 examples, the first at row 0"),
        ([[0.0, 1.0]], [2], 1, "class 2 at row 0: the scores have classes 0 to 1"),
        ([[0.0, 1.0]], [-1], 1, "class -1 at row 0"),
        ([[0.0, 1.0]], [0, 1], 1, "expected 1 class indices"),
        ([[0.0, 1.0]], [0.0], 1, "expected 1 class indices"),
        ([[0.0, 1.0]], [0], 3, "top-3 accuracy of 2 classes"),
        ([[0.0, 1.0]], [0], 0, "top-0 accuracy of 2 classes"),
        ([0.0, 1.0], [0], 1, "one row per example"),
        (np.zeros((0, 3)), np.zeros(0, int), 1, "one row per example"),
    ],
)
def test_bad_input_is_named(scores, truth, k, message):
    with pytest.raises(ValueError, match=message):
        accuracy.hits(scores, truth, k)


def test_nothing_to_count():
    with pytest.raises(ValueError, match="no examples"):
        accuracy.percent([])


@settings(deadline=None)
@given(cases())
def test_mean_class_accuracy_is_the_mean_of_the_recalls(case):
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, truth = case
    predicted = [ranking(row)[0] for row in scores]
    expected = 100 * sklearn.recall_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    assert accuracy.mean_class(scores, truth) == pytest.approx(expected)


def test_the_headline_comes_first_and_mean_class_accuracy_last():
    scores = np.eye(6)[[0, 0, 0, 1]]
    assert accuracy.summary(scores, [0, 0, 1, 1]) == {
        "top-1": 75.0,
        "top-5": 100.0,
        "mean class accuracy": 75.0,
    }
    assert accuracy.summary(scores[:, :3], [0, 0, 0, 2]) == {"top-1": 75.0, "mean class accuracy": 50.0}
