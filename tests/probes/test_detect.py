"""The end-to-end probe of actors at keyframes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vitascope.core.actors import Actor, Keyframes
from vitascope.core.errors import UserError
from vitascope.core.types import Example
from vitascope.evaluation.prediction_checks import check_values
from vitascope.features.base import StoredFeatures
from vitascope.metrics import frame_ap, prediction_columns
from vitascope.probes import base
from vitascope.probes.detection.annotated import place, position
from vitascope.probes.detection.decoder import ActorDecoder, DecoderConfig, random_decoder
from vitascope.probes.detection.scoring import people_found, recalls, true_rows
from vitascope.probes.methods.detect import DetectionProbe, build

CLASSES = ("sit", "stand", "walk", "talk")
SMALL = replace(
    build("tiny"), layers=2, width=32, mlp=32, queries=5, dropout=0.0, batch=10, warmup=5, epochs=250, lr=3e-3
)


def keyframes(count: int, seed: int = 0) -> StoredFeatures:
    """Random grids of 2 x 3 x 3 tokens, each with up to three actors."""
    rng = np.random.default_rng(seed)
    examples = [Example(id=f"v@{n}", path="v.mp4", truth=_truth(n, rng), span=(n - 1.0, n + 1.0)) for n in range(count)]
    values = torch.randn(count, 2, 3, 3, 8, generator=torch.Generator().manual_seed(seed))
    return StoredFeatures(examples, CLASSES, values, torch.arange(count + 1))


def _truth(time: int, rng: np.random.Generator) -> Keyframes:
    corners = [(0.05, 0.1), (0.4, 0.5), (0.65, 0.05)]
    actors = [
        Actor(float(time), (x, y, x + 0.3, y + 0.4), tuple(sorted(rng.choice(4, 2, replace=False).tolist())))
        for x, y in corners[: rng.integers(0, 4)]
    ]
    return Keyframes((float(time),), tuple(actors))


def test_ten_keyframes_are_learned_by_heart() -> None:
    data = keyframes(10)
    found = SMALL.predict(data, data, seed=0)
    test = base.TestPredictions(data.examples, [0] * 10, found, CLASSES, {"half": (0, 1), "never seen": ()})
    scored = SMALL.score_predictions(test, np.random.default_rng(0))
    values = {name: score.value for name, score in scored.scores.items()}
    assert values["fAP@0.5"] > 99
    assert "fAP@0.5 of never seen" not in values
    assert values["fAP@0.5 of half"] == pytest.approx(np.mean([scored.per_class[c].value for c in CLASSES[:2]]))
    assert values["recall of all"] == 100
    assert values["fAP@0.5 given boxes"] > 99
    assert values["fAP@0.5"] == pytest.approx(SMALL.score(found, [e.truth for e in data.examples])["fAP@0.5"])
    assert set(scored.per_class) == set(CLASSES)
    assert scored.diagnosis["gains"].keys() == scored.diagnosis["false"].keys()
    assert values["fAP@0.5 given boxes of half"] > 99
    assert sum(part["people"] for part in scored.diagnosis["people"]) == sum(len(e.truth.actors) for e in data.examples)
    assert [len(of) for of in scored.columns["true_tracks"]] == [2 * len(e.truth.actors) for e in data.examples]
    check_values(scored.columns)
    predicted, true, empty = prediction_columns.boxes(scored.columns)
    again = frame_ap.mean_ap(predicted, true, empty=empty, reading=frame_ap.READINGS["stable"])
    assert 100 * float(again[0]) == pytest.approx(values["fAP@0.5"])
    assert len(empty.time) == sum(not e.truth.actors for e in data.examples)


def test_classes_alone_can_tell_that_nobody_is_there() -> None:
    data = keyframes(4)
    probe = replace(SMALL, no_object="zeros", epochs=90)
    found = probe.predict(data, data, seed=0)
    assert all((own.presence == 1).all() for own in found)
    assert probe.score(found, [e.truth for e in data.examples])["fAP@0.5"] > 95
    recall = recalls(people_found(found, [e.truth for e in data.examples]))
    assert recall["recall of all"] >= recall["recall of the best 1"] > 30


def test_in_mixed_precision_boxes_and_classes_have_all_their_bits() -> None:
    config = DecoderConfig(
        layers=2, width=16, mlp=16, heads=2, queries=3, box_layers=3, dropout=0.0, drop_path=0.0, anchors=True
    )
    model = random_decoder(torch.Generator().manual_seed(0), ActorDecoder((4, 2, 2, 8), 5, config))
    tokens = torch.randn(2, 4, 2, 2, 8, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        half = model(tokens)
    assert not torch.equal(half.logits, model(tokens).logits)
    for one, other in zip(half, model(tokens), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("name", ["boxes", "true_boxes", "scores", "true_labels"])
def test_columns_that_do_not_fit_are_noticed(name: str) -> None:
    truth = [e.truth for e in keyframes(4).examples]
    rows = true_rows(truth)
    columns = prediction_columns.of_boxes(rows, rows, [t.times for t in truth])
    check_values(columns)
    row = next(i for i, values in enumerate(columns[name]) if values)
    columns[name][row] = columns[name][row][:-1]
    with pytest.raises(UserError, match=f"row {row}"):
        check_values(columns)


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = keyframes(6)
    probe = replace(SMALL, epochs=3, warmup=1, dropout=0.1, drop_path=0.1, batch=4, ema=0.5)
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


def test_queries_of_a_step_see_its_tokens_only_until_they_meet_along_time() -> None:
    config = DecoderConfig(
        layers=1, width=16, mlp=16, heads=2, queries=3, box_layers=3, dropout=0.0, drop_path=0.0, anchors=True
    )
    model = random_decoder(torch.Generator().manual_seed(0), ActorDecoder((4, 2, 2, 8), 5, config))
    tokens = torch.randn(2, 4, 2, 2, 8, generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[:, 3] += 1.0
    before, after = model(tokens), model(changed)
    assert torch.equal(before.logits[:, :, :3], after.logits[:, :, :3])
    assert not torch.equal(before.logits[:, :, 3], after.logits[:, :, 3])
    assert before.boxes.shape == (1, 2, 4, 3, 4)
    assert ((before.boxes > 0) & (before.boxes < 1)).all()


def test_the_middle_of_the_span_is_shown_by_the_middle_step() -> None:
    e = Example(id="v", path="v.mp4", truth=Keyframes((0.5,), ()), span=(-1.5, 2.5))
    view = build("tiny").train
    times = (0.0, 0.24, 0.25, 0.5, 0.74, 0.75, 5.0)
    assert [place(position(e, t, 4, view), 4, "repeated")[0] for t in times] == [0, 0, 1, 2, 2, 3, 3]
    assert position(e, 0.5, 4, build().train) == 2.0
    with pytest.raises(UserError, match="an annotated time that is not in the middle, but the length of its clip"):
        position(e, 0.6, 4, build().train)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 30}, "multiple of 4"),
        ({"warmup": 99}, "at most epochs"),
        ({"train": replace(build().train, reduce="clip")}, "reduce to grid"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(DetectionProbe(), **options)  # type: ignore[arg-type]


def test_nothing_to_learn_from_is_refused() -> None:
    data = keyframes(3)
    nobody = [replace(e, truth=Keyframes(e.truth.times, ())) for e in data.examples]
    with pytest.raises(UserError, match="none of 3 training examples has an actor"):
        SMALL.predict(replace(data, examples=nobody), data, seed=0)
