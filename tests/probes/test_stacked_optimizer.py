"""Stacked optimizers against torch's own, one head at a time; LARS by hand; schedules against the published numbers."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import golden
from vitascope.nn.schedules import cosine
from vitascope.probes.classification.attentive_pooler import load_official, official_state, random_heads
from vitascope.probes.training.stacked_optimizer import StackedOptimizer, head_losses

SHAPES = [(4, 3), (4,), (1, 1, 3), (2, 4)]
"""A matrix, a bias, a query, another matrix; of one head."""
RATES = torch.tensor([1e-1, 3e-2, 1e-3], dtype=torch.float64)
DECAYS = torch.tensor([0.0, 0.1, 0.8], dtype=torch.float64)
TORCH = {
    "adamw": lambda groups: torch.optim.AdamW(groups, foreach=False, fused=False),
    "adam": lambda groups: torch.optim.Adam(groups, foreach=False, fused=False),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.0, momentum=0.9, foreach=False, fused=False),
}


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(3, *shape, generator=generator, dtype=torch.float64)) for shape in SHAPES]


def gradients(step, size=1.0):
    """Of very different sizes from step to step, so that a clip at 1 cuts some and leaves others."""
    generator = torch.Generator().manual_seed(100 + step)
    size = size * 10.0 ** (step % 3 - 2) * torch.tensor([0.3, 1.0, 3.0], dtype=torch.float64)
    drawn = [torch.randn(3, *shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    return [g * size.view(-1, *[1] * (g.ndim - 1)) for g in drawn]


def alone(kind, head, steps, *, spare, clip):
    """One head with torch's optimizer."""
    own = [torch.nn.Parameter(p.detach()[head].clone()) for p in parameters()]
    vectors = [p for p in own if p.ndim < 2 and spare]
    optimizer = TORCH[kind]([{"params": [p for p in own if p.ndim > 1 or not spare]}, {"params": vectors}])
    for step in range(steps):
        for p, g in zip(own, gradients(step), strict=True):
            p.grad = g[head].clone()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(own, clip)
        for group, decay in zip(optimizer.param_groups, (float(DECAYS[head]), 0.0), strict=True):
            group.update(lr=float(RATES[head]) / (step + 1), weight_decay=decay)
        optimizer.step()
    return own


def together(kind, steps, *, spare=False, clip=None, spoil=None):
    """All heads; `spoil(step, gradients)` may damage some."""
    stacked = parameters()
    optimizer = StackedOptimizer(stacked, kind, no_decay_bias=spare, clip_grad_norm=clip)
    for step in range(steps):
        slopes = gradients(step)
        if spoil:
            spoil(step, slopes)
        for p, g in zip(stacked, slopes, strict=True):
            p.grad = g
        optimizer.step(RATES / (step + 1), DECAYS)
        assert all(p.grad is None for p in stacked)
    return stacked, optimizer


@pytest.mark.parametrize("kind", list(TORCH))
@pytest.mark.parametrize("spare", [True, False])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_each_head_is_trained_as_if_alone(kind, spare, clip):
    stacked, optimizer = together(kind, 7, spare=spare, clip=clip)
    for head in range(3):
        for p, q in zip(stacked, alone(kind, head, 7, spare=spare, clip=clip), strict=True):
            torch.testing.assert_close(p.detach()[head], q.detach(), rtol=1e-12, atol=1e-13)
    assert not optimizer.diverged


def test_the_choices_matter():
    """The settings of the comparison above are such that each of them changes the outcome."""
    runs = [together("adamw", 7, spare=s, clip=c)[0] for s in (True, False) for c in (None, 1.0)]
    for i, one in enumerate(runs):
        for other in runs[:i]:
            assert any((p - q).abs().max() > 1e-4 for p, q in zip(one, other, strict=True))


def test_lars_by_hand():
    stacked, _ = together("lars", 5)
    for head in range(3):
        own = [p.detach()[head].clone() for p in parameters()]
        speed = [torch.zeros_like(p) for p in own]
        for step in range(5):
            for p, v, every in zip(own, speed, gradients(step), strict=True):
                g = every[head]
                if p.ndim > 1:
                    g = g + DECAYS[head] * p
                    g = g * 0.001 * p.square().sum().sqrt() / g.square().sum().sqrt()
                v.copy_(0.9 * v + g)
                p -= RATES[head] / (step + 1) * v
        for p, q in zip(stacked, own, strict=True):
            torch.testing.assert_close(p.detach()[head], q, rtol=1e-12, atol=1e-13)


def test_lars_starts_from_zeros_at_full_rate():
    weights = torch.nn.Parameter(torch.zeros(2, 3, 4))
    optimizer = StackedOptimizer([weights], "lars")
    weights.grad = torch.stack([torch.ones(3, 4), torch.zeros(3, 4)])
    optimizer.step(torch.tensor([0.5, 0.5]), torch.zeros(2))
    torch.testing.assert_close(weights.detach(), torch.stack([torch.full((3, 4), -0.5), torch.zeros(3, 4)]))


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd", "lars"])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_head_that_diverges_stops_and_harms_no_other(kind, clip, value):
    def spoil(step, slopes):
        if step >= 3:
            slopes[step % 4][1].view(-1)[0] = value

    stacked, optimizer = together(kind, 7, clip=clip, spoil=spoil)
    untouched, _ = together(kind, 7, clip=clip)
    before, _ = together(kind, 3, clip=clip)
    assert optimizer.diverged == {1: 4}
    for p, q, r in zip(stacked, untouched, before, strict=True):
        torch.testing.assert_close(p[[0, 2]], q[[0, 2]], rtol=0, atol=0)
        torch.testing.assert_close(p[1], r[1], rtol=0, atol=0)


def test_a_lost_head_stays_lost():
    def spoil(step, slopes):
        if step == 2:
            slopes[0][0, 0, 0] = torch.nan

    stacked, optimizer = together("adamw", 6, spoil=spoil)
    assert optimizer.diverged == {0: 3}
    for p, q in zip(stacked, together("adamw", 2)[0], strict=True):
        torch.testing.assert_close(p[0], q[0], rtol=0, atol=0)


def test_parameters_that_nothing_depends_on_stay():
    used, unused, frozen = (torch.nn.Parameter(torch.ones(2, 3)) for _ in range(3))
    optimizer = StackedOptimizer([used, unused, frozen.requires_grad_(False)], "adamw")
    used.sum().backward()
    optimizer.step(torch.full((2,), 0.1), torch.full((2,), 0.1))
    assert (used != 1).all()
    assert (unused == 1).all()
    assert (frozen == 1).all()


def test_losses_are_torch_s():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 6, 4, generator=generator, requires_grad=True)
    labels = torch.randint(4, (6,), generator=generator)
    every = head_losses(logits, labels)
    every.sum().backward()
    for head in range(3):
        own = logits.detach()[head].clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(own, labels)
        loss.backward()
        torch.testing.assert_close(every[head], loss)
        torch.testing.assert_close(logits.grad[head], own.grad)


def test_a_grid_of_heads_learns_as_each_alone():
    """Ten steps of four heads, one of them too fast, against a stack of one, all from the same start."""
    generator = torch.Generator().manual_seed(0)
    rates = torch.tensor([1e-2, 3e-3, 1e-3, 1e30], dtype=torch.float64)
    decays = torch.tensor([0.1, 0.8, 0.0, 0.1], dtype=torch.float64)
    x, labels = torch.randn(12, 9, 24, generator=generator), torch.arange(12) % 3

    def train(which):
        model = random_heads(torch.Generator().manual_seed(1), 24, 3, heads=4, count=len(which))
        optimizer = StackedOptimizer(model.parameters(), "adamw", no_decay_bias=True, clip_grad_norm=1.0)
        history = []
        for step in range(10):
            every = head_losses(model(x), labels)
            every.sum().backward()
            optimizer.step(cosine(step + 1, 10, 0, rates[which]), decays[which])
            history.append(every.detach())
        return model, optimizer, torch.stack(history)

    model, optimizer, history = train([0, 1, 2, 3])
    assert set(optimizer.diverged) == {3}
    assert (history[-1, :3] < history[0, :3]).all()
    assert history[-1, 0] < 0.8
    for head in range(3):
        single, _, own = train([head])
        torch.testing.assert_close(own[:, 0], history[:, head], rtol=0, atol=1e-4)
        torch.testing.assert_close(load_official(official_state(model, head), heads=4)(x), single(x), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("name", "peak", "final"), [("vjepa_lr", 1e-3, 0.0), ("vjepa_wd", 0.01, 1e-6)])
def test_schedules_are_the_published_ones(name, peak, final):
    expected = golden("lr_schedules")[f"out/{name}"]
    got = [cosine(step, 400, 0, peak, final) for step in range(1, 401)]
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=0)


@settings(deadline=None)
@given(st.integers(1, 200), st.data())
def test_schedule_rises_to_its_peak_and_falls_to_its_end(steps, data):
    warm = data.draw(st.integers(0, steps))
    final = data.draw(st.floats(0, 0.3))
    values = [cosine(step, steps, warm, 0.3, final) for step in range(1, steps + 1)]
    assert all(a <= b for a, b in pairwise(values[:warm]))
    assert all(a >= b for a, b in pairwise(values[max(warm - 1, 0) :]))
    assert warm == 0 or values[warm - 1] == pytest.approx(0.3)
    assert warm == steps or values[-1] == pytest.approx(final)
    many = cosine(steps // 2 + 1, steps, warm, torch.tensor([0.3, 0.7], dtype=torch.float64), final)
    assert many[0] == pytest.approx(values[steps // 2])
