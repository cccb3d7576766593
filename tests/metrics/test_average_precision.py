"""Average precision of several labels per example, against scikit-learn and the script of Charades."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from vitascope.metrics import average_precision as ap


def random_set(seed, n=60, classes=7, *, ties=False):
    rng = np.random.default_rng(seed)
    scores = rng.random((n, classes))
    truth = rng.random((n, classes)) < rng.uniform(0.02, 0.6, classes)
    truth[:3] = np.eye(3, classes, dtype=bool)
    return np.round(scores, 1) if ties else scores, truth, [np.flatnonzero(row).tolist() for row in truth]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_is_scikit_learns(seed, ties):
    scores, truth, labels = random_set(seed, ties=ties)
    each = ap.ranked(scores, labels)
    assert list(each) == np.flatnonzero(truth.any(axis=0)).tolist()
    for c, one in each.items():
        value = float(ap.average_precision(one, np.ones((1, len(labels))))[0])
        assert value == pytest.approx(100 * average_precision_score(truth[:, c], scores[:, c]), abs=1e-9)


def test_weights_repeat_examples():
    scores, truth, labels = random_set(5, ties=True)
    weights = np.random.default_rng(0).integers(0, 4, len(labels))
    rows = np.repeat(np.arange(len(labels)), weights)
    for c, one in ap.ranked(scores, labels).items():
        expected = 100 * average_precision_score(truth[rows, c], scores[rows, c]) if truth[rows, c].any() else np.nan
        assert ap.average_precision(one, weights[None])[0] == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_is_the_mean_of_charades():
    """Precision at the rank of each positive, averaged; classes without one do not count."""
    scores, truth, labels = random_set(6)
    truth[:, 6], labels = False, [[c for c in own if c != 6] for own in labels]
    each, counts = [], []
    for c in range(6):
        hits = truth[np.argsort(-scores[:, c]), c]
        precisions = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        if hits.any():
            each.append(precisions[hits].mean())
            counts.append(hits.sum())
    summary = ap.summary(scores, labels)
    assert list(summary) == list(ap.NAMES)
    assert summary["mAP"] == pytest.approx(100 * np.mean(each), abs=1e-9)
    assert summary["weighted mAP"] == pytest.approx(100 * np.average(each, weights=counts), abs=1e-9)


def test_hits_of_examples_with_a_label():
    scores = [[0.9, 0.1, 0.2], [0.1, 0.8, 0.3], [0.5, 0.4, 0.1]]
    assert ap.summary(scores, [[0, 2], [0], []])["hit@1"] == 50


def test_chance_is_the_map_of_equal_scores():
    _, _, labels = random_set(7)
    assert ap.chance(labels) == pytest.approx(ap.summary(np.ones((len(labels), 7)), labels)["mAP"])


def test_intervals():
    scores, _, labels = random_set(8, n=80)
    scores, per_class = ap.bootstrap(scores, labels, rng=np.random.default_rng(0))
    assert list(scores) == list(ap.NAMES)
    assert scores["mAP"].low < scores["mAP"].value < scores["mAP"].high
    assert scores["mAP"].value == pytest.approx(np.mean([s.value for s in per_class.values()]))


def test_one_group_has_no_interval():
    values, labels, _ = *random_set(9)[::2], None
    scores, _ = ap.bootstrap(values, labels, ["g"] * len(labels), rng=np.random.default_rng(0))
    assert scores["mAP"].low is None


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([[0.1, float("nan")]], [[0]], "NaN scores for 1 of 1"),
        ([[0.1, 0.2]], [[2]], "class 2 at row 0"),
        ([[0.1, 0.2]], [[]], "none of 1 test examples has a label"),
        ([0.1, 0.2], [[0]], "expected 1 rows"),
    ],
)
def test_what_cannot_be_scored(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        ap.summary(scores, labels)
