"""Attentive heads: a training step of many against one, and the folded head against keys and values for every token.

    python benchmarks/attentive.py [--heads 20] [--encoder vit/small-random] [--device cuda]

A step is forward, backward, clipping and AdamW in float32. "Unfolded" is the arithmetic of the papers, one head after
another, with the same optimizer. Every number is from a process of its own; memory is what the step takes beyond tokens
and parameters, optimizer's state and gradients included. Measure on a quiet machine.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing as mp
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope import load
from vitascope.core.device import device as chosen
from vitascope.core.device import generator, peak_bytes
from vitascope.probes.classification.attentive_pooler import AttentiveHeads, official_state, random_heads
from vitascope.probes.training.stacked_optimizer import StackedOptimizer, head_losses

CLASSES, BATCH, TOKENS, DIM = 174, 8, 1568, 768
RATE, DECAY, CLIP = 1e-3, 0.01, 1.0
CROSS = "pooler.cross_attention_block."
TARGET = 2.5
"""Times the step of one head, frozen pass included, that the step of twenty may take."""


class Case(NamedTuple):
    """What is measured: how many heads, which way, behind which encoder (none: on random tokens)."""

    way: str
    parallel: int
    encoder: str
    device: str
    repeat: int


def unfolded(state: dict[str, Tensor], x: Tensor, heads: int) -> Tensor:
    """Logits of one classifier with keys and values of every token."""

    def norm(name: str, y: Tensor) -> Tensor:
        return F.layer_norm(y, y.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(name: str, y: Tensor) -> Tensor:
        return F.linear(y, state[f"{name}.weight"], state[f"{name}.bias"])

    query = state["pooler.query_tokens"].expand(len(x), -1, -1)
    k, v = linear(f"{CROSS}xattn.kv", norm(f"{CROSS}norm1", x)).chunk(2, -1)
    q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (linear(f"{CROSS}xattn.q", query), k, v))
    y = query + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    z = norm(f"{CROSS}norm2", y)
    y = y + linear(f"{CROSS}mlp.fc2", F.gelu(linear(f"{CROSS}mlp.fc1", z)))
    return linear("linear", y[:, 0])


def stepper_unfolded(model: AttentiveHeads, heads: int, labels: Tensor) -> Callable[[Tensor], None]:
    """A step of every head, one after another."""
    states = [official_state(model, i) for i in range(len(model.linear.bias))]
    optimizers = []
    for state in states:
        own = [tensor.requires_grad_() for tensor in state.values()]
        groups = [{"params": [p for p in own if (p.ndim > 1) == matrix]} for matrix in (True, False)]
        groups[1]["weight_decay"] = 0.0  # type: ignore[assignment]
        optimizers.append(torch.optim.AdamW(groups, lr=RATE, weight_decay=DECAY, fused=True))

    def step(x: Tensor) -> None:
        for state, optimizer in zip(states, optimizers, strict=True):
            F.cross_entropy(unfolded(state, x, heads), labels).backward()
            torch.nn.utils.clip_grad_norm_(state.values(), CLIP)
            optimizer.step()
            optimizer.zero_grad()

    return step


def stepper_folded(model: AttentiveHeads, labels: Tensor) -> Callable[[Tensor], None]:
    """A step of all heads at once."""
    optimizer = StackedOptimizer(model.parameters(), "adamw", no_decay_bias=True, clip_grad_norm=CLIP)
    count = len(model.linear.bias)
    lr, decay = torch.full((count,), RATE), torch.full((count,), DECAY)

    def step(x: Tensor) -> None:
        head_losses(model(x), labels).sum().backward()
        optimizer.step(lr, decay)

    return step


def measured(case: Case, answers: Any) -> None:
    """Run in a fresh process: shortest time of a step, seconds; and of the frozen pass in it; memory, bytes."""
    device = chosen(case.device)

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    encoder = load(case.encoder, device) if case.encoder else None
    dim = encoder.card.dim if encoder else DIM
    x = torch.randn(BATCH, TOKENS, dim, generator=generator(0)).to(device)
    if encoder:
        shape = (BATCH, 3, encoder.card.frames, encoder.card.size, encoder.card.size)
        clips = torch.randn(shape, generator=generator(1)).to(device)
    labels = torch.arange(BATCH, device=device) % CLASSES
    model = random_heads(generator(2), dim, CLASSES, heads=dim // 64, count=case.parallel).to(device)
    folded = case.way == "folded"
    step = stepper_folded(model, labels) if folded else stepper_unfolded(model, dim // 64, labels)
    gc.collect()
    before = peak_bytes(device)
    steps, passes = [], []
    for _ in range(case.repeat + 1):
        start = now()
        if encoder:
            x = encoder(clips).grid.flatten(1, 3)
        passes.append(now() - start)
        step(x)
        steps.append(now() - start)
    answers.put((min(steps[1:]), min(passes[1:]), peak_bytes(device) - before))


def run(case: Case) -> tuple[float, float, float]:
    """`measured` in a new process."""
    context = mp.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=measured, args=(case, answers))
    process.start()
    answer: tuple[float, float, float] = answers.get()
    process.join()
    return answer


def main() -> None:
    """Print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--encoder", default="vit/small-random", help="of the frozen pass")
    parser.add_argument("--device", default="", help="cpu, cuda; the best there is without it")
    parser.add_argument("--repeat", type=int, default=3, help="steps measured, after one that is not")
    args = parser.parse_args()
    many = args.heads
    print(f"{BATCH} clips, {CLASSES} classes, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.2f}")
    print(f"heads alone, {TOKENS} tokens of {DIM}:")
    alone = {}
    for way in ("folded", "unfolded"):
        for count in (1, many):
            seconds, _, memory = alone[way, count] = run(Case(way, count, "", args.device, args.repeat))
            print(f"  {way:8} {count:3} at once {1e3 * seconds:9.1f} ms {memory / 1e6:7.0f} MB")
    for count in (1, many):
        print(f"  folding, {count} at once: {alone['unfolded', count][0] / alone['folded', count][0]:.1f} times faster")
    for way in ("folded", "unfolded"):
        print(f"  {many} against 1, {way}: {alone[way, many][0] / alone[way, 1][0]:.2f} times the step")
    print(f"with a frozen pass of {args.encoder}:")
    behind = {count: run(Case("folded", count, args.encoder, args.device, args.repeat)) for count in (1, many)}
    for count, (seconds, frozen, _) in behind.items():
        print(f"  {count:3} at once {1e3 * seconds:9.1f} ms, the pass {1e3 * frozen:.1f} ms of it")
    print(f"ratio: {many} heads cost {behind[many][0] / behind[1][0]:.2f} times the step of one (target {TARGET})")


if __name__ == "__main__":
    main()
