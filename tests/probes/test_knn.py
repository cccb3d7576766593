"""kNN against sorting everything in float64, with ties of every kind."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.types import Example
from vitascope.features.base import StoredFeatures
from vitascope.probes.classification import nearest_neighbors as search
from vitascope.probes.classification import nearest_on_device, voting
from vitascope.probes.methods import knn


def brute(queries, bank, k):
    """All cosines in float64, rounded to float32; sorted by (-cosine, index)."""

    q, b = queries.double().numpy(), bank.double().numpy()
    lengths = [np.maximum(np.linalg.norm(x, axis=1), 1e-12) for x in (q, b)]
    cosines = (q @ b.T / lengths[1] / lengths[0][:, None]).astype(np.float32)
    order = np.stack([np.lexsort((np.arange(len(row)), -row)) for row in cosines])[:, :k]
    return np.take_along_axis(cosines, order, axis=1), order


def neighbors(queries, bank, k, shift=None, unit=None):
    """The neighbors by numpy and by torch, which have to agree to the bit; `unit` is of the bank, which begins with the
    queries."""
    arrays = [None if part is None else part.numpy() for part in (queries, bank, shift, unit)]
    apart = None
    if unit is not None:
        own = unit[: len(queries)]
        apart = search.Apart(own.numpy(), arrays[3]), nearest_on_device.Apart(own, unit)
    found = search.neighbors(arrays[0], arrays[1], k, shift=arrays[2], apart=apart and apart[0])
    others = nearest_on_device.neighbors(queries, bank, k, shift=shift, apart=apart and apart[1])
    for one, other in zip(found, others, strict=True):
        np.testing.assert_array_equal(one, other.numpy())
    return found


def set_tile(monkeypatch, size):
    for module in (search, nearest_on_device, voting):
        monkeypatch.setattr(module, "TILE", size)


def agree(queries, bank, k):
    nearest = neighbors(queries, bank, k)
    cosines, order = brute(queries, bank, k)
    np.testing.assert_array_equal(nearest.indices, order)
    np.testing.assert_allclose(nearest.similarities, cosines, rtol=0, atol=1e-7)


def noise(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("count", "size", "dim", "k"), [(1, 50, 8, 5), (7, 3, 4, 200), (33, 500, 64, 20), (5, 400, 1, 9)]
)
def test_is_sorting_everything(count, size, dim, k):
    agree(noise(count, dim), noise(size, dim, 1), k)


def test_in_many_tiles(monkeypatch):
    set_tile(monkeypatch, 64)
    agree(noise(150, 16), noise(1000, 16, 1), 10)


@pytest.mark.parametrize("farthest_first", [True, False])
def test_whatever_the_order_of_the_bank(monkeypatch, farthest_first):
    set_tile(monkeypatch, 32)
    query, bank = noise(1, 8), noise(700, 8, 1)
    ranked = (torch.nn.functional.normalize(bank) @ query[0]).argsort(descending=not farthest_first)
    agree(query.repeat(9, 1), bank[ranked], 12)


def test_more_candidates_are_kept_where_single_precision_cannot_tell_which_belong():
    """300 vectors of one direction and many lengths: their products differ by rounding, the exact cosines are ties."""
    direction = noise(1, 257)
    bank = direction * torch.linspace(0.3, 9, 300)[:, None]
    agree(noise(9, 257, 1) * 0.01 + direction, bank, 5)


@pytest.mark.parametrize("tile", [16, 2048])
def test_equal_vectors_come_in_order_of_index(monkeypatch, tile):
    set_tile(monkeypatch, tile)
    bank = noise(40, 24, 1)[torch.randint(40, (900,), generator=torch.Generator().manual_seed(2))]
    agree(noise(21, 24), bank, 50)
    agree(noise(1, 24), bank, 50)
    agree(noise(5, 24), noise(1, 24, 1).repeat(3000, 1), 50)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 80), st.booleans())
def test_more_copies_than_a_search_keeps(seed, kinds, k, apart):
    """Thousands of equal vectors, and as many of another length: those with the lowest indices, outside the unit."""
    rng = np.random.default_rng(seed)
    vectors = noise(kinds, 8, seed)
    bank = vectors[torch.from_numpy(rng.integers(0, kinds, 2600))]
    bank[::2] *= 2  # powers of two change no cosine
    queries = torch.cat([vectors, noise(4, 8, seed + 1)])
    if not apart:
        return agree(queries, bank, k)
    unit = torch.from_numpy(rng.integers(0, 3, len(bank)))
    nearest = neighbors(bank[:9], bank, k, unit=unit)
    assert (nearest.similarities > -np.inf).all()
    for i in range(9):
        others = np.flatnonzero(unit.numpy() != int(unit[i]))
        _, order = brute(bank[i : i + 1], bank[others], k)
        np.testing.assert_array_equal(nearest.indices[i], others[order[0]])
    return None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 300))
def test_ties_of_integer_vectors_are_exact(seed, dim, k):
    generator = torch.Generator().manual_seed(seed)
    bank = torch.randint(-2, 3, (300, dim), generator=generator).float()
    agree(torch.randint(-2, 3, (12, dim), generator=generator).float(), bank, k)


def test_zero_vectors_are_near_nothing():
    bank = torch.tensor([[-1.0, 0], [0, 0], [1, 0], [0, 0]])
    nearest = neighbors(torch.tensor([[2.0, 0], [0, 0]]), bank, 4)
    assert nearest.indices.tolist() == [[2, 1, 3, 0], [0, 1, 2, 3]]
    assert nearest.similarities.tolist() == [[1, 0, 0, -1], [0, 0, 0, 0]]


def test_length_does_not_matter():
    queries, bank = noise(5, 12), noise(60, 12, 1)
    scales = torch.logspace(-9, 9, 60, base=2)[torch.randperm(60, generator=torch.Generator().manual_seed(1))].round()
    scales = 2.0 ** scales.clamp(min=1).log2().round()
    plain, scaled = (
        neighbors(queries, bank, 60),
        neighbors(queries * 1e-20, bank * scales[:, None] * 1e20, 60),
    )
    assert np.array_equal(plain.indices, scaled.indices)


@pytest.mark.parametrize("tile", [64, 100, 333])
def test_neither_tiles_nor_company_matter(monkeypatch, tile):
    queries, bank = noise(400, 32), noise(1000, 32, 1)
    whole = neighbors(queries, bank, 30)
    alone = neighbors(queries[17:18], bank, 30)
    set_tile(monkeypatch, tile)
    parts = neighbors(queries, bank, 30)
    for a, b, one in zip(whole, parts, alone, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a[17:18], one)


def test_a_smaller_k_is_a_prefix():
    queries, bank = noise(50, 16), noise(500, 16, 1)
    large, small = neighbors(queries, bank, 100), neighbors(queries, bank, 7)
    assert np.array_equal(large.indices[:, :7], small.indices)
    assert np.array_equal(large.similarities[:, :7], small.similarities)


def test_half_precision_banks_are_searched_as_they_are():
    queries, bank = noise(9, 16).half(), noise(300, 16, 1).half()
    agree(queries, bank, 20)


def stored(values, truth, counts=None, classes=None):
    counts = torch.ones(len(truth), dtype=torch.int64) if counts is None else torch.as_tensor(counts)
    examples = [Example(id=f"v{i}", path=f"{i}.mp4", truth=t) for i, t in enumerate(truth)]
    first = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return StoredFeatures(examples, [f"c{i}" for i in range(classes or max(truth) + 1)], torch.as_tensor(values), first)


def votes(train, test, k, tau):
    """Scores by loops over examples, their vectors and the neighbors of these."""
    out = np.zeros((len(test.examples), len(train.classes)))
    owner = torch.repeat_interleave(train.offsets.diff()).tolist()
    for e in range(len(test.examples)):
        for query in test.values[test.offsets[e] : test.offsets[e + 1]]:
            cosines, order = brute(query[None], train.values, k)
            for c, i in zip(cosines[0], order[0], strict=True):
                out[e, train.examples[owner[i]].truth] += np.exp(float(c) / tau)
    return out


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_units_are_left_out_within_the_tile_and_the_mean_is_subtracted_there(monkeypatch, dtype):
    set_tile(monkeypatch, 16)
    generator = torch.Generator().manual_seed(3)
    bank = torch.randn(90, 5, generator=generator).to(dtype)
    shift, k = bank.double().mean(0).float(), 12
    unit = torch.zeros(90, dtype=torch.int64)  # most of the bank is one unit, and 20 vectors are one each
    unit[::5], unit[1:9:4] = torch.arange(1, 19), torch.tensor([19, 20])
    nearest = neighbors(bank, bank, k, shift=shift, unit=unit)
    vectors = (bank.float() - shift).double().numpy()
    unit_vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for i in range(90):
        others = [(-np.float32(unit_vectors[i] @ unit_vectors[j]), j) for j in range(90) if unit[j] != unit[i]]
        expected = sorted(others)[:k]
        assert nearest.indices[i].tolist() == [j for _, j in expected]
        assert nearest.similarities[i].tolist() == pytest.approx([-float(s) for s, _ in expected], abs=1e-6)


def test_where_fewer_than_k_are_left_the_others_are_infinitely_far():
    bank = torch.eye(5)
    unit = torch.tensor([0, 0, 0, 0, 1])
    nearest = neighbors(bank, bank, 3, unit=unit)
    assert nearest.indices[:4, 0].tolist() == [4] * 4
    assert np.isinf(nearest.similarities[:4]).tolist() == [[False, True, True]] * 4
    assert nearest.indices[4].tolist() == [0, 1, 2]


@pytest.mark.parametrize("tau", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("tile", [4, 2048])
def test_votes_are_summed_over_the_clips_of_an_example(monkeypatch, tau, tile):
    for module in (voting, search):
        monkeypatch.setattr(module, "TILE", tile)
    rng = np.random.default_rng(0)
    train = stored(noise(60, 8), rng.integers(0, 6, 20).tolist(), [3] * 20)
    test = stored(noise(15, 8, 1), [0] * 5, [1, 2, 3, 4, 5], classes=6)
    got = np.stack(knn.KNNProbe(k=7, tau=tau, center=False).predict(train, test))
    expected = votes(train, test, 7, tau)
    np.testing.assert_allclose(got, expected / expected.sum(1, keepdims=True), rtol=1e-5, atol=1e-7)
    assert got.dtype == np.float32


def test_scores_stay_finite_at_a_tiny_temperature():
    train, test = stored(noise(30, 4), [0, 1, 2] * 10), stored(noise(5, 4, 1), [0] * 5, classes=3)
    got = np.stack(knn.KNNProbe(tau=1e-5).predict(train, test))
    nearest = brute(test.values, train.values, 1)[1][:, 0] % 3
    np.testing.assert_array_equal(got.argmax(1), nearest)
    assert np.isfinite(got).all()


def test_video_is_the_mean_before_normalization():
    values, counts = noise(40, 8) * torch.arange(1, 41)[:, None], [1, 2, 3, 4] * 4
    train = stored(values, [0, 1] * 8, counts)
    mean = torch.stack([part.mean(0) for part in values.split(counts)])
    averaged = knn.KNNProbe(k=5, mean=True).predict(train, train)
    np.testing.assert_array_equal(
        averaged, knn.KNNProbe(k=5).predict(stored(mean, [0, 1] * 8), stored(mean, [0, 1] * 8))
    )


def test_equal_votes_go_to_the_lower_class():
    probe = knn.KNNProbe(k=4)
    train = stored(torch.ones(4, 3), [2, 1, 1, 2], classes=6)
    predictions = probe.predict(train, stored(torch.ones(2, 3), [1, 2], classes=6))
    np.testing.assert_allclose(predictions[0], [0, 0.5, 0.5, 0, 0, 0])
    assert probe.score(predictions, [1, 2]) == {"top-1": 50.0, "top-5": 100.0, "mean class accuracy": 50.0}
    assert probe.outcomes(predictions, [1, 2]) == [100.0, 0.0]


def test_top_5_only_of_more_than_five_classes():
    train = stored(noise(10, 3), [0, 1, 2, 3, 4] * 2)
    probe = knn.build()
    assert list(probe.score(probe.predict(train, train), [0, 1, 2, 3, 4] * 2)) == ["top-1", "mean class accuracy"]


def test_centered_vectors_have_the_votes_of_the_centered_bank():
    train = stored(noise(60, 8) + 5, [i % 6 for i in range(20)], [3] * 20)
    test = stored(noise(15, 8, 1) + 5, [0] * 5, [1, 2, 3, 4, 5], classes=6)
    mean = train.values.mean(0)
    moved = [replace(f, values=f.values - mean) for f in (train, test)]
    got = knn.KNNProbe(k=7).predict(train, test)
    np.testing.assert_allclose(got, knn.KNNProbe(k=7, center=False).predict(*moved), atol=1e-5)
    far = [replace(f, values=f.values + 1000) for f in (train, test)]
    np.testing.assert_allclose(knn.KNNProbe(k=7).predict(*far), got, atol=0.01)


@pytest.mark.parametrize(
    ("sizes", "k"), [([1, 1], 1), ([5, 5], 2), ([3, 9, 30], 4), ([100] * 3, 20), ([2, 10**5], 1), ([0, 8, 0, 8], 4)]
)
def test_k_is_half_a_median_class(sizes, k):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    assert voting.half_a_class(labels) == k


def test_a_small_folder_is_not_a_count_of_its_classes():
    """Two classes apart, all vectors within a narrow cone: with all neighbors voting, the larger class wins."""
    rng = np.random.default_rng(0)
    truth = [0] * 24 + [1] * 22
    side = np.where(np.array(truth) == 0, 1.0, -1.0)[:, None] * np.eye(16)[0] * 0.3
    values = torch.tensor(side + 0.05 * rng.normal(size=(46, 16)) + 10 * np.eye(16)[1], dtype=torch.float32)
    features = stored(values, truth)
    share = {
        name: knn.build(name).score(knn.build(name).predict(features, features), truth)["top-1"]
        for name in ("", "paper")
    }
    assert share[""] == 100
    assert share["paper"] == pytest.approx(100 * 24 / 46)
    assert knn.build().predict(features, features).about == {"k": 11}


def test_one_vector_a_class_is_enough():
    train = stored(torch.tensor([[3.0, 1], [3, -1], [4, 0.5]]), [0, 1, 2])
    assert np.argmax(knn.build().predict(train, train), axis=1).tolist() == [0, 1, 2]
    assert np.argmax(knn.build().predict(stored(torch.ones(1, 2), [0], classes=2), train), axis=1).tolist() == [0] * 3


def test_paper_is_the_report_to_the_letter():
    for name, column in (("paper", ""), ("paper-clip", "clip"), ("paper-video", "video")):
        how = knn.build(name)
        assert (how.k, how.tau, how.center, how.candidates) == (200, 0.1, False, [{"k": 200, "tau": 0.1}])
        assert (how.train, how.test, how.mean) == (knn.build(column).train, knn.build(column).test, column == "video")


def test_variants():
    assert knn.build() == knn.build("uniform")
    assert knn.build().name == "knn"
    assert {v: knn.build(v).name for v in ("clip", "video")} == {"clip": "knn/clip", "video": "knn/video"}
    assert set(knn.VARIANTS) == set(knn.PRESETS)
    assert knn.build("clip").train == knn.build("video").test != knn.build().train
    with pytest.raises(ValueError, match="did you mean 'knn/video'"):
        knn.build("vidoe")


@pytest.mark.parametrize("fields", [{"k": -1}, {"tau": 0.0}, {"tau": float("nan")}])
def test_impossible_settings(fields):
    with pytest.raises(ValueError, match=r"(k = -1 must be at least 0|tau = .* must be positive)"):
        knn.KNNProbe(**fields)


def test_bad_features_are_named():
    good, bad = stored(noise(6, 3), [0, 1] * 3), noise(6, 3)
    bad[2, 1] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or infinite vectors for 1 of 6 examples \(v2\)"):
        knn.KNNProbe().predict(stored(bad, [0, 1] * 3), good)
    with pytest.raises(ValueError, match="training vectors have shape 3, test vectors 4"):
        knn.KNNProbe().predict(good, stored(noise(2, 4), [0, 1]))
