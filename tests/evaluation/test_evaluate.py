"""Evaluation: what is recorded is what was asked of the videos that are there now, and nothing else."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import blob, write_video
from vitascope.core.errors import UserError
from vitascope.core.types import Card, Dataset
from vitascope.datasets.builders.folder import build
from vitascope.encoders.base import Tokens
from vitascope.evaluation import results
from vitascope.evaluation.evaluate import evaluate
from vitascope.evaluation.results import Result
from vitascope.evaluation.runner import EvaluationConfig, protocol_of
from vitascope.features.extract import ExtractionOptions, embed
from vitascope.features.view import View
from vitascope.probes.methods.knn import KNNProbe
from vitascope.sampling.names import MultiClip, Uniform

CARD = Card(name="lab/mean", digest="1", dim=12, frames=4, size=16, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
OPTIONS = ExtractionOptions(workers=1, quiet=True)


class Mean:
    """Each frame's mean color, in order."""

    card = CARD

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        frames = clips.mean((3, 4)).transpose(1, 2)
        return Tokens(frames[:, :, None, None], frames.flatten(1))


def listed(root: Path, *, bright: bool = False, leave: str = "") -> Path:
    """Two classes of four videos with a manifest; file `leave` is not written."""
    names = [f"{c}/{i}.mp4" for c in "ab" for i in range(4)]
    for i, name in enumerate(names):
        if name != leave:
            write_video(
                root / name, np.full((12, 32, 32, 3), 20 * i + 40, np.uint8) if bright else blob(name[0] == "b", i)
            )
    (root / "manifest.csv").write_text("\n".join(["path,label", *(f"{n},{n[0]}" for n in names)]))
    return root


def ask(
    root: Path | str, tmp_path: Path, *, retry_failed: bool = False, overwrite: bool = False, seed: int = 0
) -> Result:
    options = replace(OPTIONS, retry_failed=retry_failed)
    config = EvaluationConfig(
        run=tmp_path / "run", store=tmp_path / "store", options=options, overwrite=overwrite, seed=seed
    )
    return evaluate(root, [Mean()], ["knn"], config=config)[0]


def lines(tmp_path: Path) -> int:
    return len((tmp_path / "run" / results.RESULTS).read_text().splitlines())


def test_recorded_results_are_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = listed(tmp_path / "set")
    first = ask(root, tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(root)
    assert [ask(at, tmp_path) for at in (root, "set", "set/../set/", "link")] == [first] * 4
    assert lines(tmp_path) == 1
    assert ask(root, tmp_path, overwrite=True).scores == first.scores
    assert lines(tmp_path) == 2
    assert results.read(tmp_path / "run")[0].predictions == first.predictions


def test_a_recorded_result_follows_the_files_it_was_computed_from(tmp_path: Path) -> None:
    root = listed(tmp_path / "set")
    first = ask(root, tmp_path)
    assert first.inputs
    path = root / "a" / "1.mp4"
    write_video(path, blob(2.0, 6, frames=20))
    second = ask(root, tmp_path)
    assert (second.inputs != first.inputs, lines(tmp_path)) == (True, 2)
    write_video(path, blob(1.0, 7, frames=21))
    embed(Mean(), build(str(root)), [View(Uniform())], root=tmp_path / "store", options=OPTIONS)
    assert (ask(root, tmp_path).inputs != second.inputs, lines(tmp_path)) == (True, 3)
    shutil.rmtree(tmp_path / "store")
    ask(root, tmp_path)
    assert lines(tmp_path) == 3, "without a store nothing tells otherwise"


def test_a_damaged_store_does_not_stop_the_other_encoders(tmp_path: Path) -> None:
    root = listed(tmp_path / "set")
    ask(root, tmp_path)
    (index,) = (tmp_path / "store").glob("*/*/*/index.parquet")
    index.write_bytes(index.read_bytes()[:-100])
    other = Mean()
    other.card = replace(CARD, name="lab/other", digest="2")
    config = EvaluationConfig(run=tmp_path / "run", store=tmp_path / "store", options=OPTIONS, overwrite=True)
    with pytest.raises(UserError, match=f"{index}: cannot be read .* all other results are recorded"):
        evaluate(root, [Mean(), other], ["knn"], config=config)
    assert [r.encoder for r in results.read(tmp_path / "run")] == ["lab/mean", "lab/other"]


def test_headline_outcomes_and_predictions_agree(tmp_path: Path) -> None:
    result = ask(listed(tmp_path / "set"), tmp_path)
    kept = results.read_predictions(tmp_path / "run" / result.predictions)
    assert sorted(kept["id"]) == sorted(e.id for e in build(str(tmp_path / "set")).examples)
    right = [100.0 * (top[0] == truth) for top, truth in zip(kept["top"], kept["truth"], strict=True)]
    assert kept["outcome"] == right
    assert result.headline.value == pytest.approx(np.mean(right))
    assert kept["path"] == [str(tmp_path / "set" / i) for i in kept["id"]]
    assert result.data["tested_classes"] == [4, 4]
    assert result.data["lengths"]["quartiles"] == pytest.approx([1.2] * 5), "twelve frames at ten a second"
    assert result.cost == {"clips": 1.0, "bytes": 2.0 * CARD.dim, "gflops": 0.0, "encoded": 8}
    sizes = np.bincount(kept["fold"])
    assert np.average([fold["top-1"] for fold in result.folds], weights=sizes) == pytest.approx(result.headline.value)


def test_a_failed_video_is_retried_on_request(tmp_path: Path) -> None:
    root = listed(tmp_path / "set", leave="a/1.mp4")
    (root / "a" / "1.mp4").write_bytes(b"junk")
    assert set(ask(root, tmp_path).missing) == {"a/1.mp4"}
    assert set(ask(root, tmp_path, retry_failed=True).missing) == {"a/1.mp4"}
    write_video(root / "a" / "1.mp4", blob(0.0, 1))
    result = ask(root, tmp_path, retry_failed=True)
    assert (result.n, result.missing) == (8, {})


def test_a_video_that_was_missing_before_is_evaluated(tmp_path: Path) -> None:
    root = listed(tmp_path / "set", leave="b/0.mp4")
    first = ask(root, tmp_path)
    assert (first.n, first.expected, first.missing) == (7, 8, {"b/0.mp4": "no such file"})
    write_video(root / "b" / "0.mp4", blob(1.0, 4))
    result = ask(root, tmp_path)
    assert (result.n, result.missing) == (8, {})


def test_a_video_deleted_after_it_was_embedded_is_used_and_not_missing(tmp_path: Path) -> None:
    root = listed(tmp_path / "set")
    ask(root, tmp_path)
    os.unlink(root / "a" / "0.mp4")
    result = ask(root, tmp_path, seed=1)
    assert (result.n, result.missing) == (8, {})


def test_a_video_replaced_by_a_broken_one_is_missing(tmp_path: Path) -> None:
    root = listed(tmp_path / "set")
    ask(root, tmp_path)
    (root / "a" / "0.mp4").write_bytes(b"junk")
    assert set(ask(root, tmp_path, overwrite=True).missing) == {"a/0.mp4"}


def test_another_folder_of_the_same_name_is_another_question(tmp_path: Path) -> None:
    one = ask(listed(tmp_path / "one" / "set"), tmp_path)
    other = ask(listed(tmp_path / "other" / "set", bright=True), tmp_path)
    assert one.protocol == other.protocol
    assert other.headline != one.headline


def test_a_card_whose_store_lacks_examples_is_reported(tmp_path: Path) -> None:
    root = listed(tmp_path / "set")
    dataset = build(str(root))
    cut = replace(dataset, examples=dataset.examples[:7], folds=())
    embed(Mean(), cut, [KNNProbe().train], root=tmp_path / "store", options=OPTIONS)
    config = EvaluationConfig(run=tmp_path / "run", store=tmp_path / "store")
    result = evaluate(dataset, [CARD], ["knn"], config=config)[0]
    assert (result.n, result.missing) == (7, {"b/3.mp4": "not in the store"})


def test_the_protocol_changes_with_the_question_and_with_nothing_else(tmp_path: Path) -> None:
    dataset, config = build(str(listed(tmp_path / "set"))), EvaluationConfig(run=tmp_path)
    probe = KNNProbe()
    base = protocol_of(dataset, probe, config)
    same = [
        protocol_of(build(str(listed(tmp_path / "elsewhere" / "set"))), probe, config),
        protocol_of(
            dataset, probe, EvaluationConfig(run=tmp_path / "x", store=tmp_path / "y", options=OPTIONS, overwrite=True)
        ),
        protocol_of(replace(dataset, axis="motion"), probe, config),
    ]
    assert same == [base] * len(same)
    first, *rest = dataset.examples
    others = [
        protocol_of(dataset, replace(probe, k=10), config),
        protocol_of(dataset, replace(probe, version=99), config),
        protocol_of(dataset, replace(probe, test=View(MultiClip(2.0))), config),
        protocol_of(dataset, probe, replace(config, seed=1)),
        protocol_of(dataset, probe, replace(config, limit=5)),
        protocol_of(replace(dataset, classes=("a", "c")), probe, config),
        protocol_of(replace(dataset, folds=dataset.folds[:-1]), probe, config),
        protocol_of(replace(dataset, examples=tuple(rest)), probe, config),
    ]
    for change in ({"truth": 1}, {"span": (0.0, 1.0)}, {"group": "g"}, {"fps": 25.0}):
        altered = replace(dataset, examples=(replace(first, **change), *rest))  # type: ignore[arg-type]
        others.append(protocol_of(altered, probe, config))
    assert len({base, *others}) == 1 + len(others)


def test_a_probe_rejects_datasets_of_another_kind(tmp_path: Path) -> None:
    for kind, task, message in (
        ("localization", "knn", "knn is for recognition, but some/set is for localization"),
        ("segmentation", "localize", "localize is for localization, but some/set is for segmentation"),
        ("recognition", "segment", "segment is for segmentation, but some/set is for recognition"),
    ):
        data: Dataset[Any] = Dataset(name="some/set", examples=(), classes=(), folds=(), kind=kind)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=message):
            evaluate(data, ["pixels/thumbnail"], [task], output=tmp_path)
