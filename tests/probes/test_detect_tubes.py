"""Actors at every annotated time of a window: the times among the time steps, and tubes over the windows of a video."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vitascope.core.actors import NO_DETECTIONS, Actor, Detections, Keyframes
from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Example, Fold
from vitascope.evaluation.evaluate import default_probes
from vitascope.features.base import Batch, StoredFeatures
from vitascope.metrics.boxes import Boxes
from vitascope.probes import base
from vitascope.probes.detection.annotated import AnnotatedFrame, annotated_frames, at_frames
from vitascope.probes.detection.decoder import Predicted
from vitascope.probes.detection.scoring import given_boxes, true_rows
from vitascope.probes.detection.video_ap import has_tubes, video_scores
from vitascope.probes.methods.detect import TubeProbe, build

CLASSES = ("sit", "walk")
FRAMES = 6
"""Annotated frames of a window of a second."""


def windows(videos: int, seconds: int, seed: int = 0, *, known: bool = True) -> StoredFeatures:
    """Grids of 3 time steps that tell where the one actor of a video is; it moves to the right."""
    rng = np.random.default_rng(seed)
    examples, values, spans = [], [], []
    for v in range(videos):
        top, label, left = float(rng.uniform(0, 0.5)), int(rng.integers(2)), float(rng.uniform(0, 0.3))
        for second in range(seconds):
            times = tuple(second + (i + 0.5) / FRAMES for i in range(FRAMES))
            actors = tuple(
                Actor(t, (left + 0.15 * t, top, left + 0.15 * t + 0.3, top + 0.5), (label,), 7) for t in times
            )
            span = (float(second), float(second + 1))
            examples.append(
                Example(id=f"{v}@{second}", path="v", truth=Keyframes(times, actors), span=span, group=f"v{v}")
            )
            moved = left + 0.15 * (second + (np.arange(3) + 0.5) / 3)
            values.append(np.stack([moved, np.full(3, top), np.full(3, label), np.ones(3)], 1))
            spans.append([span])
    grid = torch.tensor(np.array(values), dtype=torch.float32)[:, :, None, None].expand(-1, -1, 2, 2, -1)
    return StoredFeatures(examples, CLASSES, grid, torch.arange(len(examples) + 1), spans if known else ())


def test_boxes_between_time_steps_are_interpolated() -> None:
    data = windows(1, 1)
    batch = next(iter(data.batches(4)))
    frames = annotated_frames(data, batch, build("tubes").test, between="interpolated")
    expected = np.clip((np.arange(FRAMES) + 0.5) / FRAMES * 3 - 0.5, 0, 2)
    assert [f.step + f.share for f in frames] == pytest.approx(expected)
    line = torch.arange(3.0).view(1, 1, 3, 1)
    predicted = at_frames(Predicted(line[..., None].expand(2, 1, 3, 2, 4), line, line[..., None]), frames)
    assert predicted.boxes.shape == (2, FRAMES, 2, 4)
    assert predicted.presence[0, :, 0].tolist() == pytest.approx(expected)
    assert predicted.boxes[1, :, 1, 3].tolist() == pytest.approx(expected)
    repeated = annotated_frames(data, batch, build("tubes").test)
    assert [(f.step, f.share) for f in repeated] == [(k, 0.0) for k in (0, 0, 1, 1, 2, 2)]


def test_the_interval_of_a_clip_comes_with_its_batch_where_it_is_drawn_anew() -> None:
    data = windows(2, 1, known=False)
    batch = Batch(data.values[:, None], torch.ones(2, 1, dtype=torch.bool), torch.tensor([1, 0]), [[(0, 2)], [(0, 1)]])
    frames: list[AnnotatedFrame] = annotated_frames(data, batch, build("tubes").test)
    assert [(f.row, f.step) for f in frames] == [(0, k) for k in (0, 0, 0, 0, 1, 1)] + [
        (1, k) for k in (0, 0, 1, 1, 2, 2)
    ]
    assert frames[0].example.id == "1@0"


def test_actors_are_followed_between_and_over_windows() -> None:
    data = windows(2, 3)
    tiny = build("tubes-tiny")
    probe = replace(tiny, layers=1, width=32, mlp=32, queries=3, batch=6, warmup=5, epochs=150, lr=1e-2)
    assert isinstance(probe, TubeProbe)
    found = probe.predict(data, data, seed=0)
    assert all(len(p.times) == FRAMES * 3 for p in found)
    test = base.TestPredictions(data.examples, [0] * 6, found, CLASSES)
    scored = probe.score_predictions(test, np.random.default_rng(0))
    values = {name: score.value for name, score in scored.scores.items()}
    assert values["fAP@0.5"] > 95
    assert values["video-mAP@0.2"] == values["video-mAP@0.5"] == 100
    assert values["video-mAP@0.5:0.95"] > 80


def perfect(truth: list[Keyframes]) -> Boxes:
    return true_rows(truth)


def test_windows_of_a_video_are_linked_to_one_tube() -> None:
    examples = windows(2, 6).examples
    truth, groups = [e.truth for e in examples], [e.group or "" for e in examples]
    assert has_tubes(truth)
    rng = np.random.default_rng(0)
    scores = video_scores(perfect(truth), truth, groups, rng)
    assert {name: s.value for name, s in scores.items()} == {
        "video-mAP@0.5": 100.0,
        "video-mAP@0.2": 100.0,
        "video-mAP@0.5:0.95": 100.0,
    }
    half = [t if n % 6 < 3 else Keyframes(t.times, ()) for n, t in enumerate(truth)]
    cut = {name: s.value for name, s in video_scores(perfect(half), truth, groups, rng).items()}
    assert cut["video-mAP@0.2"] == 100.0
    assert cut["video-mAP@0.5"] == 0.0, "17 of 35 intervals between frames"
    twice = [*truth, truth[0]]
    again = video_scores(perfect(twice), twice, [*groups, groups[0]], rng)
    assert again["video-mAP@0.5:0.95"].value == 100.0, "a window that is there twice counts once"


def test_given_boxes_have_the_classes_of_the_query_that_overlaps_most() -> None:
    truth = [
        Keyframes((0.0, 1.0), tuple(Actor(t, (0.1, 0.1, 0.5, 0.5), (0,), 1) for t in (0.0, 1.0))),
        Keyframes((0.0,), (Actor(0.0, (0.0, 0.0, 1.0, 1.0), (1,), 1),)),
    ]
    boxes = np.array([[0, 0, 1, 1], [0.1, 0.1, 0.5, 0.6], [0, 0, 0.1, 0.1]], np.float32)
    scores = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], np.float32)
    found = [Detections(np.array([0.0, 0.0, 1.0]), boxes, np.ones(3, np.float32), scores), NO_DETECTIONS]
    rows = given_boxes(found, truth)
    assert (rows.video.tolist(), rows.time.tolist(), rows.label.tolist()) == ([0] * 4, [0, 0, 1, 1], [0, 1, 0, 1])
    assert rows.score == pytest.approx([0.3, 0.4, 0.5, 0.6])
    assert rows.box == pytest.approx(np.tile([0.1, 0.1, 0.5, 0.5], (4, 1)))
    assert len(given_boxes([NO_DETECTIONS], truth[1:]).video) == 0


def test_sets_without_tracks_have_no_tubes() -> None:
    one = Keyframes((1.0,), (Actor(1.0, (0, 0, 1, 1), (0,), 3),))
    unknown = Keyframes((1.0, 2.0), (Actor(1.0, (0, 0, 1, 1), (0,)),))
    assert not has_tubes([one, unknown])


def test_a_clip_of_unknown_length_is_refused_before_anything_is_encoded() -> None:
    examples = tuple(windows(1, 2).examples)
    folds = (Fold(name="test", train=("0@0",), test=("0@1",)),)
    dataset = Dataset(name="mine", examples=examples, classes=CLASSES, folds=folds, kind="detection")
    assert default_probes(dataset) == ["detect/tubes"]
    build("tubes").check_dataset(dataset)
    build("tiny").check_dataset(dataset)
    with pytest.raises(UserError, match=r"detect on mine: 0@0 has 6 annotated times, .* use -t detect/tubes"):
        build().check_dataset(dataset)
    single = tuple(replace(e, truth=Keyframes((0.5,), ())) for e in examples)
    build().check_dataset(replace(dataset, examples=single))
    assert default_probes(replace(dataset, examples=single)) == ["detect"]
