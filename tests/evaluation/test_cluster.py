"""Trainings on a cluster: every number of one machine; on an imitation of Ray."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_ray import FakeRay
from features.test_extract import Mean
from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.evaluation import cluster
from vitascope.evaluation.evaluate import evaluate
from vitascope.evaluation.results import Result, read, read_predictions
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features.extract import ExtractionOptions
from vitascope.features.source import FeatureSource

OPTIONS = ExtractionOptions(workers=1, quiet=True)
PROBES = ["knn/clip", "linear+warmup=0+epochs=1", "linear+warmup=0+epochs=2"]


def config(root: Path, name: str, on: str = "", seeds: int = 2) -> EvaluationConfig:
    return EvaluationConfig(
        run=root / name, store=root / "store", seeds=seeds, limit=12, options=replace(OPTIONS, on=on)
    )


def numbers(results: list[Result], run: Path) -> list[Any]:
    """All that was computed."""
    return [
        (r.probe, r.scores, r.folds, r.seeds, r.missing, r.inputs, r.protocol, read_predictions(run / r.predictions))
        for r in results
    ]


def test_every_number_is_that_of_one_machine(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = evaluate(str(videos), ["pixels/thumbnail"], PROBES[:2], config=config(tmp_path, "one"))
    ray = FakeRay(lambda *_: False, [{"CPU": 2.0}])
    monkeypatch.setitem(sys.modules, "ray", ray)
    begun: list[object] = []
    run_training = cluster.run_training
    monkeypatch.setattr(cluster, "run_training", lambda *given: (begun.append(given[3]), run_training(*given))[1])
    on = evaluate(str(videos), ["pixels/thumbnail"], PROBES[:2], config=config(tmp_path, "on", "ray"))
    assert repr(numbers(on, tmp_path / "on")) == repr(numbers(one, tmp_path / "one"))  # NaN stands for no score
    folds = len(on[0].folds)
    assert len(begun) == folds * (1 + 2 * sum(probe.startswith("linear") for probe in PROBES[:2]))  # kNN draws nothing
    assert (one[0].code["device"], on[0].code["device"]) == ("cpu", "H200")

    monkeypatch.setattr(cluster, "run_training", lambda probes, *given: fails(run_training, probes, *given))
    with pytest.raises(UserError, match=r"linear\+warmup=0\+epochs=1: no such thing"):
        evaluate(str(videos), ["pixels/thumbnail"], PROBES[1:], config=config(tmp_path, "more", "ray", 1))
    assert [r.probe for r in read(tmp_path / "more")] == [PROBES[2]]  # one that fails leaves the others


def fails(run_training: Any, probes: Any, *given: Any) -> Any:
    if probes[0].name == PROBES[1]:
        raise UserError("no such thing")
    return run_training(probes, *given)


def test_a_node_without_the_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="store: not there on node"):
        cluster._train(source(tmp_path), config(tmp_path, "x"), [], (0, 0), (1, "/"))


def source(root: Path) -> FeatureSource:
    dataset: Dataset[int] = Dataset(name="x", examples=(), classes=("a",), folds=())
    return FeatureSource(Mean(), dataset, root / "store", OPTIONS)
