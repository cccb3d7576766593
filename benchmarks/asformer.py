"""The second epoch of ASFormer at GTEA's size against the way it is published.

    python benchmarks/asformer.py [--videos 21] [--device cuda] [--reach block]

The 21 training videos of GTEA's first split by their lengths (634 to 1,814 frames), 1024 numbers a frame, 11 classes,
an encoder and three decoders of 8 layers 256 wide, float32, a video a step: forward, loss of four stages, backward,
Adam. "Published" is the same arithmetic as the public code does it, written for this comparison: (batch, channels,
time), blocks cut out one after another and joined, with a mask for each, a millionth of weight for hidden keys. What
the public code does beside it is left out in its favor: masks of a block are made once, nothing is copied to and fro,
no accuracy is counted. Both start from the same weights; their losses are compared without dropout, then the epoch is
trained with it. The floor is the multiplications alone, at the speed of one large product on this machine. Every number
is from a process of its own; memory is what the steps take beyond inputs and parameters, optimizer's state and
gradients included.
"""

from __future__ import annotations

import argparse
import gc
import math
import multiprocessing as mp
import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.core.device import device as chosen
from vitascope.core.device import generator, peak_bytes
from vitascope.nn.fast_linear import matmul
from vitascope.probes.temporal.asformer import (
    ASFormer,
    ASFormerLayer,
    ASFormerStage,
    DilatedConv,
    FrameLinear,
    asformer_loss,
    random_asformer,
)

DIM, CLASSES, WIDTH, LAYERS = 1024, 11, 256, 8
LENGTHS = [634, 655, 805, 811, 823, 862, 871, 892, 913, 934, 964, 964, 1151, 1169, 1181, 1190, 1244]
LENGTHS += [1361, 1412, 1465, 1814]
"""Frames of the videos that GTEA's first split is trained on."""
RATE, DECAY = 5e-4, 1e-5
TARGET = 3.0


class Case(NamedTuple):
    """What is measured."""

    way: str
    reach: str
    videos: int
    device: str


def conv(x: Tensor, layer: FrameLinear | DilatedConv, rows: slice = slice(None)) -> Tensor:
    """A convolution over one frame or three, dilated."""
    if isinstance(layer, DilatedConv):
        weight = layer.weight.permute(0, 2, 1).contiguous()
        return F.conv1d(x, weight, layer.bias, padding=layer.dilation, dilation=layer.dilation)
    return F.conv1d(x, layer.weight[rows, :, None], layer.bias[rows])


@cache
def window_mask(d: int, reach: str, device: str) -> Tensor:
    """Of one block, row by row, as published all rows alike, or each its own; made once."""
    mask = torch.zeros(1, d, d + 2 * (d // 2))
    for i in range(d):
        mask[:, slice(None) if reach == "block" else i, i : i + d] = 1
    return mask.to(device)


def weighted(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Values by softmax of products, hidden ones by the log of a millionth."""
    scores = torch.bmm(q.transpose(1, 2), k) / math.sqrt(q.shape[1])
    weights = F.softmax(scores + torch.log(mask + 1e-6), dim=-1) * mask
    return torch.bmm(v, weights.transpose(1, 2))


def sliding(q: Tensor, k: Tensor, v: Tensor, layer: ASFormerLayer, mask: Tensor) -> Tensor:
    """Blocks cut out of padded keys one after another."""
    d, t = layer.conv.dilation, q.shape[-1]
    blocks, half = -(-t // d), d // 2
    more = blocks * d - t
    shown = torch.cat([mask, torch.zeros(1, 1, more, device=q.device)], dim=-1)
    if more:
        q, k, v = (torch.cat([x, torch.zeros(1, x.shape[1], more, device=x.device)], dim=-1) for x in (q, k, v))
    q = q.reshape(1, -1, blocks, d).permute(0, 2, 1, 3).reshape(blocks, -1, d)
    k, v, shown = (
        torch.cat([torch.zeros(1, x.shape[1], half, device=x.device), x, x.new_zeros(1, x.shape[1], half)], dim=-1)
        for x in (k, v, shown)
    )
    k, v, shown = (
        torch.cat([x[:, :, i * d : (i + 1) * d + 2 * half] for i in range(blocks)], dim=0) for x in (k, v, shown)
    )
    final = window_mask(d, layer.span, str(q.device)).repeat(blocks, 1, 1) * shown
    y = conv(F.relu(weighted(q, k, v, final)), layer.mix)
    y = y.reshape(1, blocks, -1, d).permute(0, 2, 1, 3).reshape(1, -1, blocks * d)
    return y[:, :, :t] * mask


def attention(z: Tensor, before: Tensor | None, layer: ASFormerLayer, mask: Tensor) -> Tensor:
    """Queries, keys and values, each by a convolution of its own."""
    n = layer.inner
    q, k = conv(z, layer.qkv, slice(n)), conv(z, layer.qkv, slice(n, 2 * n))
    v = conv(z if before is None else before, layer.qkv, slice(2 * n, None))
    if layer.span == "full":
        return conv(F.relu(weighted(q, k, v, mask)), layer.mix) * mask
    return sliding(q, k, v, layer, mask)


def stage(x: Tensor, before: Tensor | None, own: ASFormerStage, mask: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Logits and features."""
    x = conv(x, own.first)
    for layer in own.layers:
        assert isinstance(layer, ASFormerLayer)
        f = F.relu(conv(x, layer.conv))
        f = layer.alpha * attention(F.instance_norm(f), before, layer, mask) + f
        x = (x + F.dropout(conv(f, layer.last), rate)) * mask
    return conv(x, own.out) * mask, x


def published_loss(model: ASFormer, x: Tensor, labels: Tensor, *, drop: bool) -> Tensor:
    """The sum over four stages."""
    mask = torch.ones(1, 1, x.shape[-1], device=x.device)
    rate = 0.5 if drop else 0.0
    y = F.dropout2d(x[:, :, None], model.mask)[:, :, 0] if drop else x
    features: Tensor | None = None
    total = torch.zeros((), device=x.device)
    for own in model.stages:
        assert isinstance(own, ASFormerStage)
        y, features = stage(y, features, own, mask, rate)
        total = total + F.cross_entropy(y.transpose(2, 1).reshape(-1, CLASSES), labels, ignore_index=-100)
        rough = F.mse_loss(F.log_softmax(y[:, :, 1:], 1), F.log_softmax(y.detach()[:, :, :-1], 1), reduction="none")
        total = total + 0.15 * torch.mean(torch.clamp(rough, min=0, max=16) * mask[:, :, 1:])
        y, features = F.softmax(y, dim=1) * mask, features * mask
    return total


def lossy(way: str, model: ASFormer) -> Callable[[Tensor, Tensor, bool], Tensor]:
    """The loss of a video, with or without dropout."""
    draw = torch.Generator(next(model.parameters()).device).manual_seed(3)
    if way == "ours":
        return lambda x, y, drop: asformer_loss(model(x, draw if drop else None), y)
    return lambda x, y, drop: published_loss(model, x, y, drop=drop)


def data(case: Case) -> list[tuple[Tensor, Tensor]]:
    """Features and labels, with runs of 50 frames; fewer videos than there are lie evenly from shortest to longest."""
    draw, where, found = generator(0), chosen(case.device), []
    for i in range(case.videos):
        t = LENGTHS[round((len(LENGTHS) - 1) * i / max(case.videos - 1, 1))]
        x = torch.randn(t, DIM, generator=draw).to(where)
        y = torch.randint(CLASSES, (t // 50 + 1,), generator=draw).repeat_interleave(50)[:t].to(where)
        found.append((x if case.way == "ours" else x.T[None].contiguous(), y))
    return found


def measured(case: Case, answers: Any) -> None:
    """Run in a fresh process: seconds of an epoch, of processors; bytes; losses of two videos at first and of all."""
    torch.manual_seed(0)
    where, videos = chosen(case.device), data(case)
    reach: Any = case.reach
    model = random_asformer(generator(1), ASFormer(DIM, CLASSES, layers=LAYERS, width=WIDTH, span=reach)).to(where)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, weight_decay=DECAY, fused=case.way == "ours" or None)
    ask = lossy(case.way, model)
    with torch.no_grad():
        said = [float(ask(*videos[i], False)) for i in (0, -1)]
    gc.collect()
    before, start, total = peak_bytes(where), (0.0, 0.0), 0.0
    for i, (x, y) in enumerate(videos * 2):
        if i == len(videos):  # the first epoch of 120 prepares products of every length
            start = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        one = ask(x, y, True)
        one.backward()
        optimizer.step()
        total += float(one.detach())
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    answers.put((*seconds, peak_bytes(where) - before, [*said, total]))


def run(case: Case) -> tuple[float, float, float, list[float]]:
    """`measured` in a new process."""
    context = mp.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=measured, args=(case, answers))
    process.start()
    answer: tuple[float, float, float, list[float]] = answers.get()
    process.join()
    return answer


def operations(case: Case) -> float:
    """Multiplications and additions of an epoch, the gradients' included; none that are multiplied by zero."""
    per_layer = (3 + 0.5 * 3 + 0.5 + 1) * WIDTH**2
    count = 0.0
    for x, _ in data(case):
        t = x.shape[0]
        reached = [0.0 if not i else t if case.reach == "full" else min(2 * 2**i, t) for i in range(LAYERS)]
        attended = sum(2 * r * WIDTH / 2 for r in reached)
        count += t * 4 * (LAYERS * per_layer + attended + 2 * WIDTH * CLASSES) + t * DIM * WIDTH * 2 / 3
    return 3 * 2 * count


def speed(device: torch.device) -> float:
    """Operations a second of one large product."""
    a = torch.randn(1536, 1536, device=device)
    for _ in range(3):
        float(matmul(a, a)[0, 0])
    start = time.perf_counter()
    for _ in range(10):
        b = matmul(a, a)
    float(b[0, 0])
    return 10 * 2 * 1536**3 / (time.perf_counter() - start)


def main() -> None:
    """Print times, memory and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=len(LENGTHS))
    parser.add_argument("--reach", default="block", choices=("block", "window", "full"))
    parser.add_argument("--device", default="", help="cpu, cuda; the best there is without it")
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.2f}")
    cases = {way: Case(way, args.reach, args.videos, args.device) for way in ("ours", "published")}
    floor = operations(cases["ours"]) / speed(chosen(args.device))
    said = {way: run(case) for way, case in cases.items()}
    for way, (seconds, busy, memory, losses) in said.items():
        print(
            f"  {way:10} {seconds:7.2f} s, of processors {busy:7.2f} s, {memory / 1e6:6.0f} MB, "
            f"losses {losses[0]:.5f} {losses[1]:.5f}"
        )
    (ours, our_busy, our_memory, a), (theirs, their_busy, their_memory, b) = said["ours"], said["published"]
    assert max(abs(x - y) / y for x, y in zip(a[:2], b[:2], strict=True)) < 1e-4, "the two ways differ"
    faster, by_processors, less = theirs / ours, their_busy / our_busy, their_memory / our_memory
    print(
        f"ratio: {faster:.2f} times faster (target {TARGET}), {by_processors:.2f} by processors, {less:.2f} less memory"
    )
    print(f"floor: {floor:.2f} s of products, ours is {ours / floor:.2f} times that, published {theirs / floor:.2f}")


if __name__ == "__main__":
    main()
