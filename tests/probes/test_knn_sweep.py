"""kNN over a grid of k and tau: loops that leave each training example and its group out, and ask everyone else."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vitascope.core.types import Example
from vitascope.features.base import StoredFeatures
from vitascope.probes.base import WorkloadSize
from vitascope.probes.classification import nearest_neighbors as search
from vitascope.probes.classification import voting
from vitascope.probes.classification.model_selection import stratified_sample
from vitascope.probes.methods import knn
from vitascope.probes.options import probe

KS, TAUS = (1, 3, 8, 500), (0.05, 0.3)


def side(counts, seed, *, classes=4, groups=(), dim=6, spread=0.7):
    """Examples of so many clips each, clips of one example near each other."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, len(counts))
    centers = np.random.default_rng(99).normal(size=(classes, dim))
    own = centers[truth] + spread * rng.normal(size=(len(counts), dim))
    values = np.repeat(own, counts, axis=0) + 0.1 * rng.normal(size=(sum(counts), dim))
    examples = [
        Example(id=f"{seed}-{i}", path=f"{i}.mp4", truth=int(t), group=groups[i] if groups else None)
        for i, t in enumerate(truth)
    ]
    first = torch.tensor([0, *np.cumsum(counts)])
    return StoredFeatures(examples, [f"c{c}" for c in range(classes)], torch.tensor(values, dtype=torch.float32), first)


def clips(features):
    """(example, vector in float64 and of length 1), one by one."""
    for e in range(len(features.examples)):
        for value in features.values[features.offsets[e] : features.offsets[e + 1]].double().numpy():
            yield e, value / np.linalg.norm(value)


def judged(queries, bank, k, tau, *, leaving):
    """Percent of the examples of `queries` that their neighbors name; `leaving(e, b)`: whether e may not ask b."""
    votes = np.zeros((len(queries.examples), len(bank.classes)))
    for e, query in clips(queries):
        cosines = [(-np.float32(query @ v), i, b) for i, (b, v) in enumerate(clips(bank)) if not leaving(e, b)]
        for minus, _, b in sorted(cosines)[:k]:
            votes[e, bank.examples[b].truth] += np.exp(-float(minus) / tau)
    right = [int(v.argmax()) == e.truth for v, e in zip(votes, queries.examples, strict=True)]
    return 100 * np.mean(right)


def expected(train):
    """The table of the whole grid by loops."""
    units = [e.group or e.id for e in train.examples]
    return [
        {
            "k": k,
            "tau": tau,
            "held-out": round(judged(train, train, k, tau, leaving=lambda e, b: units[e] == units[b]), 4),
        }
        for k in KS
        for tau in TAUS
    ]


@pytest.mark.parametrize("tile", [7, 2048])
@pytest.mark.parametrize("grouped", [False, True])
def test_is_leaving_out_one_by_one(monkeypatch, grouped, tile):
    for module in (voting, search):
        monkeypatch.setattr(module, "TILE", tile)
    counts = [1, 3, 2, 4, 1, 2] * 4
    groups = [f"g{i // 3}" if i % 5 else None for i in range(len(counts))] if grouped else ()
    train, test = side(counts, 1, groups=groups), side([2, 1, 3] * 5, 2)
    how = knn.KNNProbe(ks=KS, taus=TAUS, center=False)
    predictions = how.predict(train, test)
    table = expected(train)
    assert predictions.about["grid"] == table
    best = max(table, key=lambda point: point["held-out"])  # the first of equals
    assert predictions.about["chosen"] == {"k": best["k"], "tau": best["tau"]}
    assert predictions.about["select"] == "held-out"
    alone = knn.KNNProbe(k=best["k"], tau=best["tau"], center=False).predict(train, test)
    np.testing.assert_array_equal(np.stack(list(predictions)), np.stack(list(alone)))


def test_a_group_is_left_out_whole():
    """Twins in one group: with the group known, nobody is recognized by the own twin."""
    train = side([2] * 12, 3, spread=3.0)
    examples = [replace(e, truth=i % 2, group=f"pair {i // 2}") for i, e in enumerate(train.examples)]
    values = train.values.view(6, 2, 2, -1)
    values[:, 1] = values[:, 0]
    paired = replace(train, examples=examples, values=values.reshape(24, -1))
    apart = replace(paired, examples=[replace(e, group=None) for e in examples])
    how = knn.KNNProbe(ks=(1,), taus=(0.1, 0.2))
    assert how.predict(apart, apart).about["grid"][0]["held-out"] == 0  # the twin has the other class
    assert how.predict(paired, paired).about["grid"][0]["held-out"] > 0


def test_the_best_on_the_test_side_is_marked():
    train, test = side([1] * 30, 4), side([1] * 20, 5)
    how = knn.KNNProbe(ks=KS, taus=TAUS, select="best-on-test", center=False)
    predictions = how.predict(train, test)
    best = max(predictions.about["grid"], key=lambda point: point["test"])
    assert predictions.about["chosen"] == {name: best[name] for name in ("k", "tau")}
    assert predictions.about["select"] == "best-on-test"
    assert "held-out" not in best
    assert how.score(predictions, [e.truth for e in test.examples])["top-1"] == pytest.approx(best["test"], abs=1e-4)
    assert best["test"] == pytest.approx(
        judged(test, train, best["k"], best["tau"], leaving=lambda e, b: False), abs=1e-4
    )
    assert not how.random


def test_groups_that_are_all_of_their_class_stay_in():
    train = side([1] * 20, 7, spread=0.1)
    bound = replace(train, examples=[replace(e, group=f"only {e.truth}") for e in train.examples])
    how = knn.KNNProbe(ks=(1,), taus=(0.1, 0.2))
    assert how.predict(bound, bound).about["grid"][0]["held-out"] > 0
    assert how.predict(bound, bound).about == how.predict(train, train).about


def test_of_equally_good_the_first_is_chosen():
    train = side([1] * 8, 6, spread=0.0)
    how = knn.KNNProbe(ks=(100, 200, 7), taus=(0.2, 0.1))
    assert how.predict(train, train).about["chosen"] == {"k": 100, "tau": 0.2}


def test_clips_are_averaged_before_the_search():
    counts = [1, 3, 2] * 8
    train, test = side(counts, 7), side([2] * 9, 8)
    mean = [
        replace(
            f,
            values=torch.stack([f.values[a:b].mean(0) for a, b in pairwise(f.offsets)]),
            offsets=torch.arange(len(f.examples) + 1),
        )
        for f in (train, test)
    ]
    how = knn.KNNProbe(ks=KS, taus=TAUS)
    assert replace(how, mean=True).predict(train, test).about == how.predict(*mean).about


def test_one_group_leaves_no_queries():
    train = side([1] * 6, 9, groups=["g"] * 6)
    with pytest.raises(ValueError, match="all 6 training examples belong to one group") as caught:
        knn.build("sweep").predict(train, train)
    assert "\n" not in str(caught.value)
    assert knn.build().predict(train, train)


def test_a_large_training_side_is_sampled():
    train, test = side([2] * 60, 10), side([1] * 10, 11)
    how = knn.KNNProbe(ks=KS, taus=TAUS, queries=20, center=False)
    asked = stratified_sample(torch.tensor([e.truth for e in train.examples]), 20, 3).tolist()
    only = replace(
        train,
        examples=[train.examples[i] for i in asked],
        values=train.values.view(60, 2, -1)[asked].flatten(0, 1),
        offsets=torch.arange(21) * 2,
    )
    ids = [e.id for e in only.examples]
    for point in how.predict(train, test, seed=3).about["grid"]:
        left = judged(only, train, point["k"], point["tau"], leaving=lambda e, b: ids[e] == train.examples[b].id)
        assert point["held-out"] == round(left, 4)
    assert how.random
    assert not knn.build("clip").random


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(1, 90), st.integers(0, 9))
@example([0, 3, 0, 0, 0, 0, 1, 2], 3, 1)
def test_a_sample_has_every_class_in_proportion(labels, most, seed):
    result = stratified_sample(torch.tensor(labels), most, seed).tolist()
    assert result == sorted(set(result))
    assert len(result) == min(most, len(labels))
    assert result == stratified_sample(torch.tensor(labels), most, seed).tolist()
    drawn, there = Counter(labels[i] for i in result), Counter(labels)
    # Sainte-Lague's apportionment: no class could give an example to another and both be nearer to their shares
    last = [(drawn[label] - 0.5) / count for label, count in there.items() if drawn[label]]
    following = [(drawn[label] + 0.5) / count for label, count in there.items() if drawn[label] < count]
    assert max(last) <= min(following, default=1.0) + 1e-9


def test_presets():
    for variant, plain in (("sweep", ""), ("clip-sweep", "clip"), ("video-sweep", "video")):
        how = knn.build(variant)
        assert how.name == f"knn/{variant}"
        assert len(how.candidates) == 35
        assert replace(how, name=knn.build(plain).name, ks=(), taus=()) == knn.build(plain)
    load = WorkloadSize(train=10, test=4, train_clips=3, test_clips=2, tokens=1, dim=8, classes=2)
    assert knn.build("clip").multiply_adds(load) == 30 * 8 * 8
    assert knn.build("clip-sweep").multiply_adds(load) == 30 * (8 + 30) * 8
    assert knn.build("video-sweep").multiply_adds(load) == 10 * (4 + 10) * 8


def test_a_grid_on_the_command_line():
    how = probe("knn+ks=5,10+taus=0.1")
    assert [how.ks, how.taus] == [(5, 10), (0.1,)]
    assert all(type(k) is int for k in how.ks)
    with pytest.raises(ValueError, match=re.escape("ks = '0.5' must be a whole number")):
        probe("knn+ks=0.5")
    with pytest.raises(ValueError, match="ks = 0 must be at least 1; queries = 0 must be at least 1"):
        knn.KNNProbe(ks=(0, 5), queries=0)
