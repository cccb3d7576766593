"""Peak rate of plain matrix products: from the data sheet of a known card, else measured."""

from __future__ import annotations

import time
from functools import cache

import torch

CARDS = {
    "B200": 2250e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX A6000": 155e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}
"""Dense bfloat16 products with float32 sums in FLOP/s, by a part of the card's name, of which the first counts
(NVIDIA's data sheets, which often print twice as much, for sparse matrices)."""
SIDES = {"cpu": 1024, "cuda": 8192}
"""Side of the square matrices that are measured."""
REPEATS = 3


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of plain products on a device, two per multiply-add; on a CPU with the threads of this process."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        if known := next((rate for card, rate in CARDS.items() if card in name), 0.0):
            return known
    return _measured(device, dtype, torch.get_num_threads())


@cache
def _measured(device: torch.device, dtype: torch.dtype, _threads: int) -> float:
    """The fastest of several products of square matrices, after one that warms up."""
    side = SIDES.get(device.type, SIDES["cuda"])
    a, b = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * side**3 / min([_seconds(a, b, out) for _ in range(REPEATS + 1)][1:])


def _seconds(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> float:
    _wait(a.device)
    began = time.perf_counter()
    torch.mm(a, b, out=out)
    _wait(a.device)
    return max(time.perf_counter() - began, 1e-9)


def _wait(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
