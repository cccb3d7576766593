"""A training step of ActionFormer at THUMOS14's size, and the choice of segments, against the way they are published.

    python benchmarks/actionformer.py [--repeat 5] [--device cuda] [--lengths 2304,2304]

A step is targets, forward, backward, clipping, AdamW and the average of the weights, in float32, on 2 videos of 1024
numbers a clip. "Published" is the same arithmetic as the public code does it, written for this comparison: (batch,
channels, time) with norms by hand, attention as overlapping chunks that are skewed into diagonals under masks made
anew in every block, heads level by level, every point against every segment, videos padded to 2304, suppression one
class after another. Both start from the same weights and their losses are compared. Every number is from a process of
its own; memory is what the steps take beyond inputs and parameters, optimizer's state and gradients included.
"""

from __future__ import annotations

import argparse
import copy
import gc
import math
import multiprocessing as mp
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.core.device import device as chosen
from vitascope.core.device import generator, peak_bytes
from vitascope.probes.temporal.actionformer import (
    ActionFormer,
    ConvHead,
    LocalAttention,
    PyramidBlock,
    random_actionformer,
    split_weight_decay,
)
from vitascope.probes.temporal.localization_data import PointGrid, VideoSequence, pad_batch
from vitascope.probes.temporal.nms import Proposals, nms
from vitascope.probes.temporal.point_targets import REGRESSION_RANGES, training_losses
from vitascope.probes.training.resume import update_average

DIM, CLASSES, MOST, SEGMENTS, WINDOWS = 1024, 20, 2304, 15, (19,) * 6
RATE, DECAY, CLIP, KEPT = 1e-4, 0.05, 1.0, 0.999
CANDIDATES, ASKED = 6000, 200
TARGET = 1.5


class Case(NamedTuple):
    """What is measured."""

    way: str
    lengths: tuple[int, ...]
    device: str
    repeat: int


def rows(*layers: torch.nn.ModuleList) -> Iterator[Any]:
    """Layers that belong together."""
    return zip(*layers, strict=True)


def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Over channels, by hand."""
    rest = x - x.mean(1, keepdim=True)
    spread = (rest**2).mean(1, keepdim=True)
    return rest / torch.sqrt(spread + 1e-5) * weight[None, :, None] + bias[None, :, None]


def conv(x: Tensor, layer: Any, mask: Tensor, stride: int = 1) -> tuple[Tensor, Tensor]:
    """A convolution, zero where `mask` is; and the mask of what it returns."""
    y = F.conv1d(x, layer.weight, layer.bias, stride, layer.weight.shape[-1] // 2, groups=layer.groups)
    if stride > 1:
        mask = F.interpolate(mask.to(x.dtype), size=y.shape[-1], mode="nearest").bool()
    return y * mask.to(y.dtype).detach(), mask


def overlapping(x: Tensor, half: int) -> Tensor:
    """Chunks of twice `half`, each overlapping the next by half of it."""
    n, t, d = x.shape
    x = x.contiguous()
    return x.as_strided((n, t // half - 1, 2 * half, d), (t * d, half * d, d, 1))


def banded(q: Tensor, k: Tensor, half: int) -> Tensor:
    """Products of every query with keys up to `half` away, as (batch, time, 2 half + 1); garbage beyond the ends."""
    n, t, _ = q.shape
    scores = torch.einsum("bcxd,bcyd->bcxy", overlapping(q, half), overlapping(k, half))
    rows = F.pad(scores, (0, 0, 0, 1)).view(*scores.shape[:2], 2 * half, 2 * half + 1)
    out = scores.new_empty(n, t // half, half, 2 * half + 1)
    out[:, :-1, :, half:] = rows[:, :, :half, : half + 1]
    out[:, -1, :, half:] = rows[:, -1, half:, : half + 1]
    out[:, 1:, :, :half] = rows[:, :, -half - 1 : -1, half + 1 :]
    out[:, 0, 1:half, 1:half] = rows[:, 0, : half - 1, 1 - half :]
    return out.reshape(n, t, 2 * half + 1)


def spread(p: Tensor, v: Tensor, half: int) -> Tensor:
    """Values weighted by diagonals, back as (batch, time, d)."""
    n, t, width = p.shape
    chunks = p.view(n, t // half, half, width)
    padded = F.pad(v, (0, 0, half, half), value=-1.0).contiguous()
    d = v.shape[-1]
    values = padded.as_strided((n, t // half, 3 * half, d), (padded.stride(0), half * d, d, 1))
    skewed = F.pad(chunks, (0, half + 1)).flatten(2)[:, :, :-half].view(n, t // half, half, 3 * half + 1)[..., :-1]
    return torch.einsum("bcwe,bced->bcwd", skewed, values).reshape(n, t, d)


def attention(layer: LocalAttention, x: Tensor, mask: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Sliding chunks under a mask for the ends and one for the padding."""
    parts = []
    for depthwise, scale, inner in rows(layer.convs, layer.norms, layer.inner):
        y, shown = conv(x, depthwise, mask, stride)
        y = F.conv1d(norm(y, scale.weight, scale.bias), inner.weight, inner.bias)
        b, c, t = y.shape
        parts.append(y.view(b, layer.heads, c // layer.heads, t).transpose(2, 3).flatten(0, 1))
    half = layer.window // 2
    q, k, v = parts
    scores = banded(q / math.sqrt(q.shape[-1]), k, half).view(b, layer.heads, t, -1).transpose(1, 2)
    place, far = torch.arange(t, device=x.device)[:, None], torch.arange(-half, half + 1, device=x.device)
    hidden = (~shown[:, 0, :, None, None]).transpose(1, 2)
    float_mask = torch.zeros_like(hidden, dtype=x.dtype).masked_fill(hidden, -1e4)
    ones = torch.ones_like(float_mask)
    scores = scores + banded(ones.flatten(0, 1), float_mask.flatten(0, 1), half)[:, :, None]
    scores = scores.masked_fill(((place + far < 0) | (place + far >= t))[None, :, None], -math.inf)
    p = F.softmax(scores, dim=-1).masked_fill(~shown[:, 0, :, None, None], 0.0)
    out = spread(p.transpose(1, 2).flatten(0, 1).contiguous(), v, half)
    out = out.view(b, layer.heads, t, -1).transpose(2, 3).reshape(b, -1, t)
    return F.conv1d(out, layer.proj.weight, layer.proj.bias) * shown.to(x.dtype), shown


def block(layer: PyramidBlock, x: Tensor, mask: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Attention, pooling past it, MLP."""
    branch, shown = attention(layer.attention, norm(x, layer.norm1.weight, layer.norm1.bias), mask, layer.stride)
    past = x if layer.stride == 1 else F.max_pool1d(x, 3, 2, 1)
    y = past * shown.to(x.dtype) + layer.scale1[None, :, None] * branch * kept[0]
    z = F.conv1d(norm(y, layer.norm2.weight, layer.norm2.bias), layer.fc1.weight, layer.fc1.bias)
    z = F.conv1d(F.gelu(z), layer.fc2.weight, layer.fc2.bias) * shown.to(x.dtype)
    return y + layer.scale2[None, :, None] * z * kept[1], shown


def head(layer: ConvHead, levels: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Level by level."""
    found = []
    for x, mask in levels:
        for one, scale in rows(layer.convs, layer.norms):
            x = F.relu(norm(conv(x, one, mask)[0], scale.weight, scale.bias))
        found.append(conv(x, layer.last, mask)[0])
    return found


def forward(model: ActionFormer, x: Tensor, mask: Tensor, draw: torch.Generator) -> tuple[list[Tensor], ...]:
    """Logits, offsets and masks of every level."""
    blocks = [*model.stem, *model.branch]
    kept = (torch.rand(len(blocks), 2, len(x), 1, 1, generator=draw) >= model.drop_path) / (1 - model.drop_path)
    shown, levels = mask[:, None], []
    for layer, scale in rows(model.embedding, model.embedding_norms):
        x = F.relu(norm(conv(x, layer, shown)[0], scale.weight, scale.bias))
    norms: Any = model.norms
    for i, layer in enumerate(blocks):
        x, shown = block(layer, x, shown, kept[i].to(x))
        if i:
            levels.append((norm(x, norms[i - 1].weight, norms[i - 1].bias), shown))
    offsets = [F.relu(model.scale[i] * y) for i, y in enumerate(head(model.distances, levels))]
    logits = head(model.scores, levels)
    return [y.mT for y in logits], [y.mT for y in offsets], [m[:, 0] for _, m in levels]


def labeled(segments: Tensor, labels: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Classes and offsets of every point (time, least, most, stride), each held against every segment of a video."""
    t, low, high, stride = (points[:, i, None] for i in range(4))
    lengths = (segments[:, 1] - segments[:, 0])[None].repeat(len(points), 1)
    pairs = torch.stack([t - segments[:, 0], segments[:, 1] - t], -1)
    middle = 0.5 * (segments[:, 0] + segments[:, 1])
    near = torch.stack(
        [
            t - torch.maximum(middle - 1.5 * stride, segments[:, 0]),
            torch.minimum(middle + 1.5 * stride, segments[:, 1]) - t,
        ],
        -1,
    )
    farther = pairs.max(-1).values
    wrong = (near.min(-1).values <= 0) | (farther < low) | (farther > high)
    lengths = lengths.masked_fill(wrong, math.inf)
    least, which = lengths.min(1)
    same = ((lengths <= least[:, None] + 1e-3) & (lengths < math.inf)).to(pairs.dtype)
    classes = (same @ F.one_hot(labels, CLASSES).to(pairs.dtype)).clamp(0.0, 1.0)
    return classes, pairs[range(len(points)), which] / stride


def published_loss(model: ActionFormer, sights: list[VideoSequence], normalizer: float, draw: torch.Generator) -> Any:
    """Loss of both kinds, and the running count."""
    x = sights[0].values.new_zeros(len(sights), DIM, MOST)
    for own, sight in zip(x, sights, strict=True):
        own[:, : len(sight.values)].copy_(sight.values.mT)
    lengths = torch.tensor([len(s.values) for s in sights], device=x.device)
    mask = torch.arange(MOST, device=x.device) < lengths[:, None]
    logits, offsets, masks = forward(model, x, mask, draw)
    points = torch.cat(
        [
            torch.stack(
                [
                    torch.arange(y.shape[1], device=x.device) * 2.0**i,
                    *(torch.full((y.shape[1],), REGRESSION_RANGES[i + k], device=x.device) for k in (0, 1)),
                    torch.full((y.shape[1],), 2.0**i, device=x.device),
                ],
                1,
            )
            for i, y in enumerate(logits)
        ]
    )
    each = [labeled(s.segments, s.labels, points) for s in sights]
    classes, wanted = (torch.stack(x) for x in zip(*each, strict=True))
    valid = torch.cat(masks, 1)
    positive = (classes.sum(-1) > 0) & valid
    count = int(positive.sum())
    normalizer = 0.9 * normalizer + 0.1 * max(count, 1)
    goal = classes[valid] * 0.9 + 0.1 / (CLASSES + 1)
    said = torch.cat(logits, 1)[valid]
    p = said.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(said, goal, reduction="none")
    sure = p * goal + (1 - p) * (1 - goal)
    scored = ((0.25 * goal + 0.75 * (1 - goal)) * entropy * (1 - sure) ** 2).sum() / normalizer
    (lp, rp), (lg, rg) = torch.cat(offsets, 1)[positive].T, wanted[positive].T
    shared = torch.minimum(lp, lg) + torch.minimum(rp, rg)
    iou = shared / (lp + rp + lg + rg - shared).clamp(min=1e-8)
    apart = 0.5 * (rp - lp - rg + lg) / (torch.maximum(lp, lg) + torch.maximum(rp, rg)).clamp(min=1e-8)
    return scored + 2 * (1 - iou + apart**2).sum() / normalizer, normalizer


def our_loss(model: ActionFormer, sights: list[VideoSequence], normalizer: float, draw: torch.Generator) -> Any:
    """The same by the library."""
    seen = pad_batch(sights, windows=WINDOWS, limit=MOST)
    values, mask, actions = seen
    loss = training_losses(model, values, mask, actions, generator=draw, normalizer=normalizer, label_smoothing=0.1)
    return loss.classes + 2 * loss.offsets, loss.normalizer


def stepper(way: str, model: ActionFormer, sights: list[VideoSequence]) -> Callable[[], float]:
    """A training step."""
    weights, others = split_weight_decay(model)
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    ours = way == "ours"
    optimizer = torch.optim.AdamW(groups, lr=RATE, weight_decay=DECAY, fused=ours or None)
    average, draw, state = copy.deepcopy(model), generator(3), [100.0]

    def step() -> float:
        loss, state[0] = (our_loss if ours else published_loss)(model, sights, state[0], draw)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        if ours:
            update_average(average, model, KEPT)
        else:
            with torch.no_grad():
                for mean, p in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                    mean.copy_(KEPT * mean + (1 - KEPT) * p)
        return float(loss.detach())

    return step


def videos(lengths: tuple[int, ...], where: torch.device) -> list[VideoSequence]:
    """Clip vectors and actions of some seconds, drawn."""
    draw, found = generator(0), []
    for length in lengths:
        start = torch.rand(SEGMENTS, generator=draw) * (length - 100)
        last = torch.exp(torch.rand(SEGMENTS, generator=draw) * 4 + 1)
        segments = torch.stack([start, start + last], 1).to(where)
        labels = torch.randint(CLASSES, (SEGMENTS,), generator=draw).to(where)
        values = torch.randn(length, DIM, generator=draw).to(where)
        found.append(VideoSequence(values, segments, labels, PointGrid(0.25, 0.125), length / 8))
    return found


def measured(case: Case, answers: Any) -> None:
    """Run in a fresh process: mean time of a step, seconds; memory, bytes; the losses.

    The mean, because what is left out at random makes some steps shorter than others.
    """
    where = chosen(case.device)
    sights = videos(case.lengths, where)
    model = random_actionformer(generator(1), ActionFormer(DIM, CLASSES)).to(where)
    step = stepper(case.way, model, sights)
    gc.collect()
    before, times, said = peak_bytes(where), [], []
    for _ in range(case.repeat + 1):
        start = time.perf_counter()
        said.append(step())
        times.append(time.perf_counter() - start)
    answers.put((sum(times[1:]) / case.repeat, peak_bytes(where) - before, said))


def run(case: Case) -> tuple[float, float, list[float]]:
    """`measured` in a new process."""
    context = mp.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=measured, args=(case, answers))
    process.start()
    answer: tuple[float, float, list[float]] = answers.get()
    process.join()
    return answer


def one_class_after_another(found: Proposals) -> tuple[np.ndarray, np.ndarray]:
    """Soft suppression as published: a loop over candidates for each class, then the best of all."""
    segments, scores = [], []
    for label in np.unique(found.labels):
        own = found.labels == label
        s, p = found.segments[own].copy(), found.scores[own].copy()
        taken = 0
        while len(p) and taken < ASKED:
            best = int(p.argmax())
            segments.append(s[best])
            scores.append(p[best])
            taken += 1
            rest = np.arange(len(p)) != best
            shared = (np.minimum(s[best, 1], s[rest, 1]) - np.maximum(s[best, 0], s[rest, 0])).clip(min=0)
            either = (s[best, 1] - s[best, 0] + 1e-6) + (s[rest, 1] - s[rest, 0] + 1e-6) - shared
            s, p = s[rest], p[rest] * np.exp(-((shared / either) ** 2) / 0.5)
            s, p = s[p >= 0.001], p[p >= 0.001]
    order = np.argsort(-np.array(scores), kind="stable")[:ASKED]
    return np.array(segments)[order], np.array(scores)[order]


def suppression() -> tuple[float, float]:
    """Seconds a video, both ways; they must agree."""
    rng = np.random.default_rng(0)
    middle, half = rng.uniform(0, MOST, CANDIDATES), np.exp(rng.uniform(0, 4, CANDIDATES))
    segments = np.stack([middle - half, middle + half], 1)
    found = Proposals(segments, rng.uniform(0.001, 1, CANDIDATES) ** 3, rng.integers(0, CLASSES, CANDIDATES))
    times = []
    said = []
    for way in (
        lambda: nms(found, kind="soft", by=0.5, min_score=0.001, max_segments=ASKED, by_class=True),
        lambda: one_class_after_another(found),
    ):
        start = time.perf_counter()
        said.append(way())
        times.append(time.perf_counter() - start)
    np.testing.assert_allclose(said[0][0], said[1][0])
    return times[0], times[1]


def main() -> None:
    """Print times, memory and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="", help="points of the videos; 2304,2304 and then 1500,700 without it")
    parser.add_argument("--device", default="", help="cpu, cuda; the best there is without it")
    parser.add_argument("--repeat", type=int, default=5, help="steps measured, after one that is not")
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.2f}")
    for text in [args.lengths] if args.lengths else ["2304,2304", "1500,700"]:
        lengths = tuple(int(word) for word in text.split(","))
        said = {way: run(Case(way, lengths, args.device, args.repeat)) for way in ("ours", "published")}
        for way, (seconds, memory, loss) in said.items():
            print(
                f"  {text} {way:10} {1e3 * seconds:8.0f} ms {memory / 1e6:7.0f} MB  losses {loss[0]:.5f} {loss[-1]:.5f}"
            )
        (ours, our_memory, a), (theirs, their_memory, b) = said["ours"], said["published"]
        assert max(abs(x - y) / y for x, y in zip(a, b, strict=True)) < 1e-3, "the two ways differ"
        faster, less = theirs / ours, their_memory / our_memory
        print(f"ratio {text}: {faster:.2f} times faster (target {TARGET}), {less:.2f} times less memory")
    ours, theirs = suppression()
    print(f"suppression of {CANDIDATES}: {1e3 * ours:.1f} ms against {1e3 * theirs:.1f} ms, {theirs / ours:.1f} times")


if __name__ == "__main__":
    main()
