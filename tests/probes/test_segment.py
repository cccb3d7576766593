"""Segmentation: a small training learns, settings are the report's, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import resumed
from vitascope.core.types import Example, Timeline
from vitascope.features.base import ClipSpans, StoredFeatures
from vitascope.metrics import segmental
from vitascope.probes import options as tuning
from vitascope.probes.base import WorkloadSize
from vitascope.probes.catalog import PROBES
from vitascope.probes.methods import segment
from vitascope.probes.methods.segment import SegmentationProbe
from vitascope.sampling.names import MultiClip

TINY = SegmentationProbe(layers=3, width=32, epochs=10, lr=3e-3, channel_dropout=0.1)


@cache
def side(n, seed, noise=0.3, classes=3, fps=10.0, stride=0.25, seconds=0.5):
    """Videos of 6 to 9 s: a clip's vector says which action its middle lies in, under noise."""
    draw, examples, values, spans = np.random.default_rng(seed), [], [], []
    for i in range(n):
        duration = float(draw.integers(6, 10))
        order = np.repeat(draw.permutation(classes), np.ceil(duration * fps / classes))[: int(duration * fps)]
        starts = np.arange(int((duration - seconds) / stride) + 1) * stride
        at = ((starts + seconds / 2) * fps).astype(int)
        values.append(np.eye(classes + 2)[order[at]] + noise * draw.standard_normal((len(at), classes + 2)))
        spans.append(starts[:, None] + [0.0, seconds])
        examples.append(Example(id=f"{seed}-{i}", path="", truth=Timeline.of(order.tolist(), fps)))
    first = torch.tensor([0, *(len(x) for x in values)]).cumsum(0)
    table = ClipSpans(np.concatenate(spans), first)
    return StoredFeatures(
        examples, [f"c{i}" for i in range(classes)], torch.tensor(np.concatenate(values)).float(), first, table
    )


def truth_of(features):
    return [e.truth for e in features.examples]


def test_it_learns_and_labels_every_frame():
    train, test = side(8, 0), side(5, 1)
    predictions = TINY.predict(train, test, seed=0)
    assert [(len(p), p.dtype) for p in predictions] == [(t.frames, np.int64) for t in truth_of(test)]
    scores = TINY.score(predictions, truth_of(test))
    assert list(scores) == ["mF1", "accuracy", "edit", "F1@10", "F1@25", "F1@50"]
    assert scores["accuracy"] > 85


def test_progress_is_shown_where_there_is_a_line(capsys):
    few = replace(TINY, epochs=2, layers=2, width=8)
    few.predict(side(3, 0), side(3, 1), seed=0)
    assert not capsys.readouterr().err
    few.predict(side(3, 0), side(3, 1), seed=0, line="here")
    assert capsys.readouterr().err.startswith("here · 6/6 · ")


def test_randomness_depends_on_the_seed_only():
    few = replace(TINY, epochs=1, layers=2, width=8)
    once, again, other = (few.predict(side(3, 0), side(3, 1), seed=s) for s in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(once, other, strict=True))


@pytest.mark.parametrize("order", ["each-epoch", "once"])
def test_an_interrupted_training_resumes_to_the_same_bits(order, tmp_path: Path, monkeypatch):
    how, train, test = replace(TINY, epochs=5, layers=2, width=8, order=order), side(4, 0), side(2, 1)
    models = []
    plain = SegmentationProbe._predict_labels
    watched = lambda self, m, *a: (models.append(m), plain(self, m, *a))[1]  # noqa: E731
    monkeypatch.setattr(SegmentationProbe, "_predict_labels", watched)
    whole, scratch = how.predict(train, test, seed=3), tmp_path / "training" / "one"

    again = resumed(lambda at: how.predict(train, test, seed=3, scratch=at), scratch, monkeypatch, after=3)
    for predictions, known in zip(again, whole, strict=True):
        np.testing.assert_array_equal(predictions, known)
    first, last = (m.state_dict() for m in models)
    assert all(torch.equal(first[name], last[name]) for name in first)
    assert not scratch.parent.exists()


def test_a_training_without_a_finite_loss_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(ValueError, match="in epoch"):
        replace(TINY, epochs=9, lr=1e30).predict(side(3, 0), side(1, 1), seed=0, scratch=tmp_path / "training" / "one")
    assert not (tmp_path / "training").exists()


def test_a_video_that_could_not_be_encoded_has_no_prediction_and_counts_as_missed():
    train, test = side(3, 0), side(3, 1)
    failed = test.examples[1].id
    predictions = replace(TINY, epochs=1, frame_stride=3).predict(
        train, replace(test, failures={failed: "damaged"}), seed=0
    )
    assert [len(p) for p in predictions] == [test.examples[0].truth.frames, 0, test.examples[2].truth.frames]
    assert predictions.about == {"without vectors": [failed]}
    perfect = [t.labels for t in truth_of(test)]
    assert TINY.score(perfect, truth_of(test)) == dict.fromkeys(TINY.score(perfect, truth_of(test)), 100.0)
    perfect[1] = np.empty(0, np.int64)
    assert TINY.outcomes(perfect, truth_of(test)) == [100.0, 0.0, 100.0]
    assert TINY.score(perfect, truth_of(test))["accuracy"] < 80


@pytest.mark.parametrize("order", ["each-epoch", "once"])
def test_the_order_is_drawn_every_epoch_or_once(order, monkeypatch):
    train, orders = side(6, 0), []
    plain = segment.frame_sequences

    def watched(features, order, **how):
        if len(order) == 6 and features is train:
            orders.append(list(order))
        return plain(features, order, **how)

    monkeypatch.setattr(segment, "frame_sequences", watched)
    replace(TINY, epochs=4, layers=1, width=4, order=order).predict(train, side(1, 1), seed=0)
    assert [sorted(o) for o in orders] == [list(range(6))] * 4
    assert (len({tuple(o) for o in orders}) == 1) == (order == "once")


def test_the_learning_rate_is_halved_after_more_than_three_epochs_without_progress(monkeypatch):
    rates, plain = [], torch.optim.lr_scheduler.ReduceLROnPlateau.step

    def watched(self, metrics):
        plain(self, 1.0)  # a loss that stands still
        rates.append(self.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(torch.optim.lr_scheduler.ReduceLROnPlateau, "step", watched)
    replace(TINY, epochs=10, layers=1, width=4, lr=0.01).predict(side(1, 0), side(1, 1), seed=0)
    assert rates == [0.01] * 4 + [0.005] * 4 + [0.0025] * 2


SETTINGS = (
    *("lr", "weight_decay", "attention_span", "frame_stride", "align", "order"),
    *("layers", "width", "channel_dropout", "background", "style"),
)
TABLE = {
    ("segment", "gtea"): (5e-4, 1e-5, "window", 1, "time", "each-epoch", 8, 256, 0.3, (10,), "sound"),
    ("segment", "50salads"): (5e-4, 1e-5, "window", 2, "time", "each-epoch", 8, 256, 0.3, (), "sound"),
    ("segment", "breakfast"): (1e-4, 1e-5, "full", 1, "time", "each-epoch", 8, 256, 0.3, (), "sound"),
    ("segment/paper", "gtea"): (5e-4, 1e-4, "block", 1, "stretch", "each-epoch", 8, 256, 0.3, (10,), "published"),
    ("segment/paper", "breakfast"): (1e-4, 1e-4, "full", 1, "stretch", "each-epoch", 8, 256, 0.3, (), "published"),
    ("segment/published", "50salads"): (5e-4, 1e-5, "block", 2, "stretch", "once", 8, 256, 0.3, (), "published"),
    ("segment/published", "breakfast"): (1e-4, 1e-5, "full", 1, "stretch", "once", 8, 256, 0.3, (), "published"),
    ("segment/original", "gtea"): (5e-4, 1e-5, "block", 1, "stretch", "each-epoch", 10, 64, 0.5, (10,), "published"),
    ("segment/original", "breakfast"): (1e-4, 1e-5, "block", 1, "stretch", "each-epoch", 10, 64, 0.3, (), "published"),
    ("segment", "mine"): (5e-4, 1e-5, "window", 1, "time", "each-epoch", 8, 256, 0.3, (), "sound"),
    ("segment/paper", "mine"): (5e-4, 1e-4, "block", 1, "stretch", "each-epoch", 8, 256, 0.3, (), "published"),
}


@pytest.mark.parametrize(("name", "family"), TABLE)
def test_settings(name, family):
    probe = tuning.probe(name, family)
    assert tuple(getattr(probe, s) for s in SETTINGS) == TABLE[name, family]
    assert (probe.name, probe.epochs, probe.smoothing_weight) == (name, 120, 0.15)
    if family in ("gtea", "breakfast", "50salads"):
        whole = MultiClip(1.0, 0.25) if family == "50salads" else MultiClip(0.5, 0.125)
        assert probe.train.sampler == probe.test.sampler == whole
        variant = f"{name}-{family}" if "/" in name else f"{name}/{family}"
        assert replace(tuning.probe(variant, "mine"), name=name) == probe


def test_every_variant_builds_by_its_name():
    variants = [n for n in PROBES.names() if n.partition("/")[0] == "segment"]
    assert len(variants) == len(segment.VARIANTS) == 16
    assert [tuning.probe(n).name for n in variants] == variants


def test_a_forecast_counts_what_a_network_multiplies():
    load = WorkloadSize(train=21, test=7, train_clips=700, test_clips=700, tokens=1, dim=1024, classes=11)
    probe = tuning.probe("segment", "gtea")
    params = 4 * 8 * 6 * 256**2 + 1024 * 256
    frames = 700 * 0.125 * 15
    least = (3 * 120 * 21 + 7) * frames * params
    assert least < probe.multiply_adds(load) < 1.2 * least


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 7}, "segment: width = 7 must be positive and a multiple of 2"),
        (
            {"epochs": 0, "channel_dropout": 1.0},
            "segment: channel_dropout = 1.0 must be at least 0 and below 1; epochs = 0 must be positive",
        ),
    ],
)
def test_invalid_settings_are_rejected(wrong, message):
    with pytest.raises(ValueError) as error:
        SegmentationProbe(**wrong)
    assert str(error.value).startswith(message)


def test_words_that_mean_nothing():
    how = object.__new__(SegmentationProbe)  # as a caller without a type checker would write it
    for name, value in {**vars(SegmentationProbe()), "attention_span": "near"}.items():
        object.__setattr__(how, name, value)
    with pytest.raises(ValueError) as error:
        how.__post_init__()
    assert str(error.value) == "segment: attention_span = 'near' must be one of window, block, full"


def test_invalid_input_is_rejected():
    train, test = side(2, 0), side(2, 1)
    with pytest.raises(ValueError) as error:
        TINY.predict(replace(train, failures={e.id: "gone" for e in train.examples}), test, seed=0)
    assert str(error.value) == "segment: none of 2 training videos has vectors; embed some first"
    with pytest.raises(ValueError) as error:
        replace(TINY, lr=1e30, epochs=3).predict(train, test, seed=0)
    assert "lower lr" in str(error.value)
    odd = replace(test, examples=[replace(e, truth=Timeline(((0, 1),), 0.1)) for e in test.examples])
    with pytest.raises(ValueError) as error:  # before anything is trained
        TINY.predict(train, odd, seed=0)
    assert "two are needed" in str(error.value)


def test_scores_are_those_of_the_style():
    truth = [Timeline(((1, 20), (0, 20)), 10.0)]
    predictions = [np.repeat([1, 0], [12, 28])]
    for style in ("sound", "published"):
        probe = replace(TINY, style=style, background=(0,))
        each = segmental.counts(predictions, [t.labels for t in truth], style=style, background=(0,))
        assert probe.score(predictions, truth)["F1@50"] == segmental.scores(each)["F1@50"] == 100
