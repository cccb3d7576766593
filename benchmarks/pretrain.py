"""Pretraining against the machine: work for visible tokens alone, share of the matrix peak, time waiting for data.

    python benchmarks/pretrain.py [--parts count step wait] [--device cuda] [--busy]

`count`  operations of the encoder over those that the visible tokens need: ViT-B, 16 x 224 x 224, tubes of 90 %.
`step`   a whole training step over the best rate of plain products in the same run and precision: on a CPU ViT-B with a
         batch that fits, on CUDA ViT-L from memory, and how much of it is left with decoding.
`wait`   share of the time that a tiny student waits for MotionLab's stream, and for a folder of real clips.

A step's work is counted, every multiply-add twice: forward and backward of the visible tokens and of the decoders, the
slow copy's pass; no optimizer, no norms, no targets. The peak is measured between the steps, and both are the best of
several. Measure on a quiet machine; with --busy it is one thread, by the processor's time that it gets.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitascope.core.device import device as chosen
from vitascope.core.device import generator, peak_bytes
from vitascope.encoders.families.twlv import CARD, SHAPES
from vitascope.nn.configs.block import BlockConfig
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.pretrain.data.base import ClipSource, ClipSpec
from vitascope.pretrain.data.folder import VideoFolder
from vitascope.pretrain.data.motionlab import MotionLab
from vitascope.pretrain.masking import DualMask, Mask, Masked, Tube
from vitascope.pretrain.model import Decoder, Student
from vitascope.pretrain.objective import Objective, draw_masks
from vitascope.pretrain.targets.targets import Hog, Latent, Pixels, Target

FRAMES, SIZE = 16, 224
MASK = Tube(0.9)
CLIPS = Path(__file__).parents[1].parent / "shared/data/actions/ut_interaction_norm160"
PIXELS = (Pixels(),)
MIXED = (Pixels(), Hog(name="hog-differences", differences=True), Latent())
TARGET = {"cpu": 0.60, "cuda": 0.45}
WAYS = {
    "cpu": ((torch.float32, False), (torch.bfloat16, False)),
    "cuda": ((torch.bfloat16, False), (torch.bfloat16, True)),
}
"""Precision, and whether the student is compiled."""
DECODED = 0.90
"""Share of the speed from memory that is to be left with decoding."""
TINY = VideoViTConfig(dim=128, depth=4, heads=4, mlp=512, patch=14, tubelet=3, grid=(4, 4, 4))
CASES: tuple[tuple[str, tuple[Target, ...], Mask], ...] = (
    ("pixels", PIXELS, MASK),
    ("pixels, half of the hidden", PIXELS, DualMask(MASK, 0.5)),
    ("pixels, differences, latent", MIXED, DualMask(MASK, 0.5)),
)


def objective_of(shape: VideoViTConfig, targets: Sequence[Target], device: torch.device) -> Objective:
    """A student with random weights and what it is asked."""
    rng = generator(0)
    return Objective(Student(shape, rng).to(device), targets, CARD, rng)


def looks(objective: Objective, mask: Mask, batch: int, frames: int, size: int, device: torch.device) -> Masked:
    """One mask of a batch."""
    grid = objective.student.grid(frames, size)
    (found,) = draw_masks((mask,), grid, generator(1), count=batch, rows=slice(None))
    return Masked(*(part.to(device) for part in found))


def passes(shape: VideoViTConfig, tokens: int) -> int:
    """Multiply-adds of the encoder over so many tokens."""
    return tokens * 3 * shape.tubelet * shape.patch**2 * shape.dim + shape.depth * shape.block.macs(tokens)


def decoding(decoder: Decoder, target: Target, mask: Masked) -> int:
    """Multiply-adds of a decoder, forward, a clip."""
    seen, hidden = mask.keep.shape[1], mask.hide.shape[1]
    asked = {"seen": seen, "hidden": hidden, "all": seen + hidden}[target.on]
    (out, width), within = decoder.outward.weight.shape, 0
    if target.depth:
        first: Any = decoder.blocks[0]
        block = BlockConfig(dim=width, heads=first.attn.heads, mlp=4 * width)
        within = seen * decoder.inward.in_features * width + target.depth * block.macs(seen + hidden)
    return within + asked * width * out


def work(objective: Objective, mask: Masked) -> int:
    """Floating point operations of a training step, a clip; the pixels want no gradient."""
    shape, seen = objective.student.shape, mask.keep.shape[1]
    macs = 3 * passes(shape, seen) - seen * 3 * shape.tubelet * shape.patch**2 * shape.dim
    for name, target in objective.targets.items():
        macs += 3 * decoding(objective.decoders[name], target, mask)  # type: ignore[arg-type]
        if isinstance(target, Latent):
            macs += passes(shape, shape.grid[0] * shape.grid[1] * shape.grid[2])
    return 2 * macs


class Clock:
    """Seconds of a call: of the wall, or of the one thread's processor."""

    def __init__(self, device: torch.device, *, busy: bool) -> None:
        self.device, self.now = device, time.thread_time if busy else time.perf_counter

    def __call__(self, call: Callable[[], object]) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        begin = self.now()
        call()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.now() - begin


def products(shape: VideoViTConfig, dtype: torch.dtype, device: torch.device) -> list[tuple[int, Callable[[], object]]]:
    """Plain products and their operations: a square one and those of the model's layers."""
    side, rows = (8192, 16384) if device.type == "cuda" else (2048, 1280)
    found: list[tuple[int, Callable[[], object]]] = []
    for m, k, n in ((side, side, side), (rows, shape.dim, shape.mlp), (rows, shape.mlp, shape.dim)):
        a, b = torch.randn(m, k, device=device, dtype=dtype), torch.randn(n, k, device=device, dtype=dtype)
        out = torch.empty(m, n, device=device, dtype=dtype)
        found.append((2 * m * k * n, lambda a=a, b=b, out=out: torch.mm(a, b.T, out=out)))  # type: ignore[misc]
    return found


def stepper(objective: Objective, dtype: torch.dtype, device: torch.device) -> Callable[[Tensor, Masked], None]:
    """A training step as the loop makes it."""
    learned = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4, fused=True)

    def step(pixels: Tensor, mask: Masked) -> None:
        half: AbstractContextManager[object] = (
            torch.autocast(device.type, dtype) if dtype == torch.bfloat16 else nullcontext()
        )
        with half:
            labels = torch.full((len(pixels),), -1, device=device)
            sum(objective(pixels, labels, [mask]).values(), torch.zeros((), device=device)).backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.update_targets(0.5)

    return step


def count() -> None:
    """Print what torch counts in the encoder over what visible tokens need."""
    objective = objective_of(SHAPES["base"], PIXELS, torch.device("cpu"))
    mask = looks(objective, MASK, 1, FRAMES, SIZE, torch.device("cpu"))
    student = objective.student
    blocks = torch.randn(1, 1568, 3 * 2 * 16**2, generator=generator(2))
    with sdpa_kernel(SDPBackend.MATH):  # torch does not count what its fused kernel does on a CPU
        with FlopCounterMode(display=False) as counter:
            tokens = student(blocks, mask.keep, (8, 14, 14))
        forward, seen = counter.get_total_flops(), mask.keep.shape[1]
        with FlopCounterMode(display=False) as counter:
            tokens.sum().backward()
        backward = counter.get_total_flops()
    needed, all_of_it = 2 * passes(student.shape, seen), 2 * passes(student.shape, 1568)
    print(
        f"ViT-B, {FRAMES} x {SIZE} x {SIZE}, {MASK}: {seen} of 1568 tokens seen; encoder forward {forward / 1e9:.2f} "
        f"GFLOP, {needed / 1e9:.2f} by the formula: {forward / needed:.3f} (target 1 to 5 %); backward "
        f"{backward / forward:.2f} times the forward; all tokens would be {all_of_it / needed:.1f} times as much"
    )


def share(
    shape: VideoViTConfig,
    targets: Sequence[Target],
    rule: Mask,
    *,
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    clock: Clock,
    repeats: int,
    compiled: bool = False,
) -> tuple[float, float, float]:
    """Share of the peak, clips a second, and the peak; steps and products in turn."""
    objective = objective_of(shape, targets, device)
    if compiled:
        objective.student.compile()
    mask, step = looks(objective, rule, batch, FRAMES, SIZE, device), stepper(objective, dtype, device)
    pixels = torch.randint(0, 256, (batch, FRAMES, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator(3)).to(device)
    plain = products(shape, dtype, device)
    step(pixels, mask)
    best, peak = float("inf"), 0.0
    for _ in range(repeats):
        peak = max(peak, *(operations / clock(call) for operations, call in plain))
        best = min(best, clock(lambda: step(pixels, mask)))
    return batch * work(objective, mask) / best / peak, batch / best, peak


def steps(device: torch.device, given: argparse.Namespace, clock: Clock) -> None:
    """Print the share of the peak of every case."""
    cuda = device.type == "cuda"
    name = "large" if cuda else "base"
    batch = given.batch or (64 if cuda else 4)
    ways = (
        [(torch.bfloat16, False), (torch.bfloat16, True)] if cuda else [(torch.float32, False), (torch.bfloat16, False)]
    )
    for dtype, compiled in ways:
        for label, targets, rule in CASES:
            found, clips, peak = share(
                SHAPES[name],
                targets,
                rule,
                batch=batch,
                dtype=dtype,
                device=device,
                clock=clock,
                repeats=given.repeats,
                compiled=compiled,
            )
            way = str(dtype)[6:] + " compiled" * compiled
            print(
                f"ViT-{name[0].upper()} {way:17s} batch {batch:3d}, {label:28s}: {clips:8.2f} clips/s, "
                f"{found:.2f} of {peak / 1e12:.2f} TFLOP/s (target {TARGET[device.type]:.2f}), "
                f"{peak_bytes(device) / 1e9:.1f} GB",
                flush=True,
            )
    if cuda:
        decoded(device, given, batch)
    else:
        print("no GPU: ViT-L's share of the bfloat16 peak and its decoding are not measured")


def decoded(device: torch.device, given: argparse.Namespace, batch: int) -> None:
    """Print how much of the speed from memory is left where the clips are decoded meanwhile."""
    if not given.clips.is_dir():
        print(f"{given.clips} is not there: no decoding measured")
        return
    memory, files = decoding_rates(device, given.clips, batch, given.workers, given.repeats)
    print(
        f"ViT-L with decoding by {given.workers} workers: {files:.1f} of {memory:.1f} clips/s, "
        f"{files / memory:.2f} (target {DECODED:.2f})"
    )


def decoding_rates(device: torch.device, clips: Path, batch: int, workers: int, repeats: int) -> tuple[float, float]:
    """Clips a second of ViT-L's step with clips from memory, and with clips decoded meanwhile."""
    reader = VideoFolder(path=str(clips)).open(ClipSpec(FRAMES, SIZE), seed=0, workers=workers)
    objective = objective_of(SHAPES["large"], PIXELS, device)
    mask, step = looks(objective, MASK, batch, FRAMES, SIZE, device), stepper(objective, torch.bfloat16, device)
    kept = reader.read(batch).pixels.to(device)
    rates = []
    sources: list[Callable[[], torch.Tensor]] = [lambda: kept, lambda: reader.read(batch).pixels.to(device)]
    for source in sources:
        for _ in range(3):
            step(source(), mask)
        torch.cuda.synchronize(device)
        begin = time.perf_counter()
        for _ in range(repeats * 4):
            step(source(), mask)
        torch.cuda.synchronize(device)
        rates.append(repeats * 4 * batch / (time.perf_counter() - begin))
    reader.close()
    return rates[0], rates[1]


def pace(read: Callable[[], Tensor], step: Callable[[Tensor, Masked], None], mask: Masked, count: int) -> float:
    """Seconds of `count` steps, after some that fill the queue."""
    for _ in range(5):
        step(read(), mask)
    begin = time.perf_counter()
    for _ in range(count):
        step(read(), mask)
    return time.perf_counter() - begin


def wait(given: argparse.Namespace) -> None:
    """Print how long a tiny student waits for each kind of data, and what is left of its speed from memory."""
    device, batch, count = torch.device("cpu"), 32, 20 * given.repeats
    objective = objective_of(TINY, (Pixels(depth=1, width=96),), device)
    mask, step = looks(objective, Tube(0.75), batch, 12, 56, device), stepper(objective, torch.float32, device)
    sources: list[tuple[str, ClipSource, int]] = [("MotionLab's stream", MotionLab(clips=4096), 0)]
    if given.clips.is_dir():
        sources += [(f"{given.clips.name}, decoded by a thread", VideoFolder(path=str(given.clips)), 0)]
        sources += [(f"{given.clips.name}, decoded by a worker", VideoFolder(path=str(given.clips)), 1)]
    else:
        print(f"{given.clips} is not there: no waiting for real clips measured")
    for label, source, workers in sources:
        reader = source.open(ClipSpec(12, 56), seed=0, workers=workers)
        kept = reader.read(batch).pixels
        memory = pace(lambda: kept, step, mask, count)  # noqa: B023
        before = reader.seconds_waited
        seconds = pace(lambda: reader.read(batch).pixels, step, mask, count)  # noqa: B023
        waited = reader.seconds_waited - before
        reader.close()
        print(
            f"{label}: {waited / seconds:.3f} of the time waiting at {count * batch / seconds:.0f} clips/s, "
            f"{memory / seconds:.2f} of the speed from memory",
            flush=True,
        )


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("count", "step", "wait"), default=["count", "step", "wait"])
    parser.add_argument("--device", default="", help="cpu, cuda; the best there is without it")
    parser.add_argument("--batch", type=int, default=0, help="clips at a time: 4 on a CPU, 64 on CUDA without it")
    parser.add_argument("--repeats", type=int, default=3, help="of which the best counts")
    parser.add_argument("--busy", action="store_true", help="one thread, by the processor's time that it gets")
    parser.add_argument("--clips", type=Path, default=CLIPS, help="folder of real clips")
    parser.add_argument("--workers", type=int, default=max((os.cpu_count() or 2) - 1, 1), help="decode beside a GPU")
    given = parser.parse_args()
    device = chosen(given.device)
    if given.busy:
        torch.set_num_threads(1)
    print(f"{device.type}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.2f}, torch {torch.__version__}")
    parts: dict[str, Callable[[], Any]] = {
        "count": count,
        "step": lambda: steps(device, given, Clock(device, busy=given.busy)),
        "wait": lambda: wait(given),
    }
    for part in given.parts:
        parts[part]()


if __name__ == "__main__":
    main()
