"""The card of the data that results keep: sizes by hand, lengths as NumPy has them, and older results without one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitascope.core.actors import Actor, Keyframes
from vitascope.core.errors import UserError
from vitascope.core.types import Card, Dataset, Example, Fold, Score, Segment, Timeline
from vitascope.evaluation import result_schema, results
from vitascope.evaluation.data_card import MAX_CLASSES, cost_card, data_card, extent, labels, merged
from vitascope.evaluation.results import Result
from vitascope.features.base import ClipSpans, StoredFeatures
from vitascope.features.extract import ExtractionSummary
from vitascope.sampling.names import MultiClip, Uniform

ENCODER = Card(name="e", digest="0", dim=4, frames=8, size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), gflops=3.0)


def dataset(**more: Any) -> Dataset[int]:
    examples = tuple(
        Example(id=f"v{i}", path=f"/f{i // 2}.mp4", truth=i % 3, group=f"g{i // 4}" if i < 8 else None)
        for i in range(10)
    )
    folds = (Fold(name="a", train=("v0", "v1", "v2"), test=("v3", "v4", "v5", "v8")),)
    return replace(Dataset(name="d", examples=examples, classes=("x", "y", "z"), folds=folds), **more)


def features(seconds: dict[str, list[tuple[float, float]]]) -> StoredFeatures:
    bounds = np.cumsum([0, *(len(s) for s in seconds.values())])
    offsets = torch.from_numpy(bounds)
    table = np.array([span for spans in seconds.values() for span in spans], np.float64)
    examples = [Example(id=i, path="", truth=0) for i in seconds]
    return StoredFeatures(examples, ("x",), torch.zeros(len(table), 4), offsets, ClipSpans(table, offsets))


def test_sizes_groups_and_folds_by_hand() -> None:
    card = data_card(dataset(), extent(features({"v3": [(0, 1)]})))
    assert (card["examples"], card["tested"]) == (7, 4)
    assert card["classes"] == [2, 2, 3], "of v0 to v5 and v8"
    assert card["tested_classes"] == [1, 1, 2]
    assert card["groups"] == {"count": 2, "grouped": 6, "largest": 4, "files": 4}
    assert card["folds"] == [{"name": "a", "train": 3, "test": 4}]


def test_lengths_are_those_of_clips_unless_all_are_annotated() -> None:
    measured = extent(features({"v3": [(0.0, 2.0), (2.0, 4.0)], "v4": [(1.0, 2.0)], "v5": [(0.0, 9.0)]}))
    of_clips = data_card(dataset(), measured)["lengths"]
    assert of_clips["of"] == "clips"
    assert of_clips["quartiles"] == pytest.approx(np.percentile([4.0, 1.0, 9.0], [0, 25, 50, 75, 100]))
    assert sum(of_clips["histogram"]) == of_clips["count"] == 3
    known = tuple(replace(e, duration=float(i)) for i, e in enumerate(dataset().examples))
    annotated = data_card(dataset(examples=known), measured)["lengths"]
    assert annotated["of"] == "annotated"
    assert annotated["quartiles"] == pytest.approx(np.percentile([0, 1, 2, 3, 4, 5, 8], [0, 25, 50, 75, 100]))
    cut = tuple(replace(e, span=(1.0, 3.5)) for e in dataset().examples)
    assert data_card(dataset(examples=cut), measured)["lengths"]["quartiles"] == [2.5] * 5
    assert data_card(dataset(), merged([]))["lengths"] == {}


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        (4, [4]),
        ((1, 2), [1, 2]),
        ((Segment(0, 1, 3), Segment(2, 3, 3)), [3, 3]),
        (Timeline(((0, 5), (2, 1), (0, 3)), 10.0), [0, 2, 0]),
        (Keyframes((1.0,), (Actor(1.0, (0, 0, 1, 1), (1, 4)),)), [1, 4]),
        ((), []),
    ],
)
def test_the_labels_of_every_kind_of_truth(truth: Any, expected: list[int]) -> None:
    assert labels(truth) == expected


def test_very_many_classes_are_kept_as_quantiles() -> None:
    count = 5 * MAX_CLASSES
    examples = tuple(Example(id=str(i), path="", truth=i) for i in range(count))
    fold = Fold(name="a", train=(), test=tuple(str(i) for i in range(count)))
    many = Dataset(name="d", examples=examples, classes=tuple(map(str, range(count))), folds=(fold,))
    card = data_card(many, merged([]))
    assert card["classes"] == [1] * MAX_CLASSES
    assert len(json.dumps(card)) < 20_000


def test_costs_by_hand() -> None:
    measured = extent(features({"v3": [(0, 1), (1, 2), (2, 3)], "v4": [(0, 1)]}))
    card = cost_card(ENCODER, MultiClip(1.0), measured, ExtractionSummary(clips=7))
    assert card == {"clips": 2.0, "bytes": 2 * 4 * 2.0, "gflops": 3.0, "encoded": 7}
    live = cost_card(ENCODER, MultiClip(2.0), merged([]), ExtractionSummary())
    assert (live["clips"], live["bytes"]) == (5.0, 0.0), "five clips of two seconds in ten"
    assert cost_card(ENCODER, Uniform(), merged([]), ExtractionSummary())["clips"] == 1.0


def result(**more: Any) -> Result:
    base = {"encoder": "e", "dataset": "d", "probe": "knn", "version": 1, "scores": {"top-1": Score(50.0)}}
    return Result(**base, settings={}, protocol="p", n=4, expected=4, **more)


def test_cards_survive_the_file_and_older_results_have_none(tmp_path: Path) -> None:
    measured = extent(features({"v3": [(0, 1)]}))
    told = result(
        data=data_card(dataset(), measured), cost=cost_card(ENCODER, Uniform(), measured, ExtractionSummary())
    )
    results.append(tmp_path, told)
    assert results.read(tmp_path)[0].data == told.data
    older = json.loads(told.to_json())
    del older["data"], older["cost"]
    assert Result.from_json(json.dumps(older)).data == {}


@pytest.mark.parametrize(
    "data", [{"examples": "many"}, {"lengths": {"quartiles": [1.0]}}, {"folds": [{"name": 1}]}, {"classes": [0.5]}]
)
def test_cards_that_hold_something_else_are_refused(data: Any) -> None:
    with pytest.raises(UserError, match="data"):
        result_schema.check_cards(data, {})
