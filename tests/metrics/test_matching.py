"""Joins and matchings against enumeration."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.metrics import matching

keys = st.lists(st.integers(-2, 3), max_size=8)


@settings(deadline=None)
@given(keys, keys, st.integers(1, 5))
def test_pairs_of_equal_keys(left, right, block):
    whole, matching.BLOCK = matching.BLOCK, block
    try:
        blocks = list(matching.pairs_with_equal_keys(np.array(left, np.int64), np.array(right, np.int64)))
    finally:
        matching.BLOCK = whole
    got = [pair for i, j in blocks for pair in zip(i.tolist(), j.tolist(), strict=True)]
    assert got == [(i, j) for i, a in enumerate(left) for j, b in enumerate(right) if a == b]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(st.integers(0, 5), unique=True, max_size=5), min_size=1, max_size=8))
def test_greedy_pairs_equal_choosing_one_after_another(liking):
    pairs = [(i, j) for i, liked in enumerate(liking) for j in liked]
    used, expected = set(), []
    for liked in liking:
        free = [j for j in liked if j not in used]
        expected.append(free[0] if free else -1)
        used.update(free[:1])
    left, right = np.array(pairs, np.int64).reshape(-1, 2).T
    got = matching.greedy_pairs(left, right, len(liking), 6)
    assert np.append(right, -1)[got].tolist() == expected
    none, all_ = np.zeros(len(pairs), bool), np.ones(len(pairs), bool)
    at = matching.match_at_levels(left, right, np.stack([none, all_]), (len(liking), 6))
    assert at.tolist() == [[-1] * len(liking), expected]
