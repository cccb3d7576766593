"""Linear probing against torch's own layers and optimizers, scikit-learn, and the published schedule."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from helpers import golden
from vitascope.core.types import Example
from vitascope.features.base import StoredFeatures, all_vectors
from vitascope.features.view import View
from vitascope.probes.classification.model_selection import held_out
from vitascope.probes.classification.softmax import LinearHeads
from vitascope.probes.classification.twlv1_table4 import LINEAR
from vitascope.probes.methods import linear
from vitascope.probes.methods.linear import LinearProbe
from vitascope.probes.options import probe
from vitascope.sampling.names import Drawn, Uniform, describe


def stored(values, truth, counts=None, classes=None):
    counts = torch.ones(len(truth), dtype=torch.int64) if counts is None else torch.as_tensor(counts)
    examples = [Example(id=f"v{i}", path=f"{i}.mp4", truth=int(t)) for i, t in enumerate(truth)]
    first = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return StoredFeatures(examples, [f"c{i}" for i in range(classes or int(max(truth)) + 1)], values, first)


def blobs(n, dim=8, classes=3, seed=0, spread=1.0):
    """A cloud for each class, around the same centers for every seed."""
    centers = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(n) % classes
    return stored(centers[truth] + spread * torch.randn(n, dim, generator=generator), truth.tolist(), classes=classes)


def table(predictions):
    return np.stack(predictions)


def test_schedule_is_the_published_one():
    expected = golden("lr_schedules")["out/linear_w40_t600_lr1e3"]
    got = [linear.learning_rate(i, 600, 40, 1e-3) for i in range(600)]
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-18)


@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_schedule_rises_to_its_peak_and_falls_to_nothing(steps, data):
    warm = data.draw(st.integers(0, steps - 1))
    rates = [linear.learning_rate(i, steps, warm, 0.3) for i in range(steps)]
    assert rates[: warm + 1] == sorted(rates[: warm + 1])
    assert rates[warm:] == sorted(rates[warm:], reverse=True)
    assert rates[warm] == pytest.approx(0.3)
    assert linear.learning_rate(steps, steps, warm, 0.3) == pytest.approx(0, abs=1e-16)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 6), st.integers(2, 5), st.integers(0, 1000))
def test_gradient_is_autograd_s(n, dim, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    y = torch.randint(classes, (n,), generator=generator)
    weight = torch.randn(classes, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(classes, generator=generator, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.cross_entropy(torch.nn.functional.linear(x, weight, bias), y).backward()
    got = linear.gradient(LinearHeads(weight.detach()[None], bias.detach()[None]), x, y)
    torch.testing.assert_close(got.weight[0], weight.grad)
    torch.testing.assert_close(got.bias[0], bias.grad)


def loop(how, train, labels, classes, seed):
    """The obvious way: a layer, an optimizer, a loss; the draws are made in the same order."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.bincount(train.owner)
    first = counts.cumsum(0) - counts
    layer = torch.nn.Linear(train.values.shape[1], classes)
    bound = train.values.shape[1] ** -0.5
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_() if how.init == "zeros" else p.uniform_(-bound, bound, generator=generator)
    if how.optimizer in ("adam", "adamw"):
        kind = torch.optim.Adam if how.optimizer == "adam" else torch.optim.AdamW
        optimizer = kind(layer.parameters(), lr=how.lr, weight_decay=how.weight_decay)
    else:
        optimizer = torch.optim.SGD(layer.parameters(), lr=how.lr, momentum=how.momentum, weight_decay=how.weight_decay)
    n, step = len(labels), 0
    an_epoch = n // how.batch if how.drop_last else -(-n // how.batch)
    for _ in range(how.epochs):
        order = torch.randperm(n, generator=generator)
        row = first[order]
        if counts.max() > 1:
            row = row + (torch.rand(n, generator=generator) * counts[order]).long()
        for b in range(an_epoch):
            part = slice(b * how.batch, (b + 1) * how.batch)
            for group in optimizer.param_groups:
                group["lr"] = linear.learning_rate(step, how.epochs * an_epoch, how.warmup * an_epoch, how.lr)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(train.values[row[part]]), labels[order[part]]).backward()
            optimizer.step()
            step += 1
    return layer


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("counts", [None, [1, 3, 2, 4] * 10])
def test_training_is_the_obvious_loop(optimizer, drop_last, weight_decay, counts):
    lr = 0.1 if optimizer == "sgd" else 1e-3
    how = LinearProbe(
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        drop_last=drop_last,
        batch=16,
        epochs=6,
        warmup=2,
        min_steps=0,
        init="zeros" if optimizer == "sgd" else "uniform",
        standardize=False,
    )
    truth = torch.arange(40) % 4
    train = stored(
        torch.randn(100 if counts else 40, 5, generator=torch.Generator().manual_seed(1)), truth.tolist(), counts
    )
    head = fitted(how, train, seed=7)
    layer = loop(how, all_vectors(train), truth, 4, seed=7)
    torch.testing.assert_close(head.weight[0], layer.weight.detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(head.bias[0], layer.bias.detach(), rtol=0, atol=1e-5)
    assert head.weight.abs().max() > 0.01


def test_small_sets_get_their_steps_and_a_warm_up_in_proportion(monkeypatch):
    seen = []
    monkeypatch.setattr(
        linear, "learning_rate", lambda step, steps, warm, peak: seen.append((step, steps, warm)) or 0.1
    )
    data = blobs(30)
    LinearProbe(epochs=30, warmup=3, min_steps=100, batch=20).predict(data, data, seed=0)
    assert seen == [(i, 100, 10) for i in range(100)]


def test_full_batches_do_not_care_for_the_order_of_examples():
    data = blobs(60)
    shuffled = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    other = stored(data.values[shuffled], [data.examples[i].truth for i in shuffled.tolist()])
    for how in (LinearProbe(min_steps=0, epochs=20, warmup=2), linear.build("lbfgs")):
        one, two = (table(how.predict(d, data, seed=s)) for d, s in ((data, 0), (other, 5)))
        np.testing.assert_allclose(one, two, atol=2e-4)


@pytest.mark.parametrize("variant", ["", "lbfgs", "grid", "lars"])
def test_same_seed_same_bits(variant):
    how, data = linear.build(variant), blobs(50)
    first, again, other = (table(how.predict(data, data, seed=s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == (variant == "lbfgs")


@pytest.mark.parametrize("l2", [0.3, 0.01])
def test_lbfgs_is_logistic_regression(l2):
    train, test = blobs(80, spread=2.0), blobs(30, seed=1, spread=2.0)
    how = replace(linear.build("lbfgs"), weight_decay=l2, standardize=False)
    truth = [e.truth for e in train.examples]
    reference = LogisticRegression(C=1 / (80 * l2), tol=1e-8, max_iter=1000).fit(train.values.numpy(), truth)
    np.testing.assert_allclose(
        table(how.predict(train, test, seed=0)), reference.predict_proba(test.values.numpy()), atol=1e-3
    )


def test_lbfgs_weighs_examples_not_vectors():
    base = blobs(20)
    counts = torch.tensor([1, 4] * 10)
    repeated = stored(base.values.repeat_interleave(counts, 0), [e.truth for e in base.examples], counts)
    how = replace(linear.build("lbfgs"), standardize=False)
    one, two = (table(how.predict(d, base, seed=0)) for d in (base, repeated))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_views_of_a_test_example_are_averaged_as_probabilities():
    train, test = blobs(40), blobs(6, seed=2)
    how = LinearProbe(epochs=5, warmup=1, min_steps=0)
    single = table(how.predict(train, test, seed=0))
    grouped = stored(test.values, [0, 1, 2], [1, 3, 2])
    expected = [single[0], single[1:4].mean(0), single[4:6].mean(0)]
    np.testing.assert_allclose(table(how.predict(train, grouped, seed=0)), expected, atol=1e-6)
    mean = stored(torch.stack([v.mean(0) for v in test.values.split([1, 3, 2])]), [0, 1, 2])
    np.testing.assert_allclose(
        table(replace(how, mean=True).predict(train, grouped, seed=0)),
        table(how.predict(train, mean, seed=0)),
        atol=1e-6,
    )


@pytest.mark.parametrize("variant", ["", "lbfgs"])
@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0.0), (1e6, 0.0), (1.0, 100.0)])
def test_scale_and_offset_of_the_features_do_not_matter(variant, scale, shift):
    train, test = blobs(60), blobs(30, seed=1)
    how = linear.build(variant)
    moved = [replace(d, values=d.values * scale + shift) for d in (train, test)]
    np.testing.assert_allclose(table(how.predict(*moved, seed=0)), table(how.predict(train, test, seed=0)), atol=2e-3)


def test_standard_is_tame_about_dead_and_loud_columns():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(500, 6, generator=generator) * torch.tensor([1, 1, 1, 1e4, 1e-4, 0]) + 3
    values[:, 5] = 0.1
    scaled = linear.fit_scaling(values)(values.clone())
    torch.testing.assert_close(scaled.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    variance = values.double().var(0, correction=0)
    variance[5] = 0
    np.testing.assert_allclose(
        scaled.var(0, correction=0)[:4], (variance / (variance + variance.median()))[:4], rtol=1e-3
    )
    assert scaled.std(0)[3] < 1.01
    assert scaled.std(0)[4:].max() < 1e-3


def test_standard_of_constant_features_is_finite():
    scaling = linear.fit_scaling(torch.full((9, 4), 0.1))
    assert scaling.scale.tolist() == [1] * 4


def test_learns_what_can_be_learned():
    for n in (6, 30, 600):
        truth = [e.truth for e in blobs(300, seed=5, spread=0.3).examples]
        for variant in ("", "lbfgs"):
            probe = linear.build(variant)
            assert (
                probe.score(probe.predict(blobs(n, spread=0.3), blobs(300, seed=5, spread=0.3), seed=0), truth)["top-1"]
                > 95
            )


def test_classes_that_training_lacks_are_allowed():
    train = stored(blobs(20).values, [0, 4] * 10, classes=6)
    predictions = linear.build().predict(train, train, seed=0)
    assert table(predictions).shape == (20, 6)
    assert set(linear.build().score(predictions, [0, 4] * 10)) == {"top-1", "top-5", "mean class accuracy"}
    assert set(linear.build().outcomes(predictions, [0, 4] * 10)) <= {0.0, 100.0}


def test_published_refuses_to_train_nothing():
    data = blobs(1023)
    with pytest.raises(ValueError, match=r"1023 training examples do not fill one of 1024.*use `linear`"):
        linear.build("published").predict(data, data, seed=0)
    probe = replace(linear.build("published"), epochs=2, warmup=1)
    assert len(probe.predict(blobs(1024), data, seed=0)) == 1023


def test_bad_input_is_named():
    one = stored(torch.randn(4, 3), [1] * 4, classes=2)
    with pytest.raises(ValueError, match="all 4 training examples belong to class 'c1'"):
        linear.build().predict(one, one, seed=0)
    with pytest.raises(ValueError, match="training vectors have shape 8, test vectors 3"):
        linear.build().predict(blobs(6), one, seed=0)
    broken = blobs(6)
    broken.values[3] = torch.inf
    with pytest.raises(ValueError, match=r"1 of 6 examples \(v3\)"):
        linear.build().predict(blobs(6), broken, seed=0)
    with pytest.raises(ValueError, match="no example of this split has vectors"):
        linear.build().predict(stored(torch.empty(0, 8), [], classes=3), blobs(6), seed=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": 0.0}, "lr = 0.0 must be positive"),
        ({"lrs": (0.1, -1.0, 0.0)}, "lrs = -1.0 must be positive; lrs = 0.0 must be positive"),
        ({"epochs": 0, "warmup": 0}, "epochs = 0 must be positive"),
        ({"batch": 0}, "batch = 0 must be positive"),
        ({"warmup": 151}, "warmup = 151 must be at most epochs = 150"),
        ({"weight_decay": -1.0}, "weight_decay = -1.0 must be at least 0"),
        ({"momentum": 1.0}, "momentum = 1.0 must be at least 0 and below 1"),
    ],
)
def test_impossible_settings(fields, message):
    with pytest.raises(ValueError) as error:
        LinearProbe(**fields)
    assert str(error.value) == f"linear: {message}"


@pytest.mark.parametrize("fields", [{"optimizer": "adamax"}, {"init": "ones"}, {"select": "best"}])
def test_words_that_mean_nothing(fields):
    # as a caller without a type checker would write it
    how = object.__new__(LinearProbe)
    for name, value in {**vars(LinearProbe()), **fields}.items():
        object.__setattr__(how, name, value)
    with pytest.raises(ValueError, match="must be one of"):
        how.__post_init__()


def test_variants():
    assert {v: linear.build(v).name for v in linear.VARIANTS} == {
        v: f"linear/{v}" if v else "linear" for v in linear.PRESETS
    }
    with pytest.raises(ValueError, match="did you mean 'linear/published'"):
        linear.build("publishd")
    paper = {d: linear.build(f"paper-{d}") for d in LINEAR}
    assert {d: (p.lr, p.epochs, p.warmup, p.batch) for d, p in paper.items()} == {
        "k400": (0.1, 150, 10, 1024),
        "mit": (0.1, 50, 10, 1024),
        "ssv2": (0.075, 50, 10, 1024),
        "diving48": (0.02, 300, 10, 1024),
        "epic": (0.1, 150, 10, 1024),
        "in1k": (0.1, 90, 0, 4096),
    }
    assert all(p.weight_decay == 0 and p.min_steps == 0 and not p.standardize for p in paper.values())


def test_the_paper_is_the_column_of_the_data_set_and_keeps_what_options_say():
    assert linear.build("paper") == replace(linear.build("paper-k400"), name="linear/paper")
    result = probe("linear/paper+epochs=70+lr=0.5", "ssv2")
    assert (result.name, result.epochs, result.lr, result.warmup) == ("linear/paper+epochs=70+lr=0.5", 70, 0.5, 10)
    assert describe(result.train.sampler) == "drawn(randomcrop(randomclip:1,0.3..1,0.75..1.33),0)"
    assert describe(result.test.sampler) == "views:3x1/1"
    assert describe(linear.build("paper").train.sampler) == "drawn(randomcrop(randomclip,0.3..1,0.75..1.33,true),0)"
    assert describe(linear.build("paper-in1k").test.sampler) == "uniform"
    assert probe("linear/paper", "mine") == linear.build("paper")
    assert linear.build("paper-mit").for_dataset("ssv2") == linear.build("paper-mit")
    kept = probe("linear/paper+draws=8", "diving48").train
    assert (describe(kept.sampler), kept.stored) == ("drawn(randomcrop(randomclip,0.3..1,0.75..1.33),8)", True)


def fitted(how, train, seed):
    return how._fit(linear._TrainingData(how, train, seed), seed)[0]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_a_grid_is_each_of_its_heads_trained_alone(optimizer):
    grid = LinearProbe(optimizer=optimizer, lrs=(0.01, 0.3), weight_decays=(0.0, 0.1), epochs=8, warmup=2, min_steps=0)
    data = blobs(40)
    sides = held_out(data.examples, 3)
    part = stored(data.values[sides.train], [data.examples[i].truth for i in sides.train])
    together = fitted(grid, data, seed=3)
    for i, point in enumerate(grid.candidates):
        alone = fitted(replace(grid, lrs=(), weight_decays=(), standardize=False, **point), part, seed=3)
        scaled = linear._TrainingData(grid, data, 3).scaling(part.values.clone())
        alone = fitted(
            replace(grid, lrs=(), weight_decays=(), standardize=False, **point), replace(part, values=scaled), seed=3
        )
        torch.testing.assert_close(together.weight[i], alone.weight[0], rtol=0, atol=2e-5)


def test_a_head_is_selected_on_held_out_training_examples():
    data, test = blobs(200, spread=2.0), blobs(60, seed=1, spread=2.0)
    grid = LinearProbe(name="g", lrs=(1e-6, 0.1), weight_decays=(0.0, 30.0), epochs=20, warmup=2)
    predictions = grid.predict(data, test, seed=0)
    held = {(g["lr"], g["weight_decay"]): g["held-out"] for g in predictions.about["grid"]}
    assert predictions.about["select"] == "held-out"
    assert held[(0.1, 0.0)] == max(held.values())
    assert predictions.about["chosen"] == {"lr": 0.1, "weight_decay": 0.0}
    truth = [e.truth for e in test.examples]
    assert grid.score(predictions, truth)["top-1"] > 60
    cheat = replace(grid, select="best-on-test").predict(data, test, seed=0)
    assert cheat.about["select"] == "best-on-test"
    assert "held-out" not in cheat.about["grid"][0]
    assert grid.score(cheat, truth)["top-1"] == pytest.approx(max(g["test"] for g in cheat.about["grid"]), abs=1e-3)


def test_a_diverged_head_is_reported_and_affects_no_other():
    data = blobs(60)
    data.values.mul_(1e10)
    how = LinearProbe(lrs=(1e30, 1e-30), standardize=False, epochs=10, warmup=0, select="best-on-test")
    assert {"lr": 1e30, "weight_decay": 0.0} in how.predict(data, data, seed=0).about["diverged"]
    with pytest.raises(ValueError, match=r"all heads diverged from step \d+ on; lower lr"):
        replace(how, lrs=(1e30,)).predict(data, data, seed=0)


@dataclass(frozen=True)
class Live:
    """Stored draws given out as if they were encoded anew."""

    inner: StoredFeatures

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def batches(self, size, order=None, draw=None):
        return self.inner.batches(size, order, draw)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("lrs", [(), (0.1, 0.01)])
def test_live_draws_train_the_head_that_stored_ones_do(optimizer, lrs):
    train, test = stored(torch.randn(90, 6), [i % 3 for i in range(30)], [3] * 30), blobs(9, dim=6)
    view = View(Drawn(Uniform(), 3))
    how = LinearProbe(
        optimizer=optimizer, lrs=lrs, train=view, epochs=4, warmup=1, batch=8, min_steps=0, standardize=False
    )
    live = replace(how, train=replace(view, stored=False))
    one, two = how.predict(train, test, seed=1), live.predict(Live(train), test, seed=1)
    np.testing.assert_allclose(table(one), table(two), atol=1e-6)
    assert one.about == two.about


def test_lbfgs_search_rejects_live_views():
    data = blobs(100, spread=2.0)
    predictions = linear.build("lbfgs-grid").predict(data, data, seed=0)
    assert [g["weight_decay"] for g in predictions.about["grid"]] == [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    with pytest.raises(ValueError, match="lbfgs needs stored features"):
        LinearProbe(optimizer="lbfgs", train=View(Uniform(), stored=False))
