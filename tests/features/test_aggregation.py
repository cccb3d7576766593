"""Aggregation of stored features: order by time, what is fitted, and videos of different lengths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from vitascope.core.errors import UserError
from vitascope.core.types import Example, digest
from vitascope.features import aggregation
from vitascope.features.aggregation import FittedAggregator, aggregated, fit, in_time
from vitascope.features.aggregators import parse
from vitascope.features.base import ClipSpans, StoredFeatures
from vitascope.features.view import View
from vitascope.sampling.names import Drawn, MultiClip, RandomClip, Reversed, Shuffled, Uniform


def stored(counts: list[int], dim: int = 4, seed: int = 0, spans: np.ndarray | None = None) -> StoredFeatures:
    offsets = torch.tensor([0, *counts]).cumsum(0)
    values = torch.randn(int(offsets[-1]), dim, generator=torch.Generator().manual_seed(seed))
    table = np.concatenate([[[2.0 * i, 2.0 * i + 2] for i in range(n)] for n in counts]) if spans is None else spans
    examples = [Example(id=f"v{i}", path="", truth=i % 2) for i in range(len(counts))]
    return StoredFeatures(examples, ("a", "b"), values, offsets, ClipSpans(table, offsets))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 10**6))
def test_order_of_storage_does_not_matter(counts: list[int], seed: int) -> None:
    plain, rng = stored(counts, seed=seed), np.random.default_rng(seed)
    order = np.concatenate([a + rng.permutation(n) for a, n in zip(plain.offsets.tolist(), counts, strict=False)])
    mixed = replace(plain, values=plain.values[order], spans=ClipSpans(plain.spans.table[order], plain.offsets))
    assert torch.equal(in_time(mixed).values, plain.values)
    assert in_time(mixed).counts.tolist() == counts


def test_crops_of_one_time_are_averaged() -> None:
    spans = np.array([[0, 1], [0, 1], [1, 2], [1, 2.0], [0, 5]])
    features = stored([4, 1], spans=spans)
    sequences = in_time(features)
    assert sequences.counts.tolist() == [2, 1]
    v = features.values
    torch.testing.assert_close(sequences.values, torch.stack([v[:2].mean(0), v[2:4].mean(0), v[4]]))


def test_unequal_steps_are_interpolated() -> None:
    starts = np.array([0, 1, 4.0])
    features = stored([3], spans=np.stack([starts, starts + 1], axis=1))
    expected = [np.interp([0, 2, 4], starts, features.values[:, d]) for d in range(4)]
    np.testing.assert_allclose(in_time(features).values.numpy().T, expected, atol=1e-6)


@pytest.mark.parametrize("spans", [(), ClipSpans(np.zeros((5, 2)), torch.tensor([0, 3, 5]))])
def test_vectors_without_times_are_in_the_order_of_storage(spans: ClipSpans) -> None:
    features = replace(stored([3, 2]), spans=spans)
    assert torch.equal(in_time(features).values, features.values)


def test_mean_is_that_of_videos_and_components_are_those_of_scikit_learn() -> None:
    features = stored([1, 9, 4, 7, 8, 6], dim=6)
    fitted = fit(parse("levy:3"), features)
    means = [features.values[a:b].mean(0) for a, b in zip(features.offsets[:-1], features.offsets[1:], strict=True)]
    torch.testing.assert_close(fitted.mean, torch.stack(means).mean(0))
    around = features.values.double().numpy() - fitted.mean.double().numpy()
    assert fitted.components is not None
    pca = PCA(3).fit(np.concatenate([around, -around]))  # of mean zero, so that nothing more is subtracted
    cosines = np.abs(np.sum(pca.components_.T * fitted.components.numpy(), axis=0))
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    assert fit(parse("levy:6"), features).components is None


@pytest.mark.parametrize("text", ["mean", "max", "dct:3", "levy:2", "order:3"])
def test_videos_of_different_lengths_are_each_as_alone(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features = stored([3, 1, 5, 3, 2, 5])
    fitted = fit(parse(text), features)
    made = fitted.apply(features)
    spans = zip(features.offsets[:-1], features.offsets[1:], strict=True)
    alone = torch.cat([fitted(features.values[None, a:b]) for a, b in spans])
    torch.testing.assert_close(made.values, alone)
    assert made.offsets.tolist() == list(range(7))
    monkeypatch.setattr(aggregation, "CHUNK", 1)
    torch.testing.assert_close(fitted.apply(features).values, alone)


def test_the_mean_of_centered_clips_is_the_centered_mean() -> None:
    features = stored([2, 5])
    fitted = fit(parse("mean"), features)
    expected = torch.stack([features.values[:2].mean(0), features.values[2:].mean(0)])
    torch.testing.assert_close(fitted.apply(features).values, expected - expected.mean(0))


def test_reversed_clips_come_from_the_last_to_the_first() -> None:
    train, test = stored([4, 4]), stored([4, 3], seed=1)
    view = View(MultiClip(2.0), agg=parse("order:4"))
    turned = View(Reversed(MultiClip(2.0)), agg=parse("order:4"))
    _, (forward, backward) = aggregated(train, [test, test], view, [view, turned])
    torch.testing.assert_close(backward.values.view(2, 4, 4), forward.values.view(2, 4, 4).flip(1))
    assert View(Reversed(Reversed(MultiClip(2.0)))).backwards is False
    assert View(Shuffled(Reversed(MultiClip(2.0)))).backwards is True


def test_without_an_aggregator_features_are_as_they_are() -> None:
    train, view = stored([4, 4]), View(MultiClip(2.0))
    assert aggregated(train, [train], view, [view]) == (train, [train])
    with pytest.raises(UserError, match="aggregated differently"):
        aggregated(train, [train], view, [replace(view, agg=parse("max"))])


def test_the_digest_of_a_view_without_an_aggregator_is_as_before() -> None:
    before = {"type": "View", "sampler": {"type": "Uniform", "rule": "centers"}, "reduce": "clip", "stored": True}
    assert digest(View(Uniform())) == digest(before)
    views = [View(MultiClip(2.0), agg=parse(text)) for text in ("dct:3", "dct:5", "slope")]
    assert len({digest(view) for view in [*views, View(MultiClip(2.0))]}) == 4
    assert {view.clips for view in views} == {View(MultiClip(2.0))}


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (View(Uniform()), "uniform has one clip a video"),
        (View(Reversed(Uniform())), "one clip a video"),
        (View(MultiClip(2.0), "grid", stored=False), "needs stored clip vectors"),
        (View(MultiClip(2.0), "time"), "needs stored clip vectors"),
        (View(Drawn(RandomClip(), 8)), "are drawn at random"),
    ],
)
def test_views_without_a_sequence_of_clips_are_refused(view: View, message: str) -> None:
    with pytest.raises(UserError, match=f"agg=dct:5: .*{message}"):
        replace(view, agg=parse("dct:5"))


def test_token_grids_are_refused() -> None:
    features = stored([2, 2])
    with pytest.raises(UserError, match="one vector per clip"):
        fit(parse("dct"), replace(features, values=features.values.view(4, 2, 2)))
    assert isinstance(fit(parse("dct"), features), FittedAggregator)
