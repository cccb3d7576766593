"""Localization: a small training learns, settings are the report's, each way of choosing, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import golden, resumed
from vitascope.core.device import generator
from vitascope.core.types import Example, Segment
from vitascope.features.base import ClipSpans, StoredFeatures
from vitascope.metrics.prediction_columns import columns
from vitascope.probes import options as tuning
from vitascope.probes.base import WorkloadSize
from vitascope.probes.catalog import PROBES
from vitascope.probes.methods import localize
from vitascope.probes.methods.localize import LocalizationProbe
from vitascope.probes.temporal.actionformer import ActionFormer, random_actionformer
from vitascope.probes.temporal.localization_data import learning_rate
from vitascope.probes.training.resume import update_average

TINY = LocalizationProbe(
    width=16, heads=2, windows=(9, 9, 9, 9), epochs=14, warmup=2, min_steps=0, lr=3e-3, ema=0.98, length=96
)


def side(n, seed, noise=0.1, classes=3, stride=0.25, seconds=0.5):
    """Videos of 15 to 25 s: a clip's vector says which action its middle lies in, under noise."""
    draw, examples, values, spans = np.random.default_rng(seed), [], [], []
    for i in range(n):
        duration = draw.uniform(15, 25)
        starts = np.arange(int((duration - seconds) / stride) + 1) * stride
        x, truth, at = np.zeros((len(starts), classes + 2)), [], draw.uniform(1, 3)
        while at < duration - 3:
            end = min(at + draw.uniform(1.5, 5), duration - 0.5)
            truth.append(Segment(at, end, int(draw.integers(classes))))
            x[(starts + seconds / 2 >= at) & (starts + seconds / 2 < end), truth[-1].label] = 1
            at = end + draw.uniform(1, 3)
        examples.append(Example(id=f"{seed}-{i}", path="", truth=tuple(truth), duration=duration))
        values.append(x + noise * draw.standard_normal(x.shape))
        spans.append(starts[:, None] + [0.0, seconds])
    first = torch.tensor([0, *(len(x) for x in values)]).cumsum(0)
    spans = ClipSpans(np.concatenate(spans), first)
    return StoredFeatures(
        examples, [f"c{i}" for i in range(classes)], torch.tensor(np.concatenate(values)).float(), first, spans
    )


def truth_of(features):
    return [e.truth for e in features.examples]


def score(probe, train, test, seed=0):
    return probe.score(probe.predict(train, test, seed=seed), truth_of(test))["mAP"]


def test_it_learns_but_not_from_noise():
    reached = [score(TINY, side(14, 0, noise), side(8, 1, noise)) for noise in (0.1, 2.0)]
    assert reached[0] > 85
    assert reached[0] > reached[1] + 6


def test_progress_is_shown_where_there_is_a_line(capsys):
    short, train, test = replace(TINY, epochs=1, warmup=0), side(4, 0), side(2, 1)
    short.predict(train, test, seed=0)
    assert not capsys.readouterr().err
    short.predict(train, test, seed=0, line="here")
    assert capsys.readouterr().err.startswith("here · 2/2 · ")


def test_resized_videos():
    probe = replace(TINY, fit="resize", windows=(9, 9, 9, -1), min_length=0.001)
    assert score(probe, side(14, 0), side(8, 1)) > 75


def test_classes_from_elsewhere(tmp_path):
    train, test = side(12, 0), side(6, 1)
    single = [replace(e, truth=tuple(replace(s, label=0) for s in e.truth)) for e in test.examples]
    test = replace(test, examples=single)
    file = tmp_path / "scores.json"
    file.write_text(json.dumps({e.id: [0.9, 0.05, 0.3] for e in test.examples}))
    probe = replace(TINY, external=True, scores=str(file), voting_iou_threshold=0.7)
    predictions = probe.predict(train, test, seed=0)
    assert {s.label for p in predictions for s in p} == {0, 2}
    assert probe.score(predictions, truth_of(test))["mAP"] > 75
    best = predictions[0][0]
    twin = next(s for s in predictions[0] if s.label == 2 and (s.start, s.end) == (best.start, best.end))
    assert twin.score == pytest.approx(best.score * math.sqrt(0.3 / 0.9))
    raised = replace(probe, softmax=True)
    assert raised._external_scores(test, [0])[test.examples[0].id].tolist() == [0.9, 0.05, 0.3]


def test_the_same_seed_gives_the_same_segments():
    train, test = side(4, 0), side(2, 1)
    short = replace(TINY, epochs=2)
    one, same, other = (short.predict(train, test, seed=s) for s in (0, 0, 1))
    assert one == same
    assert one != other


@pytest.mark.parametrize("select", ["last", "best-on-test", "held-out"])
def test_an_interrupted_training_resumes_to_the_same_bits(select, tmp_path: Path, monkeypatch):
    how, train, test = replace(TINY, epochs=3, warmup=1, select=select), side(4, 0), side(2, 1)
    whole, scratch = how.predict(train, test, seed=3), tmp_path / "training" / "one"

    again = resumed(lambda at: how.predict(train, test, seed=3, scratch=at), scratch, monkeypatch, after=3)
    assert again == whole
    assert not scratch.parent.exists()


def test_a_training_without_a_finite_gradient_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(ValueError, match="gradient norm"):
        replace(TINY, epochs=9, lr=1e30).predict(side(3, 0), side(1, 1), seed=0, scratch=tmp_path / "training" / "one")
    assert not (tmp_path / "training").exists()


def test_predictions_are_seconds_within_the_video_best_first():
    test = side(3, 1)
    for result, example in zip(replace(TINY, epochs=1).predict(side(4, 0), test, seed=0), test.examples, strict=True):
        assert 0 < len(result) <= 200
        assert all(0 <= s.start <= s.end <= example.duration for s in result)
        assert all(a.score >= b.score for a, b in pairwise(result))


def test_the_state_is_selected_as_configured():
    train, test = side(5, 0), side(2, 1)
    last = score(replace(TINY, epochs=3), train, test)
    best = replace(TINY, epochs=3, select="best-on-test")
    assert score(best, train, test) >= last - 1e-9
    assert score(replace(best, select="held-out"), train, test) >= 0


def test_a_video_without_vectors_finds_nothing_and_is_named():
    train, test = side(6, 0), side(3, 1)
    rows = test.offsets.tolist()
    values = torch.cat([test.values[: rows[1]], test.values[rows[2] :]])
    first = torch.tensor([0, rows[1], rows[1], len(values)])
    spans = ClipSpans(np.concatenate([test.spans[0], test.spans[2]]), first)
    lame = replace(test, values=values, spans=spans, offsets=first)
    predictions = replace(TINY, epochs=2).predict(train, lame, seed=0)
    assert predictions[1] == []
    assert predictions[0]
    assert predictions.about == {"without vectors": ["1-1"]}


def test_invalid_segments_are_dropped_and_reported():
    train = side(4, 0)
    bad = replace(train.examples[0], truth=(*train.examples[0].truth, Segment(3, 2, 0), Segment(90, 91, 0)))
    none = replace(train.examples[1], truth=())
    train = replace(train, examples=[bad, none, *train.examples[2:]])
    assert replace(TINY, epochs=1).predict(train, side(1, 1), seed=0).about == {"dropped": {"0-0": 2}}


def test_refused():
    train, test = side(3, 0), side(2, 1)
    none = replace(train, examples=[replace(e, truth=()) for e in train.examples])
    with pytest.raises(ValueError) as caught:
        TINY.predict(none, test, seed=0)
    assert "no annotated action in 3 training videos" in str(caught.value)
    far = replace(train, classes=["c0"])
    with pytest.raises(ValueError) as caught:
        TINY.predict(far, test, seed=0)
    assert "is outside the 1 classes (0 to 0)" in str(caught.value)
    broken = replace(train, values=train.values.clone())
    broken.values[100] = torch.nan
    with pytest.raises(ValueError) as caught:
        TINY.predict(broken, test, seed=0)
    assert "NaN or infinite vectors" in str(caught.value)
    with pytest.raises(ValueError) as caught:
        localize.build("thumos14").predict(train, test, seed=0)
    assert "clips are 0.25 s apart, but the view has 0.125 s" in str(caught.value)
    with pytest.raises(ValueError) as caught:
        replace(TINY, external=True).predict(train, test, seed=0)
    assert "add it: localize+scores=FILE.json" in str(caught.value)
    with pytest.raises(ValueError) as caught:
        replace(TINY, lr=1e30, clip_grad_norm=0.0).predict(train, test, seed=0)
    assert "lower lr" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": 0.0}, "lr = 0.0"),
        ({"warmup": -1}, "warmup = -1"),
        ({"tiou_thresholds": (0.5, 1.5)}, "tiou_thresholds = 1.5 must be above 0 and at most 1"),
        ({"ema": 2.0}, "ema = 2.0"),
        ({"width": 30}, "width 30 is not a multiple"),
        ({"windows": (9,) * 7}, "7 windows; give 1 to 6"),
        ({"length": 100}, "length must be a multiple of 32"),
    ],
)
def test_invalid_settings_are_rejected(fields, message):
    with pytest.raises(ValueError) as caught:
        LocalizationProbe(**fields)
    assert message in str(caught.value)


def test_the_learning_rate_is_the_published_one():
    known = golden("lr_schedules")["out/actionformer_w50_t500_lr1e4"]
    np.testing.assert_allclose([learning_rate(s, 500, 50, 1e-4) for s in range(500)], known, atol=1e-12)
    assert learning_rate(0, 10, 0, 1.0) == 1.0


def test_the_average():
    model = random_actionformer(generator(0), ActionFormer(4, 2, width=8, heads=2, windows=(5, 5)))
    other = random_actionformer(generator(1), ActionFormer(4, 2, width=8, heads=2, windows=(5, 5)))
    wanted = [0.9 * a + 0.1 * b for a, b in zip(model.parameters(), other.parameters(), strict=True)]
    update_average(model, other, 0.9)
    for result, mean in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(result.data, mean.data)


def test_presets():
    assert all(tuning.probe(name).name == name for name in PROBES.names() if name.startswith("localize"))
    thumos, activity = tuning.probe("localize", "thumos14"), tuning.probe("localize", "activitynet")
    assert (thumos.lr, thumos.epochs, thumos.warmup, thumos.batch, thumos.tiou_thresholds[0]) == (1e-4, 45, 5, 2, 0.3)
    assert (activity.lr, activity.epochs, activity.batch, activity.fit, activity.length) == (
        1e-3,
        10,
        16,
        "resize",
        192,
    )
    assert (thumos.select, thumos.softmax, thumos._epochs(200)) == ("last", False, (50, 100))
    assert activity._epochs(100) == (15, 7)
    paper = [tuning.probe("localize/paper", family) for family in ("thumos14", "activitynet")]
    assert [(p.lr, p.warmup) for p in paper] == [(1e-3, 2), (1e-4, 2)]  # the other way about, as its table has them
    published = tuning.probe("localize/external-published", "thumos14")
    assert (published.external, published.softmax, published.select) == (True, True, "best-on-test")
    original = tuning.probe("localize/original", "thumos14")
    assert (original.width, original.regression_weight, original.label_smoothing, original.margin) == (
        512,
        1.0,
        0.0,
        True,
    )
    assert tuning.probe("localize/original-thumos14", "activitynet").width == 512
    assert tuning.probe("localize/original", "activitynet").positions
    assert tuning.probe("localize", "mine") == LocalizationProbe()
    changed = tuning.probe("localize/external+epochs=5+scores=s.json+tiou_thresholds=0.5,0.75", "thumos14")
    assert (changed.epochs, changed.scores, changed.tiou_thresholds, changed.train.sampler.stride) == (
        5,
        "s.json",
        (0.5, 0.75),
        0.125,
    )


def test_what_it_costs():
    load = WorkloadSize(train=200, test=212, train_clips=1700, test_clips=1700, tokens=1, dim=1024, classes=20)
    assert 1e16 > localize.build("thumos14").multiply_adds(load) > 1e15 / 4
    assert localize.build("thumos14").passes(200) == 50


def test_scores():
    truth = [(Segment(1, 3, 0), Segment(5, 9, 1)), ()]
    assert LocalizationProbe().score([truth[0], []], truth) == {
        "mAP": 100.0,
        **{f"mAP@{t:g}": 100.0 for t in LocalizationProbe().tiou_thresholds},
    }
    result = LocalizationProbe().score([[Segment(1, 3, 0, 0.9)], [Segment(5, 9, 1, 0.9)]], truth)
    assert result["mAP"] == 50.0
    each = LocalizationProbe().outcomes([[Segment(1, 3, 0)], []], truth)
    assert each[0] == 50.0
    assert math.isnan(each[1])
    assert columns([[], [Segment(1.0, 2.0, 3, 0.5)]]).video.tolist() == [1]
    assert columns([[]]).label.shape == (0,)
