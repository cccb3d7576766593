"""Suppression, voting and fusion: the published results, and loops over everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import golden
from vitascope.probes.temporal.nms import Proposals, conditional_softmax, fuse_class_scores, iou, nms, vote_boundaries


@pytest.fixture(scope="module")
def known():
    return golden("nms")


@pytest.mark.parametrize(
    ("name", "sigma", "most", "votes", "weighting"),
    [
        ("thumos_sc_tl", 0.5, 200, 0, ""),
        ("thumos_sc_af", 0.5, 200, 0, ""),
        ("thumos_ext_tl", 0.5, 200, 0.7, "score"),
        ("thumos_ext_af", 0.5, 200, 0.7, "score*iou"),
        ("anet_ext_tl", 0.75, 100, 0.9, "score"),
        ("anet_ext_af", 0.75, 100, 0.9, "score*iou"),
    ],
)
def test_the_published_results(known, name, sigma, most, votes, weighting):
    every = Proposals(known["in/segs"].astype(np.float64), known["in/scores"].astype(np.float64), known["in/labels"])
    kept = nms(every, kind="soft", by=sigma, min_score=0.001, max_segments=most, by_class=not votes)
    kept = vote_boundaries(kept, every, iou_threshold=votes, weighting=weighting) if votes else kept
    segments, scores, labels = (known[f"out/{name}/{i}"] for i in range(3))
    np.testing.assert_allclose(kept.segments, segments, atol=1e-4)
    np.testing.assert_allclose(kept.scores, scores, atol=1e-5)
    np.testing.assert_array_equal(kept.labels, labels)


@pytest.mark.parametrize("name", ["hard_tl", "hard_af"])
def test_the_published_hard_results(known, name):
    every = Proposals(known["in/segs"].astype(np.float64), known["in/scores"].astype(np.float64), known["in/labels"])
    kept = nms(every, kind="hard", by=0.4, min_score=0.001, max_segments=200, by_class=True)
    for result, i in zip(kept, range(3), strict=True):
        np.testing.assert_array_equal(result, known[f"out/{name}/{i}"])


def plain_iou(a, b, eps=0.0):
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    either = a[1] - a[0] + b[1] - b[0] + 2 * eps - shared
    return shared / either if either > 0 else 0.0


def loop(found, kind, by, least, most, by_class):
    """Class by class to the end, then the best of all."""
    kept = []
    for label in sorted(set(found.labels.tolist())) if by_class else [None]:
        left = [
            [s, tuple(seg), c]
            for seg, s, c in zip(found.segments.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
            if label is None or c == label
        ]
        while left:
            best = max(range(len(left)), key=lambda i: left[i][0])
            top = left.pop(best)
            if top[0] < least:
                break
            kept.append(top)
            if kind == "soft":
                left = [[s * np.exp(-(plain_iou(top[1], seg, 1e-6) ** 2) / by), seg, c] for s, seg, c in left]
            else:
                left = [one for one in left if plain_iou(top[1], one[1], 1e-6) <= by]
    return sorted(kept, key=lambda k: -k[0])[:most]


several = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def some(rng, n):
    start = rng.uniform(0, 30, n)
    return Proposals(np.stack([start, start + rng.uniform(0.1, 12, n)], 1), rng.uniform(0, 1, n), rng.integers(0, 3, n))


@settings(max_examples=50, deadline=None)
@given(
    rng=several,
    n=st.integers(0, 25),
    kind=st.sampled_from(["soft", "hard"]),
    by=st.sampled_from([0.1, 0.5]),
    least=st.sampled_from([0.0, 0.05]),
    by_class=st.booleans(),
    most=st.integers(1, 30),
)
def test_suppression_is_the_loop(rng, n, kind, by, least, by_class, most):
    result = some(rng, n)
    kept = nms(result, kind=kind, by=by, min_score=least, max_segments=most, by_class=by_class)
    wanted = loop(result, kind, by, least, most, by_class)
    np.testing.assert_allclose(kept.scores, [s for s, _, _ in wanted], rtol=1e-9)
    assert kept.segments.tolist() == [list(seg) for _, seg, _ in wanted]
    assert kept.labels.tolist() == [c for _, _, c in wanted]
    assert (np.diff(kept.scores) <= 0).all()


@settings(max_examples=30, deadline=None)
@given(rng=several, weighting=st.sampled_from(["score", "score*iou"]))
def test_voting_is_the_loop(rng, weighting):
    every = some(rng, 20)
    kept = every.take(np.arange(5))
    moved = vote_boundaries(kept, every, iou_threshold=0.3, weighting=weighting)
    for i in range(5):
        weights = []
        for segment, score in zip(every.segments, every.scores, strict=True):
            shared = plain_iou(kept.segments[i], segment)
            weights.append(score * (shared if weighting == "score*iou" else 1) if shared >= 0.3 else 0.0)
        np.testing.assert_allclose(moved.segments[i], np.average(every.segments, axis=0, weights=weights), atol=1e-9)
    np.testing.assert_array_equal(moved.scores, kept.scores)


def test_nothing_votes_on_nothing():
    empty = Proposals(np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.int64))
    assert len(vote_boundaries(empty, empty, iou_threshold=0.5, weighting="score").scores) == 0
    point = Proposals(np.array([[3.0, 3.0]]), np.ones(1), np.zeros(1, np.int64))
    assert vote_boundaries(point, point, iou_threshold=0.5, weighting="score").segments.tolist() == [[3.0, 3.0]]
    assert iou(point.segments, point.segments).tolist() == [[0.0]]


def test_classes_from_elsewhere():
    result = Proposals(np.array([[0.0, 1.0], [2.0, 4.0]]), np.array([0.9, 0.4]), np.zeros(2, np.int64))
    fused = fuse_class_scores(result, np.array([0.1, 1.6, 0.0, 0.4]), 2)
    assert fused.labels.tolist() == [1, 1, 3, 3]
    np.testing.assert_allclose(fused.scores, np.sqrt([1.6 * 0.9, 1.6 * 0.4, 0.4 * 0.9, 0.4 * 0.4]))
    assert fused.segments.tolist() == result.segments.tolist() * 2
    assert len(fuse_class_scores(result, np.array([0.5]), 2).scores) == 2


def test_the_softmax_of_some():
    plain = np.array([0.2, 1.0, 0.0])
    assert conditional_softmax(plain) is plain
    raised = np.array([0.2, 1.5, 0.0])
    np.testing.assert_allclose(conditional_softmax(raised), np.exp(raised) / np.exp(raised).sum())
    assert conditional_softmax(np.array([-0.1, 0.5])).sum() == pytest.approx(1)
