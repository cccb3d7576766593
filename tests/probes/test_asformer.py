"""ASFormer: stages and losses of the original, attention against dense tables, gradients, dropout by bits."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from asformer_golden import renamed
from helpers import golden
from vitascope.core.device import generator
from vitascope.probes.temporal import asformer
from vitascope.probes.temporal.asformer import (
    ASFormer,
    DilatedConv,
    asformer_loss,
    dropout_half,
    random_asformer,
    windowed_attention,
)

LENGTHS = (1, 2, 3, 5, 8, 16, 17, 33, 64, 100, 137)


@pytest.mark.parametrize(("name", "reach"), [("sliding", "block"), ("fixedmask", "window"), ("normal", "full")])
def test_stages_and_loss_are_the_originals(name, reach):
    data = golden(f"asformer_{name}")
    model = ASFormer(20, 7, layers=6, width=32, span=reach)
    model.load_state_dict(renamed(data))
    x, y = torch.from_numpy(data["in/x"])[0].T.contiguous(), torch.from_numpy(data["in/y"])[0]
    assert float(asformer_loss(model(x), y).detach()) == pytest.approx(float(data["out/loss"]), rel=1e-5)
    # the original leaves hidden keys a millionth; in double precision the rest of the difference is its rounding
    logits = model.double()(x.double())
    np.testing.assert_allclose(logits.detach().numpy(), data["out/stages"][:, 0].swapaxes(1, 2), atol=1e-4, rtol=0)


def sees(reach, t, d):
    """Which keys each query sees, written out."""
    table = torch.zeros(t, t, dtype=torch.bool)
    for i in range(t):
        start = i - d // 2 if reach == "window" else i // d * d - d // 2
        for j in range(t):
            table[i, j] = reach == "full" or start <= j < start + (d if reach == "window" else 2 * d - 1)
    return table


@pytest.mark.parametrize("reach", ["window", "block", "full"])
@pytest.mark.parametrize("d", [2, 4, 16, 64])
def test_attention_and_its_gradients_are_those_of_a_dense_table(reach, d):
    draw = generator(d)
    for t in LENGTHS:
        q, k, v = (torch.randn(t, 6, generator=draw, dtype=torch.float64).requires_grad_() for _ in range(3))
        scores = (q @ k.T / math.sqrt(6)).masked_fill(~sees(reach, t, d), -math.inf)
        wanted, result = scores.softmax(-1) @ v, windowed_attention(q, k, v, d, span=reach)
        torch.testing.assert_close(result, wanted)
        slope = torch.randn(t, 6, generator=draw, dtype=torch.float64)
        for a, b in zip(*(torch.autograd.grad(y, (q, k, v), slope) for y in (result, wanted)), strict=True):
            torch.testing.assert_close(a, b)


def test_without_dilation_a_frame_sees_itself():
    v = torch.randn(5, 3)
    assert windowed_attention(v, v, v, 1, span="window") is v
    assert windowed_attention(v, v, v, 1, span="block") is v


@pytest.mark.parametrize("d", [1, 4, 9, 32])
def test_dilated_convolution(d):
    layer = DilatedConv(4, d).double()
    for t in (2, 9, 40):
        draw = generator(t)
        for p in layer.parameters():
            torch.nn.init.normal_(p, generator=draw)
        x = torch.randn(t, 4, generator=draw, dtype=torch.float64).requires_grad_()
        wanted = F.conv1d(x.T[None], layer.weight.permute(0, 2, 1), layer.bias, padding=d, dilation=d)[0].T.relu()
        result = layer(x)
        torch.testing.assert_close(result, wanted)
        slope = torch.randn(t, 4, generator=draw, dtype=torch.float64)
        inputs = (x, layer.weight, layer.bias)
        for a, b in zip(*(torch.autograd.grad(y, inputs, slope) for y in (result, wanted)), strict=True):
            torch.testing.assert_close(a, b)


def test_half_of_the_numbers_are_dropped_and_take_no_gradient():
    y = torch.rand(301, 7).add(1).requires_grad_()
    kept = dropout_half(y, generator(0))
    share = (kept / y).detach()
    assert set(share.unique().tolist()) == {0.0, 2.0}
    assert abs(float(share.mean()) - 1) < 4 / math.sqrt(y.numel())
    kept.sum().backward()
    torch.testing.assert_close(y.grad, share)
    torch.testing.assert_close(dropout_half(y, generator(0)), kept)
    assert not torch.equal(dropout_half(y, generator(1)), kept)
    assert dropout_half(y, None) is y


def test_channels_are_dropped_as_if_they_were_zero():
    model = random_asformer(generator(0), ASFormer(40, 3, layers=1, width=4, mask=0.4))
    x, first = torch.randn(6, 40), model.stages[0].first
    kept = torch.rand(40, generator=generator(5)) >= 0.4
    assert 0 < kept.sum() < 40
    torch.testing.assert_close(model._masked(first, x, generator(5)), first(x * kept / 0.6))
    torch.testing.assert_close(model._masked(first, x, None), first(x))


@pytest.mark.parametrize("reach", ["window", "block", "full"])
def test_everything_that_has_a_say_learns(reach):
    model = random_asformer(generator(0), ASFormer(8, 3, layers=4, width=32, span=reach))
    asformer_loss(model(torch.randn(21, 8), generator(1)), torch.arange(21) % 3).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        if "qkv.bias" not in name:  # the bias of keys adds the same to all scores
            assert p.grad.any(), name


def test_loss_written_out():
    draw = generator(2)
    logits, labels = 4 * torch.randn(3, 5, 4, generator=draw), torch.tensor([0, 3, 3, 1, 2])
    total = 0.0
    for stage in logits.log_softmax(-1).tolist():
        total -= sum(row[y] for row, y in zip(stage, labels.tolist(), strict=True)) / 5
        steps = [min((a - b) ** 2, 16.0) for one, two in pairwise(stage) for a, b in zip(two, one, strict=True)]
        total += 0.2 * sum(steps) / len(steps)
    assert float(asformer_loss(logits, labels, smoothing=0.2)) == pytest.approx(total, rel=1e-5)


def test_the_earlier_of_two_frames_takes_no_gradient_of_smoothing():
    logits = torch.randn(1, 2, 3, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 1])
    whole, plain = (torch.autograd.grad(asformer_loss(logits, labels, smoothing=s), logits)[0] for s in (0.5, 0.0))
    torch.testing.assert_close(whole[0, 0], plain[0, 0])
    assert (whole[0, 1] != plain[0, 1]).all()


def test_later_stages_listen_less():
    model = ASFormer(4, 2, layers=1, width=4)
    result = [stage.layers[0].alpha for stage in model.stages]
    assert result == [1.0, 1.0, math.exp(-3), math.exp(-6)]
    assert isinstance(model.stages[0].layers[0], asformer.ASFormerLayer)
