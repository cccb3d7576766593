"""Chamfer and dynamic time warping against loops over all pairs of clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.features.aggregation import Sequences
from vitascope.probes.classification import set_similarity
from vitascope.probes.classification.set_similarity import set_neighbors


def sequences(counts: list[int], dim: int = 3, seed: int = 0) -> Sequences:
    values = torch.randn(sum(counts), dim, generator=torch.Generator().manual_seed(seed))
    return Sequences(torch.nn.functional.normalize(values), torch.tensor(counts))


def videos(sets: Sequences) -> list[np.ndarray]:
    return np.split(sets.values.double().numpy(), sets.counts.cumsum(0)[:-1].tolist())


def chamfer(a: np.ndarray, b: np.ndarray) -> float:
    forth = [max(float(x @ y) for y in b) for x in a]
    back = [max(float(x @ y) for x in a) for y in b]
    return (np.mean(forth) + np.mean(back)) / 2


def dtw(a: np.ndarray, b: np.ndarray) -> float:
    best: dict[tuple[int, int], float] = {}
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            before = [best[p] for p in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if p in best]
            best[i, j] = 1 - float(x @ y) + (min(before) if before else 0.0)
    return 1 - best[len(a) - 1, len(b) - 1] / max(len(a), len(b))


BRUTE = {"chamfer": chamfer, "dtw": dtw}


def table(queries: Sequences, bank: Sequences, measure: str) -> np.ndarray:
    return np.array([[BRUTE[measure](q, b) for b in videos(bank)] for q in videos(queries)])


def found(queries: Sequences, bank: Sequences, measure: str) -> np.ndarray:
    nearest = set_neighbors(queries, bank, len(bank.counts), measure)
    similarities = np.empty(nearest.similarities.shape)
    np.put_along_axis(similarities, nearest.indices, nearest.similarities.astype(float), axis=1)
    return similarities


LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=6)


@pytest.mark.parametrize("measure", BRUTE)
@settings(max_examples=12, deadline=None)
@given(LENGTHS, LENGTHS, st.integers(0, 10**6))
def test_is_the_loop_over_all_pairs(measure: str, queries: list[int], bank: list[int], seed: int) -> None:
    q, b = sequences(queries, seed=seed), sequences(bank, seed=seed + 1)
    np.testing.assert_allclose(found(q, b, measure), table(q, b, measure), atol=2e-6)


@pytest.mark.parametrize("measure", BRUTE)
def test_work_may_be_split_anyhow(measure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    q, b = sequences([3, 1, 5, 2] * 5), sequences([2, 4, 4, 1, 3] * 6, seed=1)
    whole = set_neighbors(q, b, 7, measure)
    monkeypatch.setattr(set_similarity, "QUERIES", 3)
    monkeypatch.setattr(set_similarity, "PAIRS", 200)
    parts = set_neighbors(q, b, 7, measure)
    assert np.array_equal(whole.indices, parts.indices)
    torch.testing.assert_close(whole.similarities, parts.similarities, atol=2e-6, rtol=0)


@pytest.mark.parametrize("measure", BRUTE)
def test_one_clip_each_have_their_cosine(measure: str) -> None:
    q, b = sequences([1] * 4), sequences([1] * 5, seed=1)
    np.testing.assert_allclose(found(q, b, measure), (q.values @ b.values.T).numpy(), atol=2e-6)


@pytest.mark.parametrize("measure", BRUTE)
def test_equal_videos_are_in_order_of_index(measure: str) -> None:
    one = sequences([4])
    bank = Sequences(one.values.repeat(40, 1), torch.tensor([4] * 40))
    nearest = set_neighbors(Sequences(one.values.repeat(3, 1), torch.tensor([4] * 3)), bank, 40, measure)
    assert nearest.indices.tolist() == [list(range(40))] * 3
    assert (nearest.similarities == 1).all()


def test_only_dtw_sees_order() -> None:
    q, b = sequences([5] * 3), sequences([5] * 4, seed=1)
    np.testing.assert_allclose(found(q.backwards(), b, "chamfer"), found(q, b, "chamfer"), atol=1e-6)
    assert np.abs(found(q.backwards(), b, "dtw") - found(q, b, "dtw")).max() > 0.05
    np.testing.assert_allclose(found(q.backwards(), b.backwards(), "dtw"), found(q, b, "dtw"), atol=2e-6)


def test_sequences_are_taken_and_turned_whole() -> None:
    sets = sequences([2, 3, 1])
    parts = videos(sets)
    taken, turned = sets.take(torch.tensor([2, 0])), sets.backwards()
    np.testing.assert_array_equal(np.concatenate([parts[2], parts[0]]), taken.values.double().numpy())
    np.testing.assert_array_equal(np.concatenate([p[::-1] for p in parts]), turned.values.double().numpy())
    assert taken.counts.tolist() == [1, 2]
