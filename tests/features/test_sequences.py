"""Dense features: rows in order of time, with the seconds they speak for, from whatever features they are stored in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vitascope.core.types import Card, Dataset, Example, Fold, Segment
from vitascope.features.base import MemmapFeatures, StoredFeatures, chain, class_labels
from vitascope.features.extract import ExtractionOptions
from vitascope.features.imports import twelvelabs
from vitascope.features.sequences import feature_sequences
from vitascope.features.source import FeatureSource, load_memmap, load_stored
from vitascope.features.store import EmbeddedExample, Store
from vitascope.features.view import View
from vitascope.sampling.names import MultiClip

CARD = Card(name="lab/net", digest="0", dim=3, frames=0, size=0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
VIEW = View(MultiClip(0.5, 0.25))
Films = Dataset[tuple[Segment, ...]]
LENGTHS = {"a": 4, "b": 1, "c": 3}
RNG = np.random.default_rng(0)
VECTORS = {name: RNG.standard_normal((n, 3)).astype(np.float16).astype(np.float32) for name, n in LENGTHS.items()}


def spans(count: int) -> list[tuple[float, float]]:
    return [(0.25 * j, 0.25 * j + 0.5) for j in range(count)]


@pytest.fixture
def dataset(tmp_path: Path) -> Films:
    """Three videos with vectors, one without; the last has no duration."""
    lasting = {"a": 1.4, "b": 0.5, "c": None, "d": 2.0}
    made: Films = Dataset(
        name="films",
        examples=tuple(Example(id=i, path="", truth=(Segment(0, 1, 0),), duration=d) for i, d in lasting.items()),
        classes=("x",),
        folds=(Fold(name="f", train=("a", "d"), test=("b", "c")),),
        cards=(CARD,),
        store=str(tmp_path),
        kind="localization",
    )
    store = Store(tmp_path, twelvelabs.imported_key(made, "clips"))
    store.create()
    # of c the rows were kept backwards
    each = {i: (v, spans(len(v))) for i, v in VECTORS.items()}
    each["c"] = (VECTORS["c"][::-1], spans(3)[::-1])
    store.add("0", [EmbeddedExample(i, v, s, [""] * len(v)) for i, (v, s) in each.items()])
    store.seal()
    return made


@pytest.mark.parametrize("read", [load_stored, load_memmap])
def test_spans_reach_the_head_from_the_store(dataset: Films, read: object, tmp_path: Path) -> None:
    features = read(dataset, CARD, VIEW, ids=["c", "d", "b", "a"], root=tmp_path)  # type: ignore[operator]
    result = list(feature_sequences(features))
    assert [e.id for e in features.examples] == ["c", "b", "a"]
    for (values, seconds, _), name in zip(result, "cba", strict=True):
        assert values.dtype == torch.float32
        assert np.array_equal(values.numpy(), VECTORS[name]), "rows in order of time"
        assert seconds.tolist() == [list(s) for s in spans(LENGTHS[name])]
    assert [d.duration for d in result] == [1.0, 0.5, 1.4], "of a video without one the end of its last row"
    again = list(feature_sequences(features, [2, 0]))
    assert [np.array_equal(d.values, VECTORS[n]) for d, n in zip(again, "ac", strict=True)] == [True, True]


def test_a_feature_source_keeps_spans(dataset: Films, tmp_path: Path) -> None:
    with FeatureSource(CARD, dataset, tmp_path, ExtractionOptions()) as source:
        source.prepare([VIEW])
        (one,) = feature_sequences(source.features(VIEW, ["a"]))
    assert np.array_equal(one.values, VECTORS["a"])


def test_chained_features_keep_their_spans(dataset: Films, tmp_path: Path) -> None:
    parts = [load_stored(dataset, CARD, VIEW, ids=ids, root=tmp_path) for ids in (["a"], ["b", "c"])]
    result = list(feature_sequences(chain(parts)))
    assert [len(d.spans) for d in result] == [4, 1, 3]
    bare = StoredFeatures(parts[0].examples, ["x"], parts[0].values, parts[0].offsets)
    assert not chain([bare, parts[1]]).spans, "of some alone they would be somebody else's"


def test_recognition_rejects_labels_with_times(dataset: Films, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a is annotated with times, but this probe predicts one class per video"):
        class_labels(load_stored(dataset, CARD, VIEW, ids=["a"], root=tmp_path))


def film(values: torch.Tensor, seconds: list[tuple[float, float]]) -> StoredFeatures:
    example = Example(id="film", path="", truth=())
    return StoredFeatures([example], ["x"], values, torch.tensor([0, len(values)]), spans=[seconds])


def test_invalid_sequences_are_rejected() -> None:
    good = film(torch.zeros(2, 3), spans(2))
    bare = StoredFeatures(good.examples, ["x"], good.values, good.offsets)
    disk = MemmapFeatures(good.examples, ["x"], lambda rows: good.values[rows], good.offsets)
    for features in (bare, disk):
        with pytest.raises(ValueError, match="have no time spans; store them"):
            list(feature_sequences(features))
    with pytest.raises(
        ValueError, match=r"film: vectors of shape \(3, 2\); localization and segmentation read one vector per clip"
    ):
        list(feature_sequences(film(torch.zeros(2, 3, 2), spans(2))))
    with pytest.raises(ValueError, match="NaN or infinite vectors for 1 of 1 examples \\(film\\)"):
        list(feature_sequences(film(torch.full((2, 3), torch.nan), spans(2))))
    with pytest.raises(ValueError, match="film: clip 1 ends before it starts"):
        list(feature_sequences(film(torch.zeros(2, 3), [(0.0, 0.5), (0.5, 0.2)])))
    with pytest.raises(ValueError, match="film: no vector"):
        list(feature_sequences(film(torch.zeros(0, 3), [])))
