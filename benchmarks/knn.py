"""kNN against the machine: achieved multiply-adds of the whole search over the measured peak of matrix products."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from vitascope.features.base import FlatArrays, FlatVectors
from vitascope.probes.classification.voting import VectorSearch


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak(device: str) -> float:
    """Floating point operations per second of the best of several float32 products."""
    side = 8192 if device.startswith("cuda") else 4096
    a, b, out = (torch.randn(side, side, device=device) for _ in range(3))
    return 2 * side**3 / min(seconds(lambda: torch.mm(a, b, out=out)) for _ in range(3))


def share(count: int, size: int, dim: int, k: int, device: str) -> tuple[float, float, float]:
    """Seconds of one search, its rate, and the better of two peaks around it (FLOP/s)."""
    generator = torch.Generator(device).manual_seed(0)
    queries = torch.randn(count, dim, generator=generator, device=device)
    bank = torch.randn(size, dim, generator=generator, device=device)
    before = peak(device)
    sides = [FlatVectors(side, torch.arange(len(side))) for side in (bank, queries)]
    search = VectorSearch(*(sides if bank.is_cuda else [FlatArrays(*(p.numpy() for p in side)) for side in sides]))
    taken = seconds(lambda: search.of_test(k))
    return taken, 2 * count * size * dim / taken, max(before, peak(device))


def main() -> None:
    """Print the ratio, peak and search taken in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="2 000 queries on 50 000 vectors")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    count, size, dim, k = (2_000, 50_000, 1024, 200) if args.small else (10_000, 100_000, 1024, 200)
    print(f"{count} queries on {size} x {dim}, k = {k}, {args.device}, {torch.get_num_threads()} threads")
    ratios = []
    for _ in range(args.repeat):
        taken, rate, best = share(count, size, dim, k, args.device)
        ratios.append(rate / best)
        print(f"  {taken:7.2f} s  {rate / 1e9:8.1f} GFLOP/s of {best / 1e9:8.1f}: {rate / best:.2f}")
    print(f"ratio to the matrix-multiply peak, best of {args.repeat}: {max(ratios):.2f} (target 0.70)")


if __name__ == "__main__":
    main()
