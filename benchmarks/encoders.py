"""ViT-B and ViT-L at 16 x 224 x 224 against the machine: clips/s, and the share of its measured matrix-product peak.

    python benchmarks/encoders.py [--device cuda] [--batch 8] [--quick]

The peak is the best rate of plain matrix products in the same run and precision: a square one and those of the model's
own layers. A clip's work counts every multiply-add twice, attention included. bfloat16 is autocast, as embedding does.
Measure on a quiet machine: the load average is printed beside the numbers.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from vitascope.core.device import device as chosen
from vitascope.core.device import generator
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.video_vit import random_vit

SHAPES = {
    "ViT-B": VideoViTConfig(dim=768, depth=12, heads=12, mlp=3072),
    "ViT-L": VideoViTConfig(dim=1024, depth=24, heads=16, mlp=4096),
    "ViT-H": VideoViTConfig(dim=1280, depth=32, heads=16, mlp=5120),
    "ViT-g": VideoViTConfig(dim=1408, depth=40, heads=16, mlp=6144, patch=14, grid=(8, 16, 16)),
}
FRAMES, SIZE = 16, 224
TARGET = {"cpu": ("ViT-B", torch.float32, 0.70), "cuda": ("ViT-L", torch.bfloat16, 0.55)}
"""What is aimed at, by kind of device: model, precision, share of the peak by the better of eager and compiled."""
MODES = ("eager", "compiled")
GAIN = 1.03
"""A batch twice as large has to be this much faster to be taken."""


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device, least: float) -> float:
    """Shortest time of one call: of three or more, as many as take `least` seconds, after one that does not count."""
    times: list[float] = []
    work()
    wait(device)
    while len(times) < 3 or sum(times) < least:
        begin = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - begin)
    return min(times)


def peak(shape: VideoViTConfig, dtype: torch.dtype, device: torch.device, least: float) -> float:
    """Floating point operations a second of the best of several products: a square one and those of the layers."""
    tokens = 1568 * (16 if device.type == "cuda" else 1)  # those of a clip
    side = 8192 if device.type == "cuda" else 3072
    d, hidden = shape.dim, shape.mlp
    best = 0.0
    for m, k, n in ((side, side, side), (tokens, d, 3 * d), (tokens, d, hidden), (tokens, hidden, d)):
        a, b = torch.randn(m, k, device=device, dtype=dtype), torch.randn(n, k, device=device, dtype=dtype)
        out = torch.empty(m, n, device=device, dtype=dtype)
        best = max(best, 2 * m * k * n / seconds(lambda: torch.mm(a, b.T, out=out), device, least))  # noqa: B023
    return best


def rate(
    network: Callable[[Tensor], object], batch: int, dtype: torch.dtype, device: torch.device, least: float
) -> float:
    """Clips a second, `batch` at a time."""
    clips = torch.randn(batch, 3, FRAMES, SIZE, SIZE, generator=generator(0)).to(device)
    half: AbstractContextManager[object] = (
        torch.autocast(device.type, dtype) if dtype == torch.bfloat16 else nullcontext()
    )
    with torch.inference_mode(), half:
        return batch / seconds(lambda: network(clips), device, least)


def fitting(
    network: Callable[[Tensor], object], batch: int, dtype: torch.dtype, device: torch.device, least: float
) -> tuple[int, float]:
    """Batch and clips/s: `batch`, or where it is 0 twice as many as long as that is faster and fits."""
    if batch:
        return batch, rate(network, batch, dtype, device, least)
    size = 8 if device.type == "cuda" else 1
    best = rate(network, size, dtype, device, least)
    while size < 256:
        try:
            faster = rate(network, 2 * size, dtype, device, least)
        except torch.OutOfMemoryError:
            break
        if faster < best * GAIN:
            return (size, best) if faster < best else (2 * size, faster)
        size, best = 2 * size, faster
    return size, best


def no_compiler() -> str:
    """Why torch.compile cannot work here; empty where it can."""
    words = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    return "" if any(shutil.which(word) for word in words if word) else "no C++ compiler (g++ or clang++) is installed"


class Rate(NamedTuple):
    """Clips a second, the batch with which they were reached, and their share of the peak."""

    clips: float
    batch: int
    share: float


def measure(
    name: str, dtype: torch.dtype, device: torch.device, batch: int, least: float, *, modes: Sequence[str] = MODES
) -> dict[str, Rate]:
    """Print and return what is reached, eager and compiled."""
    shape = SHAPES[name]
    network = random_vit(shape, generator(0)).to(device)
    work, rates = 2 * shape.macs(FRAMES, SIZE), dict[str, Rate]()
    for mode in modes:
        if mode == "compiled" and (why := no_compiler()):
            print(f"  {name} {str(dtype)[6:]:8s} compiled: not measured, {why}", flush=True)
            continue
        torch.compiler.reset()
        ready = torch.compile(network, dynamic=False) if mode == "compiled" else network
        before = peak(shape, dtype, device, least / 2)
        fixed = rates["eager"].batch if mode == "compiled" and "eager" in rates else batch  # each size compiles anew
        size, clips = fitting(ready, fixed, dtype, device, least)
        best = max(before, peak(shape, dtype, device, least / 2))
        rates[mode] = Rate(clips, size, clips * work / best)
        print(
            f"  {name} {str(dtype)[6:]:8s} {mode:8s} batch {size:3d}: {clips:8.3f} clips/s, "
            f"{clips * work / 1e12:7.3f} of {best / 1e12:7.3f} TFLOP/s: {rates[mode].share:.2f}",
            flush=True,
        )
    return rates


def machine(device: torch.device) -> str:
    """The name of the device, and what else keeps it busy."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), model)
    load = os.getloadavg()[0]
    return f"{model}, {torch.get_num_threads()} threads, load average {load:.2f}, torch {torch.__version__}"


def main() -> None:
    """Print a line for each model, precision and mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="", help="cpu, cuda; the best there is without it")
    parser.add_argument("--batch", type=int, default=0, help="clips at a time; chosen by measuring without it")
    parser.add_argument("--quick", action="store_true", help="shorter measurements, and one clip at a time on a CPU")
    given = parser.parse_args()
    device = chosen(given.device)
    least = 1.0 if given.quick else 5.0
    batch = given.batch or int(given.quick and device.type == "cpu")
    print(f"{machine(device)}; {FRAMES} x {SIZE} x {SIZE}")
    found = {
        (name, dtype): measure(name, dtype, device, batch, least)
        for name in ("ViT-B", "ViT-L")
        for dtype in (torch.float32, torch.bfloat16)
    }
    if device.type in TARGET:
        name, dtype, target = TARGET[device.type]
        share = max(rate.share for rate in found[name, dtype].values())
        print(f"{name} {str(dtype)[6:]}: {share:.2f} of the peak (target {target:.2f})")


if __name__ == "__main__":
    main()
