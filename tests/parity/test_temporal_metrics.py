"""The scores of localization and segmentation against the public evaluators' numbers on the real annotations."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest

import temporal
from helpers import parity
from vitascope.metrics import localization_errors, segmental, temporal_ap
from vitascope.metrics.temporal_ap import Segments


@pytest.fixture(scope="module")
def thumos(shared: Path) -> tuple[dict[str, int], dict[str, int], Segments]:
    """Numbers of the test videos and of the classes, and the true segments."""
    with tarfile.open(shared / "data" / "annotations" / "thumos14.tar.xz") as archive:
        file = archive.extractfile("thumos14/thumos14.json")
        assert file
        database = json.load(file)["database"]
    tested = {name: entry for name, entry in database.items() if entry["subset"] == "Test"}
    videos = {name: i for i, name in enumerate(tested)}
    classes: dict[str, int] = {}
    rows = [
        (videos[name], *annotation["segment"], classes.setdefault(annotation["label"], len(classes)), 1.0)
        for name, entry in tested.items()
        for annotation in entry["annotations"]
    ]
    return videos, classes, temporal.segments(rows)


def read(name: str) -> tuple[Any, Any]:
    """Predictions and what public evaluators make of them."""
    with gzip.open(parity(f"metrics/{name}.predictions.json.gz")) as file:
        return json.load(file), json.loads(parity(f"metrics/{name}.expected.json").read_text())


def predicted(results: dict[str, Any], videos: dict[str, int], classes: dict[str, int]) -> Segments:
    number = {name: videos.get(name, len(videos) + i) for i, name in enumerate(results)}
    rows = [(number[v], *p["segment"], classes[p["label"]], p["score"]) for v, ps in results.items() for p in ps]
    return temporal.segments(rows)


def test_localization(thumos: tuple[dict[str, int], dict[str, int], Segments]) -> None:
    videos, classes, truth = thumos
    results, expected = read("tal_thumos_seed0")
    predictions = predicted(results["results"], videos, classes)
    assert (len(truth.video), len(predictions.video)) == (3358, expected["n_pred"])
    got = temporal_ap.mean_ap(predictions, truth, expected["tiou"])
    # the report's repository counts in float32
    for evaluator, error in (("anet", 1e-10), ("af", 1e-10), ("tl", 1e-6)):
        np.testing.assert_allclose(got, 100 * np.array(expected[evaluator]["mAP"]), atol=error)
        assert got.mean() == pytest.approx(100 * expected[evaluator]["avg"], abs=error)
    each = temporal_ap.average_precision(temporal_ap.match(predictions, truth, expected["tiou"]))[0]
    for name, values in expected["anet"]["per_class"].items():
        np.testing.assert_allclose(each[:, classes[name]], 100 * np.array(values), atol=1e-10)
    recall = temporal_ap.recall(predictions, truth, expected["tiou"])
    (key,) = expected["af"].keys() & {"recall_at_1x_5x"}
    np.testing.assert_allclose(recall, 100 * np.array(expected["af"][key]), atol=1e-10)
    assert len(temporal_ap.cleaned(truth).video) == 3358


def test_localization_with_ties(thumos: tuple[dict[str, int], dict[str, int], Segments]) -> None:
    """Scores of two digits: what an unstable sort makes of them lies between 23.81 and 23.93; ours is stable."""
    videos, classes, truth = thumos
    results, expected = read("tal_thumos_ties")
    predictions = predicted(results["results"], videos, classes)
    for level, value in zip(expected["tiou"], temporal_ap.mean_ap(predictions, truth, expected["tiou"]), strict=True):
        assert value == pytest.approx(temporal.mean_ap(*map(temporal.table, (predictions, truth)), level)), level
    assert temporal_ap.mean_ap(predictions, truth, expected["tiou"]).mean() == pytest.approx(23.835096, abs=1e-6)


def test_every_prediction_and_action_is_accounted_for(thumos: tuple[dict[str, int], dict[str, int], Segments]) -> None:
    videos, classes, truth = thumos
    results, expected = read("tal_thumos_seed0")
    predictions = predicted(results["results"], videos, classes)
    errors = localization_errors.diagnose(predictions, truth, expected["tiou"])
    assert ((errors.kinds == 0).sum(axis=1) == errors.detected.sum(axis=1)).all()
    assert errors.profile.sum(axis=1) == pytest.approx(100)
    matching = temporal_ap.match(predictions, truth, expected["tiou"])
    ranges = localization_errors.LENGTH_THUMOS14
    parts = localization_errors.sensitivity(matching, ranges, localization_errors.lengths(truth))
    assert sum(part.segments for part in parts.values()) == 3358
    missed = sum(part.segments * part.missed for part in parts.values()) / 3358
    assert missed == pytest.approx(100 * (1 - errors.detected.mean()))


def labels_of(archive: Path) -> dict[str, list[str]]:
    """The labels of the frames of every video."""
    with tarfile.open(archive) as file:
        texts = ((Path(member.name), file.extractfile(member)) for member in file if "groundTruth/" in member.name)
        return {path.stem: text.read().decode().split("\n")[:-1] for path, text in texts if text}


@pytest.mark.parametrize("name", ["GTEA", "50Salads", "Breakfast"])
def test_segmentation(name: str, shared: Path) -> None:
    """Some predictions name a class cut short, such as `place_cucumber_into_bow`: a class of its own, never right."""
    given, expected = read(f"tas_{name}")
    known: dict[str, int] = {}

    def numbers(names: list[str]) -> np.ndarray:
        return np.array([known.setdefault(label, len(known)) for label in names], np.int64)

    predictions, truth, splits = [], [], []
    jaxtyping.config.update("jaxtyping_disable", True)  # a check for each of thousands of videos
    try:
        real = labels_of(shared / "data" / "annotations" / f"tas_{name}.tar.xz")
        for split, videos in enumerate(given["splits"]):
            for video, runs in videos.items():
                names, counts = zip(*runs, strict=True)
                predictions.append(np.repeat(numbers(list(names)), counts))
                truth.append(numbers(real[video]))
                splits.append(split)
        background = [known["background"]] if "background" in known else []
        each = segmental.counts(predictions, truth, style="published", background=background)
        got = [segmental.scores(each, np.array(splits))]
        parts = [(np.array(splits) == i).astype(np.int64)[None] for i in range(len(given["splits"]))]
        got += [dict(zip(each.names, segmental.pooled(each, part)[0].tolist(), strict=True)) for part in parts]
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    # the report's repository computes the edit score in float32
    for evaluator, error in (("asformer", 1e-10), ("tl", 1e-4)):
        for mine, theirs in zip(got, [expected[evaluator]["mean"], *expected[evaluator]["splits"]], strict=True):
            values = [theirs[key] for key in ("acc", "edit", "f1_10", "f1_25", "f1_50", "mf1")]
            np.testing.assert_allclose(list(mine.values()), values, atol=error)
