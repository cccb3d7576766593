"""The chirality probe: pairs of classes and groups of videos, what is left out and what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from vitascope.core.types import Dataset, Example, Fold
from vitascope.evaluation.runner import EvaluationConfig, protocol_of
from vitascope.features.base import StoredFeatures, chain
from vitascope.metrics.pair_accuracy import HEADLINE
from vitascope.probes import base
from vitascope.probes.classification.two_classes import fit
from vitascope.probes.options import probe, with_pairs

CLASSES = ("up", "down", "left", "right", "still, here")
PAIRS = "chirality+pairs=up:down,left:right"


def dataset(counts: tuple[int, ...] = (8, 4, 6, 6, 5), test: tuple[int, ...] = (6, 3, 4, 4, 3)) -> Dataset[int]:
    """So many training and test examples of each class."""
    sides = {
        "a": [(label, i) for label, count in enumerate(counts) for i in range(count)],
        "b": [(label, i) for label, count in enumerate(test) for i in range(count)],
    }
    examples = tuple(
        Example(id=f"{side}{label}-{i}", path=f"{side}{label}-{i}.mp4", truth=label)
        for side, own in sides.items()
        for label, i in own
    )
    ids = {side: tuple(e.id for e in examples if e.id.startswith(side)) for side in sides}
    return Dataset(
        name="mine", examples=examples, classes=CLASSES, folds=(Fold(name="0", train=ids["a"], test=ids["b"]),)
    )


def features(of: Dataset[int], side: str, *, views: int = 1, seed: int = 0) -> StoredFeatures:
    """Vectors whose first number tells the class, if barely."""
    examples = [e for e in of.examples if e.id.startswith(side)]
    generator = torch.Generator().manual_seed(seed + ord(side))
    values = torch.randn(len(examples) * views, 12, generator=generator)
    values[:, 0] += torch.tensor([1.5 * (e.truth % 2) for e in examples]).repeat_interleave(views)
    return StoredFeatures(examples, of.classes, values, torch.arange(len(examples) + 1) * views)


def check(text: str, data: Dataset[int]) -> None:
    """What is checked before anything is encoded."""
    asked = probe(text)
    asked.check_dataset(asked.part_of(data))


def test_each_pair_is_the_classifier_on_its_own_videos() -> None:
    data = dataset()
    train, test = (features(data, side, views=2) for side in "ab")
    asked = probe(PAIRS)
    predictions = asked.predict(train, test, seed=0)
    expected = []
    for number, pair in enumerate(((0, 1), (2, 3))):
        known, own = ([i for i, e in enumerate(f.examples) if e.truth in pair] for f in (train, test))
        truth = np.array([pair.index(train.examples[i].truth) for i in known])
        mean = [f.values.reshape(-1, 2, 12).mean(1).double().numpy() for f in (train, test)]
        margins = fit(mean[0][known], truth, "lda").margins(mean[1][own])
        np.testing.assert_allclose([predictions[i].margins[0] for i in own], margins, rtol=1e-5)
        assert {predictions[i].pairs for i in own} == {(number,)}
        expected.append(balanced_accuracy_score([test.examples[i].truth == pair[1] for i in own], margins > 0))
    assert all(not p.pairs for p, e in zip(predictions, test.examples, strict=True) if e.truth == 4)
    scored = asked.score_predictions(
        base.TestPredictions(test.examples, [0] * len(predictions), predictions, data.classes), np.random.default_rng(0)
    )
    assert scored.scores[HEADLINE].value == pytest.approx(100 * np.mean(expected))
    assert {n: s.value for n, s in scored.per_class.items()} == pytest.approx(
        {"up / down": 100 * expected[0], "left / right": 100 * expected[1]}
    )
    assert scored.chance == 50
    assert predictions.about["pairs"][0] == {"name": "up / down", "train": [8, 4], "test": [6, 3]}
    assert next(iter(asked.score(predictions, []).values())) == pytest.approx(100 * np.mean(expected))


def test_only_the_videos_of_pairs_are_used() -> None:
    data = dataset()
    part = probe(PAIRS).part_of(data)
    assert {e.truth for e in part.examples} == {0, 1, 2, 3}
    assert part.folds[0].test == tuple(i for i in data.folds[0].test if not i.startswith("b4"))
    assert part.key == "mine"
    assert probe("chirality").part_of(data) is data
    assert not probe("chirality").random


def test_videos_in_several_test_views_count_once() -> None:
    data = dataset()
    seen_twice = chain([features(data, "b"), features(data, "b", seed=5)])
    predictions = probe(PAIRS).predict(features(data, "a"), seen_twice, seed=0)
    assert len(predictions) == 40
    assert [note["test"] for note in predictions.about["pairs"]] == [[6, 3], [4, 4]]


def test_groups_of_videos_from_files(tmp_path: Path) -> None:
    header = "id,chiral_triplet_id,chiral_label\n"
    for word, side in (("train", "a"), ("validation", "b")):
        rows = [f"{side}{label}-{i},g,{float(label)}" for label in (0, 1) for i in range(3)]
        rows += [f"{side}{label}-{i},h,{float(label == 3)}" for label in (0, 3) for i in range(3)]
        (tmp_path / f"cia-x-{word}.csv").write_text(header + "\n".join(rows) + "\n")
    asked = probe(f"chirality+groups={tmp_path}/cia-x-validation.csv")
    data = dataset()
    asked.check_dataset(data)
    assert len(asked.input_files) == 2
    predictions = asked.predict(features(data, "a"), features(data, "b"), seed=0)
    both = predictions[0]
    assert (both.pairs, both.sides) == ((0, 1), (0, 0))
    assert [n["name"] for n in predictions.about["pairs"]] == ["g", "h"]
    (tmp_path / "cia-x-train.csv").unlink()
    with pytest.raises(ValueError, match=r"g \(0 \+ 0 training and 3 \+ 3 test videos\).*groups need both files"):
        probe(f"chirality+groups={tmp_path}/cia-x-validation.csv").check_dataset(data)


def test_what_a_listed_pair_lacks_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        probe("chirality+known=motionlab").check_dataset(dataset(counts=(8, 4, 1, 6, 5)))
    text = "1 of 2 pairs left out: left / right (1 + 6 training and 4 + 4 test videos)"
    assert text in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "chirality",
            r"no opposite classes are known of mine; 2 pairs of motionlab fit .* use -t chirality\+known=mot",
        ),
        ("chirality+known=jester", r"mine has no two classes of the pairs of jester; 2 pairs of motionlab fit"),
        (
            "chirality+known=motionlib",
            r"no list of opposite classes 'motionlib'; did you mean 'motionlab'\?; there are",
        ),
        ("chirality+pairs=up:dwn", r"'dwn' is not one of the 5 classes .*did you mean 'down'"),
        ("chirality+pairs=up:down,left", r"'left' is not class:opposite"),
        ("chirality+pairs=nowhere.csv", r"chirality\+pairs=nowhere.csv: nowhere.csv: no such file of pairs"),
        ("chirality+groups=nowhere.csv", r"nowhere.csv: no such file"),
        ("chirality+classifier=svm", r"must be one of lda, logistic, ridge"),
        ("chirality+pairs=up:down+groups=a.csv", r"pairs and groups exclude each other"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check(text, dataset())
    assert "\n" not in str(caught.value)


def test_a_pair_that_a_user_names_must_have_videos() -> None:
    data = dataset(test=(6, 0, 4, 4, 3))
    with pytest.raises(
        ValueError, match=r"up / down \(8 \+ 4 training and 6 \+ 0 test videos\); a pair needs 2 .*, leave it out"
    ):
        probe(PAIRS).check_dataset(data)
    factored = replace(dataset(), factors=((0,), (0,)), factor_names=("verb", "noun"))
    with pytest.raises(ValueError, match="mine has classes of verb and noun; use one"):
        probe(PAIRS).check_dataset(factored)


def test_lists_and_files_are_part_of_the_protocol(tmp_path: Path) -> None:
    config, data = EvaluationConfig(run=tmp_path), dataset()
    path = tmp_path / "mine.csv"
    path.write_text("up,down\n")
    asked = probe(f"chirality+pairs={path}")
    before = protocol_of(data, asked, config)
    path.write_text("left,right\n")
    assert protocol_of(data, asked, config) != before
    assert probe("chirality", "jester").input_files[0].endswith("pairs/jester.csv")
    assert probe("chirality", "jester").known == "jester"
    assert probe("chirality", "mine").known == ""


def test_pairs_of_the_command_line() -> None:
    knn, chirality = with_pairs(["knn", "chirality/ridge"], ["up:down", "left:right"])
    assert knn.name == "knn"
    assert chirality == replace(probe("chirality/ridge+pairs=up:down,left:right"), name=chirality.name)
    assert chirality.name == "chirality/ridge+pairs=up:down,left:right"
    odd = with_pairs(["chirality"], ["a+b (c:d"])[0]
    assert odd.pairs == "a+b (c:d"
    for texts, pairs, message in (
        (["knn"], ["a:b"], "--pairs: knn tell no pairs of classes apart; use -t chirality"),
        (["chirality"], ["a.csv", "c:d"], "--pairs a.csv: a file of pairs stands alone"),
        (["chirality+pairs=a:b"], ["c:d"], "its pairs are given twice"),
    ):
        with pytest.raises(ValueError, match=message):
            with_pairs(texts, pairs)
