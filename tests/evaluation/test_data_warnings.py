"""Warnings on the data go with the score: into the record, the terminal, the report and comparisons."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import blob, vitascope, write_video
from vitascope.core.data_warning import DataWarning
from vitascope.core.types import Example
from vitascope.evaluation import near_copies, results
from vitascope.evaluation.evaluate import evaluate
from vitascope.evaluation.results import Result
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features.base import StoredFeatures
from vitascope.features.extract import ExtractionOptions
from vitascope.report.analysis.data_warnings import warning_lines

OPTIONS = ExtractionOptions(workers=1, quiet=True)


def leaking(root: Path) -> Path:
    """A given split of class folders; all but one test video are copies of training videos, byte by byte."""
    for n in range(6):
        write_video(root / "train" / "ab"[n % 2] / f"{n}.mp4", blob(n % 2, n, side=64))
        shutil.copytree(root / "train", root / "test", dirs_exist_ok=True)
    write_video(root / "test" / "a" / "0.mp4", blob(0.3, 9, side=64))
    return root


def spans(root: Path, group: str = "") -> Path:
    """Eight recordings of two classes, five spans each, which look alike within a recording only."""
    rng = np.random.default_rng(0)
    rows = ["path,label,start,end" + ",group" * bool(group)]
    for n in range(8):
        color = rng.integers(0, 255, 3)
        frames = np.broadcast_to(color, (25, 32, 32, 3)) + rng.integers(0, 9, (25, 1, 1, 3))
        write_video(root / f"{n}.mp4", frames.clip(0, 255).astype(np.uint8))
        rows += [f"{n}.mp4,{'ab'[n // 2 % 2]},{i / 2},{i / 2 + 0.5}{f',{n}.mp4' * bool(group)}" for i in range(5)]
    (root / "manifest.csv").write_text("\n".join(rows))
    return root


def run(root: Path, output: Path, *models: str) -> list[Result]:
    config = EvaluationConfig(run=output, store=output / "store", options=OPTIONS)
    return evaluate(root, list(models or ["pixels/thumbnail"]), ["knn"], config=config)


def test_spans_of_one_recording_score_as_with_the_recording_as_group(tmp_path: Path) -> None:
    (default,), (given,) = (run(spans(tmp_path / name / "set", name), tmp_path / name) for name in ("", "group"))
    assert default.scores == given.scores
    assert default.protocol == given.protocol
    assert default.data_warnings == given.data_warnings == ()
    kept = results.read_predictions(tmp_path / "" / default.predictions)
    assert kept["group"] == [i.split("#")[0] for i in kept["id"]]


@pytest.fixture(scope="module")
def leaked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    output = tmp_path_factory.mktemp("leaked")
    return output, run(leaking(output / "set"), output, "pixels/thumbnail", "pixels/motion-energy")


SAID = (
    "set: LEAK: 5 of 6 test examples share their recording with training examples (e.g. test/a/2.mp4 and train/a/2.mp4)"
)


def test_a_leak_is_on_every_output_that_carries_the_score(leaked: tuple[Path, list[Result]]) -> None:
    output, found = leaked
    assert [next((w.kind, w.touched, w.tested) for w in r.data_warnings) for r in found] == [("leak", 5, 6)] * 2
    assert results.read(output) == found
    assert json.loads((output / results.RESULTS).read_text().splitlines()[0])["data_warnings"][0]["touched"] == 5
    again = vitascope(
        *("evaluate", output / "set", "-m", "pixels/thumbnail", "-t", "knn", "-o", output, "--quiet"),
        *("--store", output / "store", "--workers", 1),
    )
    models = ("-m", "pixels/thumbnail", "-m", "pixels/motion-energy")
    outputs = [again.stdout, vitascope("report", output).stdout, vitascope("compare", output, *models).stdout]
    outputs += [(output / f"report.{ending}").read_text().replace("\\", "") for ending in ("html", "md", "tex")]
    for text in outputs:
        assert SAID in text


def test_the_warnings_of_a_recorded_result_are_brought_up_to_date(
    leaked: tuple[Path, list[Result]], tmp_path: Path
) -> None:
    output, found = leaked
    results.append(tmp_path, replace(found[0], data_warnings=(DataWarning("floor", 6, 6, "FLOOR: kept"),)))
    config = EvaluationConfig(run=tmp_path, store=output / "store", options=OPTIONS)
    (result,) = evaluate(output / "set", ["pixels/thumbnail"], ["knn"], config=config)
    assert [w.kind for w in result.data_warnings] == ["leak", "floor"]
    assert results.read(tmp_path) == [result]


def test_a_high_floor_is_flagged(tmp_path: Path) -> None:
    for n in range(10):
        frames = np.full((12, 32, 32, 3), 40 + 3 * n, np.uint8)
        frames[..., n % 2] = 200
        write_video(tmp_path / "set" / "ab"[n % 2] / f"{n}.mp4", frames)
    found = run(tmp_path / "set", tmp_path, "pixels/thumbnail", "pixels/motion-energy")
    (warning,) = found[0].data_warnings
    assert warning.text.startswith(
        "FLOOR: pixels/thumbnail alone (mean frame at 16 x 16, RGB: appearance without motion)"
    )
    assert "scores 100.0 where chance is 50.0" in warning.text
    assert found[1].data_warnings == ()


def test_one_line_a_kind_with_the_largest_number(leaked: tuple[Path, list[Result]]) -> None:
    first = leaked[1][0]
    one = replace(first, data_warnings=(DataWarning("floor", 2, 9, "low"), DataWarning("copies", 1, 9, "few")))
    other = replace(first, dataset="other", data_warnings=(DataWarning("leak", 1, 9, "here"),))
    more = replace(first, data_warnings=(DataWarning("copies", 3, 9, "many"),))
    assert warning_lines([one, other, more]) == ["set: many", "set: low", "other: here"]


def features(vectors: np.ndarray, paths: list[str]) -> StoredFeatures:
    examples = [Example(id=f"{n}{p}", path=p, truth=0) for n, p in enumerate(paths)]
    offsets = torch.arange(len(vectors) + 1)
    return StoredFeatures(examples, ("a", "b"), torch.from_numpy(vectors.astype(np.float32)), offsets)


def test_without_videos_only_equal_vectors_count(leaked: tuple[Path, list[Result]], tmp_path: Path) -> None:
    from vitascope.datasets.builders.folder import build

    rng = np.random.default_rng(0)
    train = rng.standard_normal((40, 8))
    test = np.concatenate([train[3:5], train[5:7] + 1e-2, rng.standard_normal((3, 8))])
    dataset = build(str(leaked[0] / "set"))
    found = near_copies.candidates(dataset, features(train, [""] * 40), features(test, [""] * 7))
    assert near_copies.confirmed(found, dataset, OPTIONS) == {"0": "3", "1": "4"}
    gone = [str(tmp_path / "gone.mp4")]
    found = near_copies.candidates(dataset, features(train, gone * 40), features(test, gone * 7))
    assert near_copies.confirmed(found, dataset, OPTIONS) == {}


def test_copies_in_another_size_are_found_by_their_frames(tmp_path: Path) -> None:
    for n in range(6):
        frames, label = blob(n, n, side=64), "ab"[n % 2]
        write_video(tmp_path / "set" / "train" / label / f"{n}.mp4", frames)
        shown = frames.repeat(2, 1).repeat(2, 2) if n < 4 else blob(n + 0.5, n + 1, side=64)
        write_video(tmp_path / "set" / "test" / label / f"x{n}.mp4", shown)
    (result,) = run(tmp_path / "set", tmp_path, "pixels/thumbnail")
    (warning,) = (w for w in result.data_warnings if w.kind == "copies")
    assert (warning.touched, warning.tested) == (4, 6)
    assert warning.text.startswith(
        "LEAK: 4 of 6 test examples are copies of training examples by bytes or frames (e.g."
    )


@pytest.mark.parametrize("least", [near_copies.EQUAL, near_copies.SIMILAR])
def test_the_nearest_training_vector_is_found_as_by_all_cosines(monkeypatch: pytest.MonkeyPatch, least: float) -> None:
    """Where only equal vectors count, most are dismissed by their first values."""
    monkeypatch.setattr(near_copies, "ROWS", 7)
    monkeypatch.setattr(near_copies, "FIRST", 4)
    rng = np.random.default_rng(0)
    train = rng.standard_normal((60, 16)).astype(np.float16)
    test = rng.standard_normal((20, 16)).astype(np.float16)
    test[3], test[8], test[9, :4] = train[41], train[17] * 1.0009, train[5, :4]
    cosines, nearest = near_copies._nearest(train, test, np.full(20, least))
    centered = [side.astype(float) - train.astype(float).mean(axis=0) for side in (test, train)]
    units = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in centered]
    true = units[0] @ units[1].T
    found = np.flatnonzero(true.max(axis=1) >= least)
    assert 3 in found
    assert np.flatnonzero(cosines >= least).tolist() == found.tolist()
    assert nearest[found].tolist() == true.argmax(axis=1)[found].tolist()
    np.testing.assert_allclose(cosines[found], true.max(axis=1)[found], atol=1e-6)
