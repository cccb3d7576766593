"""ActionFormer's network: the original's outputs, attention by brute force, padding, what training computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actionformer_golden import inputs, renamed, stacked
from helpers import golden
from vitascope.core.device import generator
from vitascope.nn import fast_linear
from vitascope.probes.temporal.actionformer import (
    ActionFormer,
    local_attention,
    max_pool_half,
    padded_length,
    random_actionformer,
    sinusoids,
    split_weight_decay,
)

KINDS = {"actionformer_sc": 5, "actionformer_ext": 1}


def small(dim=6, classes=3, seed=0, spread=True, **sizes):
    """A little network; with `spread` no norm, scale or bias is what it is at the start."""
    sizes = {"width": 8, "heads": 2, "windows": (5, 5, 5), **sizes}
    model = random_actionformer(generator(seed), ActionFormer(dim, classes, **sizes))
    for p in model.parameters() if spread else ():
        if p.ndim <= 1:
            p.data += 0.5 * torch.randn(p.shape, generator=generator(seed + 1))
    return model


@pytest.mark.parametrize("name", KINDS)
def test_the_original_s_outputs(name):
    data = golden(name)
    model = ActionFormer(24, KINDS[name], width=64)
    model.load_state_dict(renamed(data), strict=True)
    values, mask = inputs(data)
    with torch.no_grad():
        output = model(values, mask)
        shorter = padded_length(401, (19,) * 6, 576)
        again = model(values[1:, :, :shorter], mask[1:, :shorter])
    for name in ("logits", "offsets"):
        wanted, result = stacked(data, name), getattr(output, name)
        np.testing.assert_allclose(result[output.mask], wanted[output.mask], atol=1e-5)
        np.testing.assert_allclose(getattr(again, name)[again.mask], wanted[1][output.mask[1]], atol=1e-5)
    assert (output.mask == stacked(data, "masks")).all()
    assert output.sizes == (576, 288, 144, 72, 36, 18)
    assert shorter == 448


def dense_attention(q, k, v, window):
    """Every query against every key, one mask of all pairs."""
    t = q.shape[2]
    far = (torch.arange(t)[:, None] - torch.arange(t)).abs()
    seen = (far <= window // 2) if window > 1 else torch.ones(t, t, dtype=torch.bool)
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~seen, -1e9)
    return scores.softmax(-1) @ v


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 170),
    window=st.sampled_from([-1, 1, 2, 3, 8, 19, 40, 64, 200]),
    videos=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_local_attention_is_dense_attention_under_a_mask(length, window, videos, seed):
    shape, draw = (videos, 3, length, 4), generator(seed)
    q, k, v = (torch.randn(shape, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(3))
    result, wanted = [local_attention(q, k, v, window=window)], [dense_attention(q, k, v, window)]
    for each in (result, wanted):
        each += torch.autograd.grad(each[0].sin().sum(), (q, k, v))
    for x, y in zip(result, wanted, strict=True):
        torch.testing.assert_close(x, y)


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 40), more=st.integers(0, 3), seed=st.integers(0, 9))
def test_padding_changes_nothing(length, more, seed):
    model = small(seed=seed)
    x = torch.randn(1, 6, length, generator=generator(seed))
    output = []
    shortest = padded_length(length, (5, 5, 5), 4 * 99)
    for places in (shortest, shortest + 4 * more):
        mask = torch.arange(places)[None] < length
        with torch.no_grad():
            result = model(torch.nn.functional.pad(x, (0, places - length)), mask)
        output.append([result.logits[result.mask], result.offsets[result.mask]])
    for a, b in zip(*output, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("lengths", [(32, 21), (9, 32, 9, 30)])
def test_neighbors_in_a_batch_do_not_meet(lengths):
    """Nor does it matter that videos of one length are computed together, wherever they stand."""
    model, count = small(), len(lengths)
    x, mask = torch.randn(count, 6, 32), torch.arange(32) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        both, alone = model(x * mask[:, None], mask), [model(x[i : i + 1], mask[i : i + 1]) for i in range(count)]
    for i in range(count):
        torch.testing.assert_close(both.logits[i][both.mask[i]], alone[i].logits[alone[i].mask])
        torch.testing.assert_close(both.offsets[i][both.mask[i]], alone[i].offsets[alone[i].mask])


@pytest.mark.parametrize("length", [32, 21])
def test_offsets_at_some_points_are_those_of_all(length):
    model = small()
    x, mask = torch.randn(2, 6, 32), (torch.arange(32) < length).repeat(2, 1)
    output = model(x, mask)
    points = output.mask & (torch.rand(output.mask.shape, generator=generator(0)) < 0.4)
    some = model.offsets_at(model.levels(x, mask), points)
    torch.testing.assert_close(some, output.offsets[points])
    slopes = [
        torch.autograd.grad(y.sin().sum(), model.parameters(), allow_unused=True)
        for y in (some, output.offsets[points])
    ]
    for a, b in zip(*slopes, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4)


def test_no_points_still_have_a_gradient():
    model = small()
    x, mask = torch.randn(1, 6, 8), torch.ones(1, 8, dtype=torch.bool)
    model.offsets_at(model.levels(x, mask), torch.zeros(1, 14, dtype=torch.bool)).sum().backward()
    assert all((p.grad == 0).all() for p in model.distances.parameters() if p.grad is not None)
    assert model.distances.last.weight.grad is not None


def test_branches_left_out_are_those_drawn():
    """With every branch dropped or kept by hand: kept ones count over 1 - drop, the others not at all."""
    model = small(drop_path=0.5)
    x, mask = torch.randn(3, 6, 32), torch.arange(32) < torch.tensor([[32], [30], [9]])
    blocks = [*model.stem, *model.branch]
    levels = model.levels(x, mask, generator(3))
    kept = torch.rand(len(blocks), 2, 3, generator=generator(3)) >= 0.5
    assert 0 < kept.sum() < kept.numel()
    with torch.no_grad():
        for i in range(3):
            for block, keep in zip(blocks, kept[:, :, i], strict=True):
                block.was = block.scale1.clone(), block.scale2.clone()
                block.scale1 *= 2.0 * keep[0]
                block.scale2 *= 2.0 * keep[1]
            alone = model.levels(x[i : i + 1], mask[i : i + 1])
            own = levels.points // levels.mask.shape[1] == i
            torch.testing.assert_close(levels.values[levels.rows[own]], alone.values[alone.rows])
            for block in blocks:
                block.scale1.copy_(block.was[0])
                block.scale2.copy_(block.was[1])


def test_the_start():
    model = random_actionformer(generator(0), ActionFormer(1024, 20))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(7.35e6, abs=5e3)
    weights, others = split_weight_decay(model)
    assert sum(p.numel() for p in others) < 5e4
    assert {p.ndim for p in weights} == {3}
    x = torch.randn(1, 1024, 64)
    with torch.no_grad():
        output = model(x, torch.ones(1, 64, dtype=torch.bool))
    assert float(torch.sigmoid(output.logits).mean()) == pytest.approx(0.01, abs=5e-3)
    again = random_actionformer(generator(0), ActionFormer(1024, 20))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_positions():
    table = sinusoids(4, 4, 6).double() * 6**0.5
    for place in range(4):
        for j in range(6):
            angle = place / 10000 ** (2 * (j // 2) / 6)
            assert table[place, j] == pytest.approx(math.cos(angle) if j % 2 else math.sin(angle), abs=1e-6)
    assert sinusoids(9, 4, 6).shape == (9, 6)
    x, mask = torch.randn(1, 6, 16), torch.arange(16)[None] < 11
    plain, placed = small(), small(positions=16)
    with torch.no_grad():
        assert not torch.allclose(plain(x, mask).logits, placed(x, mask).logits)


def test_halved_is_max_pooling():
    x = torch.randn(2, 10, 3) - 3
    torch.testing.assert_close(max_pool_half(x, 10), torch.nn.functional.max_pool1d(x.mT, 3, 2, 1).mT)
    followed = x.clone()
    followed[:, 7] = 0
    pooled = torch.nn.functional.max_pool1d(followed.mT, 3, 2, 1).mT
    torch.testing.assert_close(max_pool_half(x, 7)[:, :4], pooled[:, :4])


def test_places():
    windows = (19,) * 6
    lengths = {
        1: 64,
        32: 64,
        33: 96,
        2240: 2272,
        2241: 2304,
        2304: 2304,
        2305: 2368,
        2848: 2880,
        2849: 2880,
        2880: 2880,
    }
    assert {n: padded_length(n, windows, 2304) for n in lengths} == lengths
    assert padded_length(2881, windows, 2304) == 2944
    assert padded_length(192, windows, 192) == 192
    assert padded_length(2305, windows, 2304, exact=True) == 2880  # 5 * 32 * 18
    assert padded_length(2000, windows, 2304, exact=True) == 2048


def published_length(length, windows, limit):
    """As the published code pads one video at inference."""
    if length <= limit:
        return limit
    stride = max(2**i * ((w // 2) * 2 if w > 1 else 1) for i, w in enumerate(windows))
    return (length + stride - 1) // stride * stride


@pytest.mark.parametrize("length", [17, 24, 25, 26, 28, 30, 32, 33, 40, 46, 47, 48, 49, 63, 64, 65])
def test_videos_longer_than_the_limit_end_as_in_the_published_code(length):
    """Also where their end meets its padding, so that no position is left for the bias of a norm."""
    model, windows, limit = small(), (5, 5, 5), 16
    x = torch.randn(1, 6, length, generator=generator(length))
    output = []
    for places in (padded_length(length, windows, limit), published_length(length, windows, limit)):
        with torch.no_grad():
            result = model(torch.nn.functional.pad(x, (0, places - length)), torch.arange(places)[None] < length)
        output.append([result.logits[result.mask], result.offsets[result.mask]])
    for a, b in zip(*output, strict=True):
        torch.testing.assert_close(a, b)


def test_a_product_and_its_gradient(monkeypatch):
    x, w, b = torch.randn(3, 5, 4, requires_grad=True), torch.randn(7, 4, requires_grad=True), torch.randn(7)
    b.requires_grad_()
    results = []
    monkeypatch.setattr(fast_linear, "MIN_PRODUCTS", 0)
    for has_onednn in (fast_linear.HAS_ONEDNN, False):
        monkeypatch.setattr(fast_linear, "HAS_ONEDNN", has_onednn)
        y = fast_linear.linear(x, w, b)
        results.append((y, *torch.autograd.grad(y.sin().sum(), (x, w, b))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
