"""Batches on their way to a device: what is delivered, when, and from which memory; and how large they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.features import batch_size
from vitascope.features.batching import ClipBatcher


class Late:
    """A lane that computes nothing before somebody waits, from what the buffer holds then, as a GPU may."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def buffer(self, shape: Sequence[int]) -> Tensor:
        return torch.empty(*shape, dtype=torch.uint8)

    def begin(self, pixels: Tensor, encode: Callable[[Tensor], list[Any]]) -> tuple[list[Any], Callable[[], float]]:
        self.events.append("begin")
        output: list[Any] = []

        def wait() -> float:
            self.events.append("wait")
            output.extend(encode(pixels))
            return 0.25

        return output, wait


def clip(value: int, side: int = 2) -> Tensor:
    return torch.full((1, side, side, 3), value, dtype=torch.uint8)


def first_values(pixels: Tensor) -> list[int]:
    return [int(v) for v in pixels[:, 0, 0, 0, 0]]


@pytest.mark.parametrize("lane", [None, Late()])
def test_every_clip_is_delivered_once_in_order(lane: Late | None) -> None:
    delivered: list[tuple[list[int], list[int]]] = []
    batcher = ClipBatcher(3, first_values, lambda owners, out: delivered.append((owners, list(out))), lane)
    for i in range(8):
        batcher.add(i, clip(i))
    batcher.add(8, clip(8, side=4))
    batcher.flush()
    batcher.flush()
    assert delivered == [([0, 1, 2],) * 2, ([3, 4, 5],) * 2, ([6, 7],) * 2, ([8],) * 2]
    if lane:
        assert batcher.seconds == 1.0


def test_a_batch_is_waited_for_when_the_next_has_begun() -> None:
    lane = Late()
    batcher = ClipBatcher(1, first_values, lambda owners, out: lane.events.append(owners), lane)
    for i in range(3):
        batcher.add(i, clip(i))
    assert lane.events == ["begin", "begin", "wait", [0], "begin", "wait", [1]]
    batcher.flush()
    assert lane.events[-2:] == ["wait", [2]]


def grown(seconds: Callable[[int], float]) -> int:
    return batch_size.grow(seconds)


def test_batches_grow_while_that_gains() -> None:
    assert grown(lambda n: 0.001 * n) == 8, "no gain"
    assert grown(lambda n: 0.01 + 0.0001 * n) == 256
    assert grown(lambda n: 0.001 + 0.001 * max(n, 32)) == 32
    assert grown(lambda n: 1.5) == 8, "a batch would take too long"

    def small(n: int) -> float:
        if n > 64:
            raise UserError("a batch of 128 clips does not fit")
        return 0.01

    assert grown(small) == 64


def test_it_is_tried_once_for_a_card_and_a_gpu(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitascope.core.types import Card

    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path))
    names = {"cuda:0": "H200", "cuda:1": "L4"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[str(device)])
    card = Card(name="a", digest="1", dim=3, frames=4, size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
    tried: list[int] = []

    def seconds(n: int) -> float:
        tried.append(n)
        return 0.02

    first, second = (torch.device(name) for name in names)
    assert [batch_size.fastest_batch(card, first, seconds) for _ in range(2)] == [256, 256]
    assert tried == [8, 16, 32, 64, 128, 256]
    batch_size.fastest_batch(card, second, seconds)
    assert len(tried) == 12
    for path in (tmp_path / "batches").iterdir():
        path.write_text("[]")
    assert batch_size.fastest_batch(card, first, seconds) == 256
    assert len(tried) == 18
