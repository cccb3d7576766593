"""Chunked attention equals attention over all heads at once, forward and backward."""

from __future__ import annotations

import pytest
import torch

from vitascope.core.device import generator
from vitascope.nn import attention


@pytest.mark.parametrize("heads", [1, 4, 5, 6])
def test_chunks_of_any_size_give_the_same_result(heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n, h, length, width = 2, 3, 7, 8
    rng = generator(heads)
    q, k, v, weights = (torch.randn(n, h, length, width, generator=rng).bfloat16() for _ in range(4))
    monkeypatch.setattr(attention, "CHUNK", heads * length**2)
    given = [t.clone().requires_grad_() for t in (q, k, v)]
    mixed = attention.attend(*given)
    (mixed * weights).sum().backward()

    expected = [t.double().requires_grad_() for t in (q, k, v)]
    scores = torch.einsum("nhid,nhjd->nhij", expected[0], expected[1]) / width**0.5
    whole = torch.einsum("nhij,nhjd->nhid", scores.exp() / scores.exp().sum(-1, keepdim=True), expected[2])
    (whole * weights.double()).sum().backward()

    torch.testing.assert_close(mixed.double(), whole, rtol=0.02, atol=0.02)
    for ours, theirs in zip(given, expected, strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0.03, atol=0.03)
