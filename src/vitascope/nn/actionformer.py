"""The network of ActionFormer: a pyramid of local attention over clip vectors, and two heads at every point of it.

Zhang, Wu and Li, "ActionFormer: Localizing Moments of Actions with Transformers", ECCV 2022 (arXiv 2202.07925), with
the sizes of the TWLV-I report. Everything runs as (batch, time, channels), so that norms and projections read memory
in order; only the first convolution takes (batch, channels, time), which is how the batch is put together.

A padded place is zero after every convolution and every block, but not after a norm: what stands right behind the end
of a video is the norm's bias, in the published code as here. `padded` therefore leaves at least one such place, and a
video then comes out the same however much further it is padded.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

KERNEL = 3
EMBEDDING = 2
"""Convolutions before the first block."""
STEM = 2
"""Blocks before the first halving."""
SCALE = 1e-4
"""Of both branches of a block at the start, channel by channel."""
PRIOR = 0.01
"""Probability of every class at the start."""
BLOCK = 32
"""Queries that share one stretch of keys in local attention, at least."""
HIDDEN = -1e4
"""Score of a key that is not to be seen: finite, so that a query without any key has a gradient of zero, not NaN."""


class Pyramid(NamedTuple):
    """What the heads say at every point, the levels one after another, finest first; `sizes` counts their points."""

    logits: Float[Tensor, "b p k"]
    offsets: Float[Tensor, "b p 2"]
    """Distances to start and end of the action, in strides of the level, 0 or more."""
    mask: Bool[Tensor, "b p"]
    """The points that lie in the video."""
    sizes: tuple[int, ...]


def padded(length: int, levels: int, most: int) -> int:
    """Places for `length` vectors: whole at every level, one to spare; not more than `most`, if that is enough.

    The published code pads to `most`, and longer videos to a multiple of it; the outputs are the same (see above).
    """
    whole = 2 ** (levels - 1)
    places = whole * (-(-length // whole) + 1)
    return min(places, most) if length <= most else places


class Conv(nn.Module):
    """A convolution over time of kernel 1 or 3, zeros beyond both ends; `groups` as in torch."""

    def __init__(self, dim: int, out: int, kernel: int = KERNEL, *, bias: bool = True, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(out, dim // groups, kernel))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None

    def forward(self, x: Float[Tensor, "b t c"], stride: int = 1) -> Float[Tensor, "b s o"]:
        """Every `stride`-th place, from the first."""
        if self.weight.shape[-1] == 1:
            return F.linear(x, self.weight[..., 0], self.bias)
        image, kernel = x.mT.unsqueeze(2), self.weight.unsqueeze(2)  # a channels-last image of height 1: no copy
        y = F.conv2d(image, kernel, self.bias, (1, stride), (0, KERNEL // 2), groups=self.groups)
        return y.squeeze(2).mT


def local_attention(
    q: Float[Tensor, "b h t d"],
    k: Float[Tensor, "b h t d"],
    v: Float[Tensor, "b h t d"],
    *,
    window: int,
    shown: Bool[Tensor, "b t"] | None,
) -> Float[Tensor, "b h t d"]:
    """Attention of every place to those at most `window // 2` away; to all where `window` is 1 or less.

    Blocks of queries share the stretch of keys that any of them may see: n (m + w) d multiply-adds a head for blocks of
    m, and nothing of size n x n. Keys that `shown` hides are not seen; a query that sees none gives what means nothing.
    """
    if window <= 1:
        return F.scaled_dot_product_attention(q, k, v, None if shown is None else shown[:, None, None])
    half, length = window // 2, q.shape[2]
    block = max(BLOCK, 2 * half)
    blocks = -(-length // block)
    tail = blocks * block - length
    queries = F.pad(q, (0, 0, 0, tail)).unflatten(2, (blocks, block))
    keys, values = (_stretches(F.pad(x, (0, 0, half, block + tail)), blocks, block, half) for x in (k, v))
    seen = torch.ones(1, length, dtype=torch.bool, device=q.device) if shown is None else shown
    seen = _stretches(F.pad(seen[:, None, :, None], (0, 0, half, block + tail)), blocks, block, half).mT
    far = torch.arange(block + 2 * half, device=q.device) - torch.arange(block, device=q.device)[:, None]
    hidden = ~(seen & (far >= 0) & (far <= 2 * half))
    scores = (queries * q.shape[-1] ** -0.5) @ keys.mT
    found = scores.masked_fill_(hidden, HIDDEN).softmax(-1) @ values
    return found.flatten(2, 3)[:, :, :length]


def _stretches(x: Tensor, blocks: int, block: int, half: int) -> Tensor:
    """Places b m to b m + m + 2 half for each block b, from (.., time, d) with `half` before and m + a tail behind."""
    own = x[:, :, : blocks * block].unflatten(2, (blocks, block))
    behind = x[:, :, block : (blocks + 1) * block].unflatten(2, (blocks, block))[:, :, :, : 2 * half]
    return torch.cat([own, behind], 3)


class Attention(nn.Module):
    """Queries, keys and values each from a depthwise convolution, which also halves the time; then local attention."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.convs = nn.ModuleList(Conv(dim, dim, bias=False, groups=dim) for _ in "qkv")
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in "qkv")
        self.inner = nn.ModuleList(Conv(dim, dim, 1) for _ in "qkv")
        self.proj = Conv(dim, dim, 1)

    def forward(
        self, x: Float[Tensor, "b t c"], stride: int, shown: Bool[Tensor, "b s"] | None
    ) -> Float[Tensor, "b s c"]:
        """Every `stride`-th place, of those that `shown` tells."""
        triples = zip(self.convs, self.norms, self.inner, strict=True)
        q, k, v = (
            inner(norm(conv(x, stride))).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for conv, norm, inner in triples
        )
        y = local_attention(q, k, v, window=self.window, shown=shown)
        out: Tensor = self.proj(y.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention and MLP behind norms, each scaled channel by channel; with stride 2 what goes past is max-pooled."""

    def __init__(self, dim: int, heads: int, window: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, window)
        self.fc1, self.fc2 = Conv(dim, 4 * dim, 1), Conv(4 * dim, dim, 1)
        self.scale1, self.scale2 = (nn.Parameter(torch.full((dim,), SCALE)) for _ in range(2))

    def forward(
        self,
        x: Float[Tensor, "b t c"],
        shown: Bool[Tensor, "b s"] | None,
        kept: Float[Tensor, "2 b 1 1"] | None,
    ) -> Float[Tensor, "b s c"]:
        """Of every `stride`-th place; `kept` scales the branches of each example (stochastic depth)."""
        scales = (self.scale1, self.scale2) if kept is None else (self.scale1 * kept[0], self.scale2 * kept[1])
        past = x if self.stride == 1 else halved(x)
        y = _masked(torch.addcmul(past, self.attention(self.norm1(x), self.stride, shown), scales[0]), shown)
        return _masked(torch.addcmul(y, self.fc2(F.gelu(self.fc1(self.norm2(y)))), scales[1]), shown)


def halved(x: Float[Tensor, "b t c"]) -> Float[Tensor, "b s c"]:
    """The largest of three neighbours around every other place."""
    even, odd = x[:, ::2], x[:, 1::2]
    before = F.pad(odd[:, : even.shape[1] - 1], (0, 0, 1, 0), value=-math.inf)
    return torch.maximum(torch.maximum(before, even), odd)


def _masked(x: Tensor, shown: Tensor | None) -> Tensor:
    """`x`, zero in place where nothing is shown."""
    return x if shown is None else x.mul_(shown[..., None])


class Head(nn.Module):
    """Two normed convolutions and a third, shared by all levels."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv(dim, dim, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.last = Conv(dim, out)

    def forward(
        self, x: Float[Tensor, "b p c"], shown: Bool[Tensor, "b p"] | None, between: Bool[Tensor, "p"]
    ) -> Float[Tensor, "b p o"]:
        """Of all levels at once: zeros stand `between` them, as beyond the ends of each alone."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(_masked(conv(x), shown)), inplace=True).masked_fill(between[:, None], 0.0)
        y: Tensor = self.last(x)
        return y


class ActionFormer(nn.Module):
    """Clip vectors in, scores of classes and distances to both ends out, at every point of a pyramid of levels."""

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        width: int = 256,
        heads: int = 4,
        windows: tuple[int, ...] = (19,) * 6,
        positions: int = 0,
        drop: float = 0.1,
    ) -> None:
        """`windows`: of the attention at each level. `positions`: 0, or vectors that sinusoids are made for.

        `drop`: how often a branch of a block is left out in training (stochastic depth).
        """
        super().__init__()
        self.positions, self.drop = positions, drop
        self.embedding = nn.ModuleList(Conv(d, width, bias=False) for d in (dim, *[width] * (EMBEDDING - 1)))
        self.embedding_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(EMBEDDING))
        self.stem = nn.ModuleList(Block(width, heads, windows[0], 1) for _ in range(STEM))
        self.branch = nn.ModuleList(Block(width, heads, window, 2) for window in windows[1:])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in windows)
        self.scores, self.distances = Head(width, classes), Head(width, 2)
        self.scale = nn.Parameter(torch.ones(len(windows)))
        assert self.scores.last.bias is not None
        nn.init.constant_(self.scores.last.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(
        self, x: Float[Tensor, "b c t"], mask: Bool[Tensor, "b t"], generator: torch.Generator | None = None
    ) -> Pyramid:
        """With a `generator`, which draws the branches that are left out, as in training; else all of them."""
        whole = 2 ** (len(self.norms) - 1)
        assert x.shape[-1] % whole == 0, f"{x.shape[-1]} places are no multiple of {whole}"
        full = bool(mask.all())  # then nothing need be masked
        blocks = [*self.stem, *self.branch]
        kept = self._kept(len(blocks), len(x), generator)
        y, shown, levels = self._embedded(x, mask, full), mask, []
        for i, block in enumerate(blocks):
            shown = shown[:, :: block.stride]
            y = block(y, None if full else shown, None if kept is None else kept[i].to(y))
            if i >= STEM - 1:
                levels.append((y, shown))
        return self._heads([y for y, _ in levels], [shown for _, shown in levels], full)

    def _kept(self, blocks: int, count: int, generator: torch.Generator | None) -> Tensor | None:
        """For both branches of every block and each example 0, or what makes up for the others' zeros."""
        if generator is None or not self.drop:
            return None
        drawn = torch.rand(blocks, 2, count, 1, 1, generator=generator)
        return (drawn >= self.drop) / (1 - self.drop)

    def _embedded(self, x: Tensor, mask: Tensor, full: bool) -> Tensor:
        shown = None if full else mask
        first, *others = zip(self.embedding, self.embedding_norms, strict=True)
        y = F.conv1d(x, first[0].weight, padding=KERNEL // 2).mT.contiguous()
        y = F.relu(first[1](_masked(y, shown)), inplace=True)
        for conv, norm in others:
            y = F.relu(norm(_masked(conv(y), shown)), inplace=True)
        if self.positions:
            table = sinusoids(max(self.positions, y.shape[1]), self.positions, y.shape[2]).to(y)
            y = y + _masked(table[None, : y.shape[1]].repeat(len(y), 1, 1), shown)
        return y

    def _heads(self, levels: list[Tensor], shown: list[Tensor], full: bool) -> Pyramid:
        normed = [F.pad(norm(y), (0, 0, 0, 1)) for norm, y in zip(self.norms, levels, strict=True)]
        sizes = tuple(y.shape[1] for y in levels)
        between = torch.cat([torch.arange(n + 1) == n for n in sizes]).to(levels[0].device)
        mask = torch.cat([F.pad(s, (0, 1)) for s in shown], 1)
        x, points = torch.cat(normed, 1), ~between
        visible = None if full else mask
        logits = _masked(self.scores(x, visible, between), visible)[:, points]
        raw = _masked(self.distances(x, visible, between), visible)[:, points]
        scale = self.scale.repeat_interleave(torch.tensor(sizes, device=x.device))
        return Pyramid(logits, F.relu(raw * scale[:, None]), mask[:, points], sizes)


def sinusoids(length: int, places: int, dim: int) -> Float[Tensor, "t c"]:
    """Position codes of `places` places, stretched to `length` where there are more; divided by sqrt(dim)."""
    rate = 10000.0 ** (-2 * (torch.arange(dim) // 2).double() / dim)
    angle = torch.arange(places).double()[:, None] * rate
    table = torch.where(torch.arange(dim) % 2 == 0, angle.sin(), angle.cos()) / dim**0.5
    if length > places:
        table = F.interpolate(table.mT[None], length, mode="linear", align_corners=False)[0].mT
    return table.float()


def random_actionformer(generator: torch.Generator, model: ActionFormer) -> ActionFormer:
    """`model` with weights drawn as torch draws those of a convolution: uniform up to 1 / sqrt(fan-in)."""
    for part in model.modules():
        if isinstance(part, Conv):
            bound = (part.weight.shape[1] * part.weight.shape[2]) ** -0.5
            nn.init.uniform_(part.weight, -bound, bound, generator=generator)
    return model


def decayed(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights of convolutions, which decay; and biases, norms and scales, which do not."""
    every = list(model.parameters())
    return [p for p in every if p.ndim > 1], [p for p in every if p.ndim <= 1]
