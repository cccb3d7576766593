"""The probe of given boxes: its head, its training, and the boxes of a detector."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vitascope.core.actors import Actor, Keyframes
from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Example, Fold
from vitascope.features.base import StoredFeatures
from vitascope.probes import base
from vitascope.probes import options as tuning
from vitascope.probes.detection.given_boxes import detected_boxes
from vitascope.probes.detection.roi import RelativePositions, RoiConfig, RoiHead, random_roi
from vitascope.probes.detection.roi_probe import RoiProbe
from vitascope.probes.methods.detect import build

CLASSES = ("sit", "stand", "walk", "talk")
PLACES = ((0.05, 0.1, 0.35, 0.5), (0.4, 0.5, 0.7, 0.9), (0.65, 0.05, 0.95, 0.45))
SMALL = replace(build("roi-tiny"), width=32, mlp=32, dropout=0.0, batch=10, warmup=5, epochs=60, lr=3e-3)
CONFIG = RoiConfig(cells=3, positions=True, normalize=True, layers=2, width=16, mlp=16, heads=2, dropout=0.5)


def keyframes(count: int, seed: int = 0, offset: float = 0.0) -> StoredFeatures:
    """Random grids of 2 x 3 x 3 tokens, each with none to three actors; videos begin `offset` seconds on the clock."""
    rng = np.random.default_rng(seed)
    examples = [
        Example(id=f"v@{n + offset:06.1f}", path="v.mp4", truth=_truth(n, rng), span=(n - 1.0, n + 1.0), group="v")
        for n in range(count)
    ]
    values = torch.randn(count, 2, 3, 3, 8, generator=torch.Generator().manual_seed(seed))
    return StoredFeatures(examples, CLASSES, values, torch.arange(count + 1))


def _truth(time: int, rng: np.random.Generator) -> Keyframes:
    actors = [
        Actor(float(time), box, tuple(sorted(rng.choice(4, 2, replace=False).tolist())))
        for box in PLACES[: rng.integers(0, 4)]
    ]
    return Keyframes((float(time),), tuple(actors))


def detections(path: Path, data: StoredFeatures, offset: float = 0.0, *, rows: tuple[str, ...] = ()) -> str:
    """A csv of the true boxes as a detector would write it, with more rows."""
    lines = [
        f"v,{a.time + offset:04.0f},{','.join(map(str, a.box))},,0.9" for e in data.examples for a in e.truth.actors
    ]
    path.write_text("\n".join((*lines, *rows)) + "\n")
    return str(path)


@pytest.mark.parametrize("variant", ["roi-tiny", "roi-slowfast-tiny"])
def test_ten_keyframes_are_learned_by_heart(variant: str) -> None:
    data = keyframes(10)
    probe = SMALL if variant == "roi-tiny" else replace(build(variant), dropout=0.0, batch=10, epochs=150, lr=3e-2)
    found = probe.predict(data, data, seed=0)
    scored = probe.score_predictions(
        base.TestPredictions(data.examples, [0] * 10, found, CLASSES), np.random.default_rng(0)
    )
    values = {name: score.value for name, score in scored.scores.items()}
    assert values["fAP@0.5"] > (99 if variant == "roi-tiny" else 90)  # a linear classifier of eight channels
    assert values["fAP@0.5 given boxes"] == pytest.approx(values["fAP@0.5"])
    assert values["recall of all"] == 100
    assert found.about == {"boxes": "true boxes"}
    assert [w.kind for w in probe.warnings(10)] == ["given"]


def test_boxes_of_a_detector_are_classified_where_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = keyframes(10, offset=900.0)
    more = ("v,0903,0.6,0.6,0.8,0.8,,0.3", "other,0903,0.1,0.1,0.2,0.2,,0.9", "v,903.5,0.1,0.1,0.2,0.2,,0.9")
    file = detections(tmp_path / "boxes.csv", data, 900.0, rows=more)
    probe = replace(SMALL, epochs=5, warmup=1, detections=file, least_score=0.25)
    with caplog.at_level(logging.INFO, logger="vitascope"):
        found = probe.predict(data, data, seed=0)
    for number, (example, own) in enumerate(zip(data.examples, found, strict=True)):
        true = [a.box for a in example.truth.actors] + [(0.6, 0.6, 0.8, 0.8)] * (number == 3)
        np.testing.assert_array_equal(own.boxes, np.array(true, np.float32).reshape(-1, 4))
        np.testing.assert_array_equal(own.times, [float(number)] * len(true))
    np.testing.assert_allclose(found[3].presence, [0.9] * (len(found[3].times) - 1) + [0.3], rtol=1e-6)
    assert found.about["boxes"] == f"detections of {file}; " + "; ".join(
        (
            "1 of 2 videos are not in the test set, such as 'other'",
            f"{sum(not e.truth.actors for e in data.examples)} of 10 test keyframes have no box",
        )
    )
    assert found.about["boxes"] in caplog.text
    assert probe.warnings(10) == []
    strict = replace(probe, least_score=0.5, weigh=False).predict(data, data, seed=0)
    assert len(strict[3].times) == len(found[3].times) - 1
    assert (strict[3].presence == 1).all()
    np.testing.assert_array_equal(strict[3].scores, found[3].scores[:-1])


def test_without_a_box_at_any_keyframe_nothing_is_trained(tmp_path: Path) -> None:
    data = keyframes(3, offset=900.0)
    file = detections(tmp_path / "boxes.csv", data, 0.0)
    with pytest.raises(UserError, match=r"no box is at one of the 3 test keyframes.*v@0900"):
        replace(SMALL, detections=file).predict(data, data, seed=0)
    split = Fold(name="", train=(), test=tuple(e.id for e in data.examples))
    dataset = Dataset(name="d", examples=tuple(data.examples), classes=CLASSES, folds=(split,), kind="detection")
    SMALL.check_dataset(dataset)
    with pytest.raises(UserError, match=r"no box is at one of the 3 test keyframes"):
        replace(SMALL, detections=file).check_dataset(dataset)
    with pytest.raises(UserError, match=r"at least 0\.95"):
        replace(SMALL, detections=detections(tmp_path / "b.csv", data, 900.0), least_score=0.95).predict(
            data, data, seed=0
        )
    with pytest.raises(FileNotFoundError, match="No such file"):
        tuning.probe(f"detect/roi+detections={tmp_path}/none.csv").check_dataset(dataset)


def test_proposals_are_found_by_the_clock_of_the_annotators() -> None:
    path = Path(__file__).parents[1] / "fixtures" / "annotations" / "ava" / "ava_proposals_sample.pkl"
    truth = Keyframes((2.0,), ())
    ids = ("0f39OWEqJ24@0902", "_-Z6wFjXtGQ@902.0", "_-Z6wFjXtGQ@0904")
    found = detected_boxes(str(path), [Example(id=i, path="", truth=truth) for i in ids], 0.5)
    assert {i: (own.times.tolist(), own.scores.round(6).tolist()) for i, own in found.by_example.items()} == {
        ids[0]: ([2.0], pytest.approx([0.998163])),
        ids[1]: ([2.0, 2.0], pytest.approx([0.994488, 0.996238])),
    }
    assert found.notes == ("1 of 3 test keyframes have no box",)


def test_boxes_of_a_window_are_at_each_of_its_times(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("v.mp4,0.0333,0,0,.5,.5,.9\nv.mp4,0.0667,0,0,.6,.6,.8\nv,0.1,0,0,1,1,1\n")
    window = Example(id="v@0.5", path="v.mp4", truth=Keyframes((1 / 30, 2 / 30), ()))
    (own,) = detected_boxes(str(tmp_path / "boxes.csv"), [window], 0.0).by_example.values()
    np.testing.assert_array_equal(own.times, [1 / 30, 2 / 30])
    np.testing.assert_allclose(own.scores, [0.9, 0.8])


def test_examples_that_are_not_named_as_keyframes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("v,1,0,0,1,1,1\n")
    with pytest.raises(UserError, match="'v' is not named as a keyframe, VIDEO@SECONDS"):
        detected_boxes(str(tmp_path / "boxes.csv"), [Example(id="v", path="", truth=Keyframes((0.0,), ()))], 0.0)


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = keyframes(6)
    probe = replace(SMALL, epochs=3, warmup=0.5, dropout=0.1, batch=4, ema=0.5)
    whole = probe.predict(data, data, seed=1)
    read = StoredFeatures.batches
    calls = iter(range(100))

    def failing(self: StoredFeatures, *given: object) -> object:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return read(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(StoredFeatures, "batches", failing)
    monkeypatch.setattr("vitascope.probes.training.resume.EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        probe.predict(data, data, seed=1, scratch=tmp_path / "state")
    assert (tmp_path / "state").is_file()
    resumed = probe.predict(data, data, seed=1, scratch=tmp_path / "state")
    for one, other in zip(whole, resumed, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_gradients_add_up_to_those_of_the_whole_batch() -> None:
    data = keyframes(6)
    probe = replace(SMALL, dropout=0.0)
    model = probe._head((2, 3, 3, 8), 4, torch.Generator().manual_seed(0))
    step = list(range(6))
    with torch.no_grad():
        whole, parts = (
            sum(float(probe._loss(model, data, b, step, torch.Generator())) for b in data.batches(size, step))
            for size in (6, 2)
        )
    assert parts == pytest.approx(whole, rel=1e-5)


def test_a_box_is_classified_whatever_others_are_given() -> None:
    model = random_roi(torch.Generator().manual_seed(0), RoiHead((2, 4, 4, 8), 5, CONFIG))
    tokens = torch.randn(3, 2, 4, 4, 8, generator=torch.Generator().manual_seed(1))
    boxes, owner = torch.tensor([PLACES[0], PLACES[1], PLACES[2], PLACES[0]]), torch.tensor([0, 0, 2, 2])
    together = model(tokens, boxes, owner)
    assert together.shape == (4, 5)
    for i in range(4):
        alone = model(tokens[owner[i] : owner[i] + 1], boxes[i : i + 1], torch.zeros(1).long())
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)
    assert model(tokens, boxes[:0], owner[:0]).shape == (0, 5)


def test_a_box_sees_the_tokens_in_it_alone_without_layers() -> None:
    config = replace(CONFIG, layers=0, positions=False, normalize=False)
    tokens = torch.randn(1, 2, 8, 8, 4, generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[:, :, :, 4:] += 1.0
    boxes, owner = torch.tensor([[0.0, 0.0, 0.4, 1.0], [0.6, 0.0, 1.0, 1.0]]), torch.zeros(2).long()
    for layers, same in ((0, True), (1, False)):
        own = replace(config, layers=layers)
        model = random_roi(torch.Generator().manual_seed(0), RoiHead((2, 8, 8, 4), 5, own))
        before, after = model(tokens, boxes, owner), model(changed, boxes, owner)
        assert torch.equal(before[0], after[0]) is same
        assert not torch.equal(before[1], after[1])


def test_positions_are_counted_from_the_middle() -> None:
    positions = RelativePositions(3, 5, 5)
    features = positions()
    assert features.shape == (3, 5, 5, 16)
    torch.testing.assert_close(features[1, 2, 2, :8], positions.time(torch.zeros(1)))
    torch.testing.assert_close(features[2, 0, 4, :8], positions.time(torch.ones(1)))
    torch.testing.assert_close(features[0, 0, 4, 8:], positions.space(torch.tensor([-2.0, 2.0])))


def test_biases_and_norms_are_not_decayed() -> None:
    model = build("roi")._head((2, 3, 3, 8), 4, torch.Generator().manual_seed(0))
    decayed, exempt = build("roi")._parameters(model)
    names = {id(p): name for name, p in model.named_parameters()}
    assert all(names[id(p)].endswith("weight") for p in decayed["params"])
    assert {"norm.weight", "norm.bias", "last.weight", "classes.bias"} <= {names[id(p)] for p in exempt["params"]}
    assert exempt["weight_decay"] == 0.0
    assert len(decayed["params"]) + len(exempt["params"]) == len(names)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 100}, "multiple of heads"),
        ({"warmup": 99.0}, "at most epochs"),
        ({"least_score": 2.0}, "between 0 and 1"),
        ({"train": replace(build().train, reduce="clip")}, "reduce to grid"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(RoiProbe(), **options)  # type: ignore[arg-type]
