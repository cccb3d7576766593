"""How long an encoder takes for a batch."""

from __future__ import annotations

import time

import torch
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.device import generator
from vitascope.core.types import Card
from vitascope.encoders.base import Encoder
from vitascope.features.encode import encode_clips


def noise_clips(card: Card, count: int, device: str) -> UInt8[Tensor, "n t y x 3"]:
    """Return `count` clips of noise, the same ones every time, on a device."""
    shape = (count, card.frames, card.size, card.size, 3)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator(0)).to(device)


def encode_seconds(encoder: Encoder, pixels: UInt8[Tensor, "n t y x 3"], device: str) -> float:
    """Return the seconds that a device takes to encode a batch that it has; of a CPU, its own processor time."""
    clock = time.process_time if torch.device(device).type == "cpu" else time.perf_counter
    _wait(device)
    began = clock()
    encode_clips(encoder, pixels, device=device)
    _wait(device)
    return clock() - began


def _wait(device: str) -> None:
    """Wait until a device has done what it was given."""
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(torch.device(device))
