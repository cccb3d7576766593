"""Attentive probing: the obvious loop, one clip an epoch or clips together, grids, live and stored, interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import resumed
from vitascope.core.device import generator
from vitascope.core.types import Card, Example
from vitascope.datasets.builders.folder import build as folder
from vitascope.encoders.base import Tokens
from vitascope.evaluation.evaluate import evaluate
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features.base import StoredFeatures
from vitascope.features.extract import ExtractionOptions
from vitascope.features.view import View
from vitascope.nn.schedules import cosine
from vitascope.probes.classification.attentive_pooler import random_heads
from vitascope.probes.classification.twlv1_table4 import ATTENTIVE
from vitascope.probes.methods import attentive
from vitascope.probes.methods.attentive import AttentiveProbe
from vitascope.probes.options import probe
from vitascope.probes.training import resume
from vitascope.sampling.names import (
    Drawn,
    Frozen,
    MultiClip,
    RandomClip,
    RandomCrop,
    Reversed,
    Shuffled,
    Slowed,
    Uniform,
    Views,
    VJepa,
    describe,
)

DRAWS = View(Drawn(Uniform(), 3), "grid", stored=False)


def stored(n, clips=1, classes=3, seed=0, shape=(2, 2, 2), dim=8, noise=1.0):
    """Tokens of which one, anywhere, says the class."""
    draw = torch.Generator().manual_seed(seed)
    values = noise * torch.randn(n * clips, *shape, dim, generator=draw)
    truth = torch.arange(n) % classes
    place = torch.randint(values.flatten(1, -2).shape[1], (n * clips,), generator=draw)
    flat = values.view(n * clips, -1, dim)
    flat[torch.arange(n * clips), place, truth.repeat_interleave(clips)] += 6
    examples = [Example(id=f"v{seed}-{i:03}", path=f"{i}.mp4", truth=int(t)) for i, t in enumerate(truth)]
    return StoredFeatures(examples, [f"c{i}" for i in range(classes)], values, torch.arange(n + 1) * clips)


def table(predictions):
    return np.stack(list(predictions))


def top_1(how, predictions, test):
    return how.score(predictions, [e.truth for e in test.examples])["top-1"]


def loop(how, data, test, seed):
    """One head, torch's own optimizer, one step a batch; the same draws in the same order."""
    model = random_heads(generator(seed), 8, len(data.classes), heads=how.heads or 1, depth=how.depth)
    decayed = [p for p in model.parameters() if p.requires_grad and (p.ndim > 2 or not how.no_decay_bias)]
    spared = [p for p in model.parameters() if p.requires_grad and p.ndim <= 2 and how.no_decay_bias]
    optimizer = torch.optim.AdamW([{"params": decayed}, {"params": spared, "weight_decay": 0.0}], lr=1.0)
    labels = torch.tensor([e.truth for e in data.examples])
    n, an_epoch = len(labels), -(-len(labels) // how.batch)
    step = 0
    for epoch in range(how.epochs):
        order = torch.randperm(n, generator=generator(1_000_003 * (seed + 1) + epoch))
        for start in range(0, n, how.batch):
            part = order[start : start + how.batch]
            step += 1
            count = data.offsets.diff()[part]
            values = data.values[data.offsets[part] + epoch % count].flatten(1, -2)
            loss = torch.nn.functional.cross_entropy(model(values)[0], labels[part])
            optimizer.zero_grad()
            loss.backward()
            for group, decay in zip(optimizer.param_groups, (how.weight_decay, 0.0), strict=True):
                group["lr"] = cosine(step, how.epochs * an_epoch, how.warmup * an_epoch, how.lr)
                group["weight_decay"] = decay
            if how.clip_grad_norm:
                torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], how.clip_grad_norm)
            optimizer.step()
    with torch.no_grad():
        return model(test.values.flatten(1, -2))[0].softmax(-1).numpy()


@pytest.mark.parametrize(
    "fields", [{}, {"no_decay_bias": True, "clip_grad_norm": 0.5, "warmup": 2}, {"depth": 4}, {"batch": 11}]
)
def test_training_is_the_obvious_loop(fields):
    how = AttentiveProbe(**{"lr": 3e-3, "epochs": 4, "min_steps": 0, "batch": 16, "weight_decay": 0.1, **fields})
    data, test = stored(40), stored(9, seed=1)
    np.testing.assert_allclose(table(how.predict(data, test, seed=2)), loop(how, data, test, 2), atol=2e-5)


def test_training_sees_one_draw_an_epoch():
    how = AttentiveProbe(lr=3e-3, epochs=4, min_steps=0, batch=16, train=DRAWS)
    data, test = stored(20, clips=3), stored(9, seed=1)
    np.testing.assert_allclose(table(how.predict(data, test, seed=2)), loop(how, data, test, 2), atol=2e-5)


def test_it_attends_to_the_token_that_encodes_the_class():
    data, test = stored(120, noise=0.0), stored(60, seed=1, noise=0.0)
    for how in (AttentiveProbe(lr=1e-2), attentive.build("grid")):
        assert top_1(how, how.predict(data, test, seed=0), test) > 95


def test_probabilities_of_views_are_averaged():
    how = AttentiveProbe(epochs=2, min_steps=0)
    data, test = stored(30), stored(6, seed=1)
    single = table(how.predict(data, test, seed=0))
    grouped = replace(test, examples=test.examples[:3], offsets=torch.tensor([0, 1, 4, 6]))
    expected = [single[0], single[1:4].mean(0), single[4:6].mean(0)]
    np.testing.assert_allclose(table(how.predict(data, grouped, seed=0)), expected, atol=1e-6)


@pytest.mark.parametrize("wrap", [lambda inner: inner, Reversed, lambda inner: Slowed(Shuffled(inner))])
def test_clips_together_are_the_tokens_of_all_through_one_crop(wrap):
    """Two clips x three crops in the sampler's order, against one head on the concatenated tokens, crop by crop."""
    view = View(wrap(VJepa(2, 4, 3)), "grid", stored=False)
    how = AttentiveProbe(
        epochs=3, min_steps=0, train=View(VJepa(2, 4, 1), "grid", stored=False), test=view, concat_clips=True
    )
    data, test = stored(20, clips=2), stored(5, clips=6, seed=1)
    model, *_ = how._fit(data, range(20), torch.tensor([e.truth for e in data.examples]), seed=0, scratch=None)
    clips = test.values.view(5, 2, 3, 8, 8)
    with torch.no_grad():
        each = [model(clips[:, :, crop].reshape(5, 16, 8))[0].softmax(-1) for crop in range(3)]
    np.testing.assert_allclose(table(how.predict(data, test, seed=0)), torch.stack(each).mean(0), atol=1e-6)


def test_together_needs_draws_of_all_clips():
    with pytest.raises(ValueError, match="concat_clips needs fresh draws in every epoch; set draws=0"):
        replace(attentive.build("vjepa"), train=replace(attentive.build("vjepa").train, sampler=Drawn(VJepa(), 4)))


def test_a_grid_is_each_of_its_heads_trained_alone():
    grid = AttentiveProbe(lrs=(1e-3, 1e-2), weight_decays=(0.0, 0.5), epochs=3, min_steps=0, batch=16)
    data, test = stored(30), stored(9, seed=1)
    both = replace(grid, select="best-on-test")
    model, *_ = both._fit(data, range(30), torch.tensor([e.truth for e in data.examples]), seed=1, scratch=None)
    for i, point in enumerate(grid.candidates):
        alone = replace(grid, lrs=(), weight_decays=(), **point)
        with torch.no_grad():
            ours = model(test.values.flatten(1, -2))[i].softmax(-1)
        np.testing.assert_allclose(table(alone.predict(data, test, seed=1)), ours, atol=1e-5)


def test_a_head_is_chosen_on_held_out_training_examples():
    data, test = stored(120, noise=2.0), stored(60, seed=1, noise=2.0)
    grid = AttentiveProbe(lrs=(1e-7, 3e-3), epochs=10)
    predictions = grid.predict(data, test, seed=0)
    assert predictions.about["chosen"] == {"lr": 3e-3, "weight_decay": 0.01}
    assert [set(g) for g in predictions.about["grid"]] == [{"lr", "weight_decay", "held-out"}] * 2
    cheat = replace(grid, select="best-on-test")
    predictions = cheat.predict(data, test, seed=0)
    assert predictions.about["select"] == "best-on-test"
    assert top_1(grid, predictions, test) == pytest.approx(max(g["test"] for g in predictions.about["grid"]), abs=1e-3)


def test_a_diverged_head_is_reported(monkeypatch):
    data = stored(24)
    how = AttentiveProbe(lrs=(1e25, 1e-3), epochs=4, min_steps=0, select="best-on-test")
    predictions = how.predict(data, data, seed=0)
    assert predictions.about["diverged"] == [{"lr": 1e25, "weight_decay": 0.01}]
    assert np.isfinite(table(predictions)).all()


def test_a_diverged_training_fails_however_often_it_is_run(tmp_path: Path):
    """The state left behind must not let a later run find nothing more to train and take the head as it is."""
    for epochs in (1, 2):
        how = AttentiveProbe(lr=1e30, epochs=epochs, min_steps=0, batch=8)
        for _ in range(epochs + 2):
            with pytest.raises(ValueError, match=r"all heads diverged by step \d+; lower lr"):
                how.predict(stored(24), stored(24), seed=0, scratch=tmp_path / "training" / "x")
        assert not (tmp_path / "training").exists()


def test_an_interrupted_training_resumes_to_the_same_bits(tmp_path: Path, monkeypatch):
    how, data = AttentiveProbe(lrs=(1e-3, 1e-2), epochs=5, min_steps=0, batch=8), stored(20)
    whole = how.predict(data, data, seed=3)
    scratch = tmp_path / "training" / "one"
    again = resumed(lambda at: how.predict(data, data, seed=3, scratch=at), scratch, monkeypatch, after=3)
    np.testing.assert_array_equal(table(whole), table(again))
    assert whole.about == again.about
    assert not scratch.parent.exists()


def test_states_of_short_epochs_are_saved_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    clock = iter(range(1000))
    monkeypatch.setattr(resume.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(resume.torch, "save", lambda state, path: (written.append(state["epochs"]), path.touch()))
    resume.resume(tmp_path / "state", {})
    for epoch in range(1, 31):
        resume.save(tmp_path / "state", {}, epoch)
    assert written == [10, 20, 30], "a look at the clock takes a second here, and a save ends with another one"


def test_a_damaged_state_is_named(tmp_path: Path):
    (tmp_path / "state").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"cannot resume from this state .*; delete the file"):
        AttentiveProbe(epochs=2).predict(stored(9), stored(9), seed=0, scratch=tmp_path / "state")


CARD = Card(name="lab/cells", digest="1", dim=3, frames=4, size=16, mean=(0.5,) * 3, std=(0.2,) * 3)


class Cells(torch.nn.Module):
    """Mean colors of each frame's quarters; it has a parameter that a gradient could reach."""

    card = CARD

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.modes: set[tuple[bool, bool]] = set()

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        self.modes.add((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        grid = torch.nn.functional.avg_pool3d(clips * self.scale, (1, 8, 8)).movedim(1, -1)
        return Tokens(grid, grid.mean((1, 2, 3)))


@pytest.mark.parametrize(
    "text", ["attentive+epochs=3+min_steps=0", "attentive/paper+epochs=3+draws=2+test=views:1x2/1"]
)
def test_live_and_stored_grids_give_one_score_without_gradients_in_the_encoder(videos, tmp_path, text):
    whole, encoder = folder("", videos), Cells()
    dataset = replace(whole, folds=whole.folds[:2])
    options = ExtractionOptions(workers=1, batch=4, quiet=True)
    scores = []
    for name, budget in (("live", 0), ("kept", 1 << 30)):
        config = EvaluationConfig(
            run=tmp_path / name, store=tmp_path / f"store-{name}", options=options, grid_cache_bytes=budget
        )
        (result,) = evaluate(dataset, [encoder], [text], config=config)
        scores.append(result.headline.value)
        assert bool(list((tmp_path / f"store-{name}").rglob("vectors-*"))) == (name == "kept")
        assert not (tmp_path / name / "training").exists()
    assert scores[0] == scores[1]
    assert encoder.modes == {(False, True)}
    assert encoder.scale.grad is None


def test_presets():
    assert {v: attentive.build(v).name for v in attentive.VARIANTS} == {
        v: f"attentive/{v}" if v else "attentive" for v in attentive.PRESETS
    }
    with pytest.raises(ValueError, match="did you mean 'attentive/vjepa'"):
        attentive.build("vjepa3")
    paper = {d: attentive.build(f"paper-{d}") for d in ATTENTIVE}
    assert {d: (p.lr, p.weight_decay, p.epochs, p.warmup, p.batch) for d, p in paper.items()} == {
        "k400": (1e-3, 1e-5, 20, 0, 256),
        "mit": (1e-3, 1e-5, 20, 0, 256),
        "ssv2": (1e-3, 1e-5, 20, 0, 256),
        "diving48": (1e-3, 1e-5, 50, 0, 256),
        "epic": (1e-3, 1e-5, 50, 0, 256),
        "in1k": (1e-3, 1e-3, 20, 0, 512),
    }
    assert describe(paper["k400"].train.sampler) == "drawn(randomcrop(randomclip,0.3..1,0.5..2,true),0)"
    assert describe(paper["ssv2"].test.sampler) == "views:3x1/1"
    assert paper["k400"].train.sampler == Drawn(RandomCrop(RandomClip(4), (0.3, 1.0), (0.5, 2.0), True), 0)
    assert paper["diving48"].test.sampler == Views(3, 4, 4)
    assert probe("attentive/paper").for_dataset("ssv2") == replace(paper["ssv2"], name="attentive/paper")
    assert attentive.build("vjepa").for_dataset("ssv2").test.sampler == VJepa(2, 4, 3)
    deep = attentive.build("vjepa2").for_dataset("ssv2")
    assert (deep.depth, len(deep.candidates), deep.test.sampler) == (4, 20, VJepa(2, 4, 3))
    assert attentive.build("vjepa2-original").select == "best-on-test"
    assert attentive.build("grid").for_dataset("ssv2") == attentive.build("grid")
    assert probe("attentive+both:frozen").train.sampler == Frozen(Uniform())


@pytest.mark.parametrize(("dim", "heads"), [(768, 12), (1024, 16), (1280, 16), (1408, 16), (192, 3), (12, 1), (67, 1)])
def test_attention_heads(dim, heads):
    assert attentive.default_heads(dim) == heads


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": 0.0}, "lr = 0.0"),
        ({"lrs": (0.1, -1.0)}, "lrs = -1.0 must be positive"),
        ({"warmup": 21}, "warmup = 21"),
        ({"weight_decays": (-1.0,)}, "weight_decays = -1.0"),
        ({"test": View(MultiClip(2.0))}, "attends to tokens"),
    ],
)
def test_impossible_settings(fields, message):
    with pytest.raises(ValueError, match=message):
        AttentiveProbe(**fields)


def test_one_class_is_rejected():
    data = stored(6, classes=1)
    with pytest.raises(ValueError, match="all 6 training examples belong to class 'c0'"):
        AttentiveProbe().predict(data, data, seed=0)
