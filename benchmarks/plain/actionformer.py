"""ActionFormer as the public code computes it, written for comparison: the network, its losses and its inference.

(batch, channels, time) with norms by hand, attention as overlapping chunks that are skewed into diagonals under masks
made anew in every block, heads level by level, every point against every segment, videos padded to 2,304 points, and
longer ones to a multiple of 576.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.probes.temporal.actionformer import ActionFormer, ConvHead, LocalAttention, Pyramid, PyramidBlock
from vitascope.probes.temporal.localization_data import VideoSequence
from vitascope.probes.temporal.point_targets import REGRESSION_RANGES

MOST, MULTIPLE = 2304, 576


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


def block(layer: PyramidBlock, x: Tensor, mask: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
    """Attention, pooling past it, MLP."""
    branch, shown = attention(layer.attention, norm(x, layer.norm1.weight, layer.norm1.bias), mask, layer.stride)
    past = x if layer.stride == 1 else F.max_pool1d(x, 3, 2, 1)
    branch = layer.scale1[None, :, None] * branch
    y = past * shown.to(x.dtype) + (branch if kept is None else branch * kept[0])
    z = F.conv1d(norm(y, layer.norm2.weight, layer.norm2.bias), layer.fc1.weight, layer.fc1.bias)
    z = F.conv1d(F.gelu(z), layer.fc2.weight, layer.fc2.bias) * shown.to(x.dtype)
    z = layer.scale2[None, :, None] * z
    return y + (z if kept is None else z * kept[1]), shown


def head(layer: ConvHead, levels: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Level by level."""
    found = []
    for x, mask in levels:
        for one, scale in rows(layer.convs, layer.norms):
            x = F.relu(norm(conv(x, one, mask)[0], scale.weight, scale.bias))
        found.append(conv(x, layer.last, mask)[0])
    return found


def forward(model: ActionFormer, x: Tensor, mask: Tensor, draw: torch.Generator | None) -> tuple[list[Tensor], ...]:
    """Logits, offsets and masks of every level; without `draw` no branch is left out."""
    blocks, kept = [*model.stem, *model.branch], None
    if draw is not None:
        kept = (torch.rand(len(blocks), 2, len(x), 1, 1, generator=draw) >= model.drop_path) / (1 - model.drop_path)
    shown, levels = mask[:, None], []
    for layer, scale in rows(model.embedding, model.embedding_norms):
        x = F.relu(norm(conv(x, layer, shown)[0], scale.weight, scale.bias))
    norms: Any = model.norms
    for i, layer in enumerate(blocks):
        x, shown = block(layer, x, shown, None if kept is None else kept[i].to(x))
        if i:
            levels.append((norm(x, norms[i - 1].weight, norms[i - 1].bias), shown))
    offsets = [F.relu(model.scale[i] * y) for i, y in enumerate(head(model.distances, levels))]
    logits = head(model.scores, levels)
    return [y.mT for y in logits], [y.mT for y in offsets], [m[:, 0] for _, m in levels]


def labeled(segments: Tensor, labels: Tensor, points: Tensor, classes: int) -> tuple[Tensor, Tensor]:
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
    found = (same @ F.one_hot(labels, classes).to(pairs.dtype)).clamp(0.0, 1.0)
    return found, pairs[range(len(points)), which] / stride


def padded(sights: list[VideoSequence], length: int) -> tuple[Tensor, Tensor]:
    """Videos side by side, and which points are theirs."""
    first = sights[0].values
    x = first.new_zeros(len(sights), first.shape[1], length)
    for own, sight in zip(x, sights, strict=True):
        own[:, : len(sight.values)].copy_(sight.values.mT)
    lengths = torch.tensor([len(s.values) for s in sights], device=x.device)
    return x, torch.arange(length, device=x.device) < lengths[:, None]


def predicted(model: ActionFormer, sight: VideoSequence) -> Pyramid:
    """What both heads give for one video."""
    n = len(sight.values)
    x, mask = padded([sight], MOST if n <= MOST else -(-n // MULTIPLE) * MULTIPLE)
    logits, offsets, masks = forward(model, x, mask, None)
    sizes = tuple(y.shape[1] for y in logits)
    return Pyramid(torch.cat(logits, 1), torch.cat(offsets, 1), torch.cat(masks, 1), sizes)


def published_loss(model: ActionFormer, sights: list[VideoSequence], normalizer: float, draw: torch.Generator) -> Any:
    """Loss of both kinds, and the running count."""
    x, mask = padded(sights, MOST)
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
    number = logits[0].shape[-1]
    each = [labeled(s.segments, s.labels, points, number) for s in sights]
    classes, wanted = (torch.stack(x) for x in zip(*each, strict=True))
    valid = torch.cat(masks, 1)
    positive = (classes.sum(-1) > 0) & valid
    count = int(positive.sum())
    normalizer = 0.9 * normalizer + 0.1 * max(count, 1)
    goal = classes[valid] * 0.9 + 0.1 / (number + 1)
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
