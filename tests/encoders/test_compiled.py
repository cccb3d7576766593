"""Compiled encoders: the vectors of the eager one, one compilation for all batches, and a card of their own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.core.types import Card
from vitascope.encoders import compiled as module
from vitascope.encoders.base import Encoder, Tokens, call
from vitascope.encoders.compiled import CompiledEncoder, eager
from vitascope.encoders.layers import block_layout
from vitascope.encoders.load import load

Graphs = list[tuple[int, ...]]


class Small(nn.Module):
    """A network of one's own that is an encoder itself."""

    def __init__(self, seed: int = 0, dim: int = 5) -> None:
        super().__init__()
        self.card = Card(
            name=f"lab/small{seed}", digest=f"{seed}", dim=dim, frames=4, size=16, mean=(0.5,) * 3, std=(0.25,) * 3
        )
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(3, dim, generator=generator), requires_grad=False)

    def forward(self, clips: Tensor) -> Tokens:
        grid = torch.tanh(clips.movedim(1, -1) @ self.weight)
        return Tokens(grid, grid.mean((1, 2, 3)))


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    """The shapes of the clips for which something was compiled, by a compiler that leaves all as it is."""
    compiled: Graphs = []

    def compiler(graph: Any, inputs: list[Any]) -> Callable[..., Any]:
        compiled.append(next(tuple(i.shape) for i in inputs if i.ndim == 5))
        run: Callable[..., Any] = graph.forward
        return run

    monkeypatch.setattr(module, "BACKEND", compiler)
    return compiled


def clips(count: int, frames: int = 4) -> Tensor:
    return torch.rand(count, 3, frames, 16, 16, generator=torch.Generator().manual_seed(count))


def test_batches_of_any_size_run_what_was_compiled_for_one(graphs: Graphs) -> None:
    encoder = Small()
    compiled = CompiledEncoder(encoder, 4)
    with torch.inference_mode():
        for count in (4, 1, 3, 7, 8):
            given, expected = compiled(clips(count)), encoder(clips(count))
            assert given.grid.shape == expected.grid.shape
            assert torch.allclose(given.clip, expected.clip, rtol=0, atol=1e-6)
            assert torch.allclose(given.grid, expected.grid, rtol=0, atol=1e-6)
    assert graphs == [(4, 3, 4, 16, 16)]


def test_many_encoders_are_all_compiled(graphs: Graphs) -> None:
    with torch.inference_mode():
        for number in range(12):  # torch keeps eight forms of one function
            CompiledEncoder(Small(number, dim=number + 1), 2)(clips(2))
    assert len(graphs) == 12


def test_it_travels_without_what_was_compiled(graphs: Graphs) -> None:
    compiled = CompiledEncoder(Small(), 2)
    with torch.inference_mode():
        expected = compiled(clips(2)).clip
        assert torch.equal(pickle.loads(pickle.dumps(compiled))(clips(2)).clip, expected)
    assert len(graphs) == 2


def test_its_card_is_another_one() -> None:
    encoder: Any = load("vit/tiny-random")
    compiled: Encoder = CompiledEncoder(encoder, 2)
    other = {"name": "vit/tiny-random+compiled", "compiled": True}
    assert compiled.card.behavior == encoder.card.behavior | other
    assert eager(compiled) is encoder is eager(encoder)
    with pytest.raises(UserError, match="leave out --compile"):
        block_layout(compiled)


def test_what_fails_later_says_what_to_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Any, inputs: list[Any]) -> Callable[..., Any]:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(module, "BACKEND", broken)
    with pytest.raises(UserError, match=r"^lab/small0\+compiled failed: .*; leave out --compile$"):
        call(CompiledEncoder(Small(), 2), clips(2))
