"""Features: padded batches and flat rows agree, and unreadable examples are rejected by name."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.types import Example
from vitascope.features.base import (
    Batch,
    Features,
    MemmapFeatures,
    StoredFeatures,
    all_vectors,
    check_same_shape,
    class_labels,
    kept_means,
    kept_vectors,
    mean_vectors,
)


def stored(counts, shape=(3,), dtype=torch.float32):
    values = torch.arange(sum(counts) * torch.Size(shape).numel(), dtype=dtype).reshape(-1, *shape)
    examples = [Example(id=f"v{i}", path=f"{i}.mp4", truth=i % 2) for i in range(len(counts))]
    first = torch.tensor([sum(counts[:i]) for i in range(len(counts) + 1)])
    return StoredFeatures(examples, ["a", "b"], values, first)


@dataclass(frozen=True)
class Live:
    """Features that are not in memory: only batches can be had."""

    inner: StoredFeatures

    @property
    def examples(self):
        return self.inner.examples

    @property
    def classes(self):
        return self.inner.classes

    @property
    def spans(self):
        return self.inner.spans

    @property
    def failures(self):
        return {}

    def batches(self, size, order=None, draw=None):
        yield from self.inner.batches(size, order, draw)


def unpadded(batches: list[Batch]):
    return [(int(o), v[m]) for b in batches for v, m, o in zip(b.values, b.mask, b.owner, strict=True)]


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=9), st.integers(1, 10), st.randoms(use_true_random=False))
def test_batches_give_each_example_once_in_order(counts, size, random):
    features = stored(counts)
    order = random.sample(range(len(counts)), len(counts))
    result = unpadded(list(features.batches(size, order)))
    assert [o for o, _ in result] == order
    for owner, values in result:
        assert torch.equal(values, features.values[features.offsets[owner] : features.offsets[owner + 1]])
    assert all(len(b.owner) <= size for b in features.batches(size, order))
    assert all((b.values[~b.mask] == 0).all() for b in features.batches(size, order))


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=9))
def test_a_draw_is_one_vector_of_each_counted_round(counts):
    features = stored(counts)
    for draw in range(6):
        for owner, values in unpadded(list(features.batches(2, draw=draw))):
            assert torch.equal(values, features.values[features.offsets[owner] + draw % counts[owner]][None])


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=9), st.integers(1, 5), st.none() | st.integers(0, 5))
def test_features_on_disk_read_like_those_in_memory(counts, size, draw):
    memory = stored(counts, shape=(2, 3))
    disk = MemmapFeatures(memory.examples, memory.classes, lambda rows: memory.values[rows], memory.offsets)
    assert isinstance(disk, Features)
    for ours, theirs in zip(memory.batches(size, draw=draw), disk.batches(size, draw=draw), strict=True):
        assert all(torch.equal(getattr(ours, name), getattr(theirs, name)) for name in ("values", "mask", "owner"))
        assert ours.spans == theirs.spans


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=9))
def test_stored_and_live_features_are_read_alike(counts):
    memory = stored(counts, shape=(2, 3))
    live = Live(memory)
    assert isinstance(live, Features)
    for a, b in zip(all_vectors(memory), all_vectors(live), strict=True):
        assert torch.equal(a, b)
    expected = torch.stack([v.mean(0) for v in memory.values.split(counts)])
    torch.testing.assert_close(mean_vectors(memory).values, expected)
    assert mean_vectors(memory).owner.tolist() == list(range(len(counts)))
    assert torch.equal(mean_vectors(memory).values, mean_vectors(live).values)
    assert all_vectors(memory).owner.tolist() == [i for i, c in enumerate(counts) for _ in range(c)]


def test_half_precision_is_widened():
    assert all_vectors(stored([2, 1], dtype=torch.float16)).values.dtype == torch.float32
    assert all_vectors(Live(stored([2, 1], dtype=torch.float16))).values.dtype == torch.float32


def test_stored_precision_is_kept_where_asked_for():
    halves = stored([2, 1], dtype=torch.float16)
    assert kept_vectors(halves).values is halves.values
    assert kept_means(stored([1, 1], dtype=torch.float16)).values.dtype == torch.float16
    means = torch.stack([halves.values[:2].float().mean(0), halves.values[2].float()])
    assert torch.equal(kept_means(halves).values, means)
    assert next(halves.batches(2)).values.dtype == torch.float32


def test_class_labels():
    assert class_labels(stored([1, 2, 1])).tolist() == [0, 1, 0]


@pytest.mark.parametrize("kind", [lambda f: f, Live])
def test_missing_and_non_finite_vectors_are_named(kind):
    with pytest.raises(ValueError, match="no example of this split has vectors"):
        all_vectors(kind(stored([])))
    with pytest.raises(ValueError, match=r"no vectors for 2 of 4 examples \(v1, v3\)"):
        all_vectors(kind(stored([1, 0, 2, 0])))
    features = stored([1] * 6)
    features.values[1:5, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf, torch.nan])
    with pytest.raises(ValueError, match=r"NaN or infinite vectors for 4 of 6 examples \(v1, v2, v3, \.\.\.\)"):
        all_vectors(kind(features))


def test_splits_of_different_shape_are_rejected():
    one, other = all_vectors(stored([1])), all_vectors(stored([1], shape=(4,)))
    assert check_same_shape(one, one) == (one, one)
    with pytest.raises(ValueError, match="training vectors have shape 3, test vectors 4; embed both"):
        check_same_shape(one, other)
