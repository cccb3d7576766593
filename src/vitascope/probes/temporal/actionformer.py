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
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitascope.nn.fast_linear import linear

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
Branch: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]
HIDDEN = -1e4
"""Score of a key that is not to be seen: finite, so that a query without any key has a gradient of zero, not NaN."""


class Levels(NamedTuple):
    """What the heads see: the levels one after another, finest first, an empty place behind each."""

    values: Float[Tensor, "b q c"]
    mask: Bool[Tensor, "b q"]
    """The places that lie in the video."""
    sizes: tuple[int, ...]
    """Points of each level."""
    full: bool
    """Whether all points lie in the video; then nothing need be masked."""

    @property
    def gaps(self) -> Bool[Tensor, "q"]:
        """The empty places."""
        return torch.cat([torch.arange(n + 1, device=self.mask.device) == n for n in self.sizes])


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
    whole: int = 2 ** (levels - 1)
    places = whole * (-(-length // whole) + 1)
    return min(places, most) if length <= most else places


class Conv(nn.Module):
    """A convolution over time of kernel 1 or 3, zeros beyond both ends; `groups` as in torch."""

    def __init__(self, dim: int, out: int, kernel: int = KERNEL, *, bias: bool = True, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(out, dim // groups, kernel))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None

    def forward(self, x: Float[Tensor, "b t c"], stride: int = 1, *, pad: bool = True) -> Float[Tensor, "b s o"]:
        """Every `stride`-th place, from the first; without `pad` only those with both neighbors."""
        if self.weight.shape[-1] == 1:
            assert self.bias is not None
            return linear(x, self.weight[..., 0], self.bias)
        image, kernel = x.mT.unsqueeze(2), self.weight.unsqueeze(2)  # a channels-last image of height 1: no copy
        y = F.conv2d(image, kernel, self.bias, (1, stride), (0, KERNEL // 2 if pad else 0), groups=self.groups)
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
    hidden = torch.where(seen & (far >= 0) & (far <= 2 * half), 0.0, HIDDEN).to(q)
    scores = (queries * q.shape[-1] ** -0.5) @ keys.mT + hidden
    found: Tensor = scores.softmax(-1) @ values
    return found.flatten(2, 3)[:, :, :length]


def _stretches(x: Tensor, blocks: int, block: int, half: int) -> Tensor:
    """Places b m to b m + m + 2 half for each block b, from (.., time, d) with `half` before and m + a tail behind."""
    own = x[:, :, : blocks * block].unflatten(2, (blocks, block))
    behind = x[:, :, block : (blocks + 1) * block].unflatten(2, (blocks, block))[:, :, :, : 2 * half]
    return torch.cat([own, behind], 3)


class LocalAttention(nn.Module):
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


class PyramidBlock(nn.Module):
    """Attention and MLP behind norms, each scaled channel by channel; with stride 2 what goes past is max-pooled."""

    def __init__(self, dim: int, heads: int, window: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = LocalAttention(dim, heads, window)
        self.fc1, self.fc2 = Conv(dim, 4 * dim, 1), Conv(4 * dim, dim, 1)
        self.scale1, self.scale2 = (nn.Parameter(torch.full((dim,), SCALE)) for _ in range(2))

    def forward(
        self,
        x: Float[Tensor, "b t c"],
        shown: Bool[Tensor, "b s"] | None,
        kept: Bool[Tensor, "2 b"] | None,
        drop_path: float,
    ) -> Float[Tensor, "b s c"]:
        """Of every `stride`-th place; branches of the examples for which they are `kept`, made up for by 1 - `drop_path`."""
        past = x if self.stride == 1 else halved(x)
        first, second = (None, None) if kept is None else kept
        y = _masked(_added(past, x, shown, branch=self._attend, scale=self.scale1 / (1 - drop_path), kept=first), shown)
        return _masked(_added(y, y, shown, branch=self._mlp, scale=self.scale2 / (1 - drop_path), kept=second), shown)

    def _attend(self, x: Tensor, shown: Tensor | None) -> Tensor:
        y: Tensor = self.attention(self.norm1(x), self.stride, shown)
        return y

    def _mlp(self, x: Tensor, shown: Tensor | None) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return y


def _added(
    past: Tensor, x: Tensor, shown: Tensor | None, *, branch: Branch, scale: Tensor, kept: Tensor | None
) -> Tensor:
    """`past` with the scaled `branch` of `x`; of examples that are not `kept` it costs nothing."""
    if kept is None or kept.all():
        return torch.addcmul(past, branch(x, shown), scale)
    which = kept.nonzero()[:, 0].to(x.device)
    if not len(which):
        return past.clone()
    return past.index_add(0, which, branch(x[which], None if shown is None else shown[which]) * scale)


def halved(x: Float[Tensor, "b t c"]) -> Float[Tensor, "b s c"]:
    """The largest of three neighbors around every other place."""
    even, odd = x[:, ::2], x[:, 1::2]
    before = F.pad(odd[:, : even.shape[1] - 1], (0, 0, 1, 0), value=-math.inf)
    return torch.maximum(torch.maximum(before, even), odd)


def _masked(x: Tensor, shown: Tensor | None) -> Tensor:
    """`x`, zero in place where nothing is shown."""
    return x if shown is None else x.mul_(shown[..., None])


class ConvHead(nn.Module):
    """Two normed convolutions and a third, shared by all levels."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv(dim, dim, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.last = Conv(dim, out)

    def forward(
        self, x: Float[Tensor, "n q c"], shown: Bool[Tensor, "n q"] | None, gaps: Bool[Tensor, "*n q"], *, pad: bool
    ) -> Float[Tensor, "n r o"]:
        """Of all levels at once: the `gaps` between them are zeros, as beyond the ends of each alone.

        Without `pad` only what has three neighbors on both sides.
        """
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(x, pad=pad)
            if not pad:
                gaps, shown = gaps[..., 1:-1], None if shown is None else shown[:, 1:-1]
            x = F.relu(norm(_masked(x, shown)).masked_fill(gaps[..., None], 0.0), inplace=True)
        y: Tensor = self.last(x, pad=pad)
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
        drop_path: float = 0.1,
    ) -> None:
        """`windows`: of the attention at each level. `positions`: 0, or vectors that sinusoids are made for.

        `drop_path`: how often a branch of a block is left out in training (stochastic depth).
        """
        super().__init__()
        self.positions, self.drop_path = positions, drop_path
        self.embedding = nn.ModuleList(Conv(d, width, bias=False) for d in (dim, *[width] * (EMBEDDING - 1)))
        self.embedding_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(EMBEDDING))
        self.stem = nn.ModuleList(PyramidBlock(width, heads, windows[0], 1) for _ in range(STEM))
        self.branch = nn.ModuleList(PyramidBlock(width, heads, window, 2) for window in windows[1:])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in windows)
        self.scores, self.distances = ConvHead(width, classes), ConvHead(width, 2)
        self.scale = nn.Parameter(torch.ones(len(windows)))
        assert self.scores.last.bias is not None
        nn.init.constant_(self.scores.last.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, x: Float[Tensor, "b c t"], mask: Bool[Tensor, "b t"]) -> Pyramid:
        """All that the heads say."""
        levels = self.levels(x, mask)
        points = ~levels.gaps
        offsets = self.distances(levels.values, None if levels.full else levels.mask, levels.gaps, pad=True)
        scale = self.scale.repeat_interleave(torch.tensor(levels.sizes, device=x.device))
        placed = F.relu(_masked(offsets[:, points], levels.mask[:, points]) * scale[:, None])
        return Pyramid(self.logits(levels), placed, levels.mask[:, points], levels.sizes)

    def levels(
        self, x: Float[Tensor, "b c t"], mask: Bool[Tensor, "b t"], generator: torch.Generator | None = None
    ) -> Levels:
        """With a `generator`, which draws the branches that are left out, as in training; else all of them."""
        whole = 2 ** (len(self.norms) - 1)
        assert x.shape[-1] % whole == 0, f"{x.shape[-1]} places are no multiple of {whole}"
        full, drop_path = bool(mask.all()), 0.0 if generator is None else self.drop_path
        blocks = [*self.stem, *self.branch]
        kept = (
            torch.rand(len(blocks), 2, len(x), generator=generator) >= drop_path if drop_path else [None] * len(blocks)
        )
        y, shown, found = self._embedded(x, None if full else mask), mask, []
        for i, block in enumerate(blocks):
            shown = shown[:, :: block.stride]
            y = block(y, None if full else shown, kept[i], drop_path)
            if i >= STEM - 1:
                found.append((self.norms[i - STEM + 1](y), shown))
        values = torch.cat([F.pad(v, (0, 0, 0, 1)) for v, _ in found], 1)
        return Levels(
            values, torch.cat([F.pad(m, (0, 1)) for _, m in found], 1), tuple(v.shape[1] for v, _ in found), full
        )

    def logits(self, levels: Levels) -> Float[Tensor, "b p k"]:
        """Scores of classes at every point."""
        shown = None if levels.full else levels.mask
        return _masked(self.scores(levels.values, shown, levels.gaps, pad=True), shown)[:, ~levels.gaps]

    def offsets_at(self, levels: Levels, points: Bool[Tensor, "b p"]) -> Float[Tensor, "m 2"]:
        """Distances at some points of the videos only: what training learns from, one point in a hundred.

        Each is computed from its seven neighbors, as three convolutions see no more.
        """
        owner, point = points.nonzero(as_tuple=True)
        level = torch.arange(len(levels.sizes), device=point.device).repeat_interleave(
            torch.tensor(levels.sizes, device=point.device)
        )[point]
        reach = 3 * (KERNEL // 2)
        near = (point + level)[:, None] + torch.arange(-reach, reach + 1, device=point.device)
        places = levels.mask.shape[1]
        at, outside = near.clamp(0, places - 1), (near < 0) | (near >= places)
        gaps = outside | levels.gaps[at]
        x = levels.values[owner[:, None], at].masked_fill(gaps[..., None], 0.0)
        y = self.distances(x, levels.mask[owner[:, None], at], gaps, pad=False)[:, 0]
        return F.relu(y * self.scale[level][:, None])

    def _embedded(self, x: Tensor, shown: Tensor | None) -> Tensor:
        first, *others = self.embedding
        assert isinstance(first, Conv)
        y = F.conv1d(x, first.weight, padding=KERNEL // 2).mT.contiguous()
        y = F.relu(self.embedding_norms[0](_masked(y, shown)), inplace=True)
        for conv, norm in zip(others, self.embedding_norms[1:], strict=True):
            y = F.relu(norm(_masked(conv(y), shown)), inplace=True)
        if self.positions:
            table = sinusoids(max(self.positions, y.shape[1]), self.positions, y.shape[2]).to(y)
            y = y + _masked(table[None, : y.shape[1]].repeat(len(y), 1, 1), shown)
        return y


def sinusoids(length: int, places: int, dim: int) -> Float[Tensor, "t c"]:
    """Position codes of `places` places, stretched to `length` where there are more; divided by sqrt(dim)."""
    rate = 10000.0 ** (-2 * (torch.arange(dim) // 2).double() / dim)
    angle = torch.arange(places).double()[:, None] * rate
    table: Tensor = torch.where(torch.arange(dim) % 2 == 0, angle.sin(), angle.cos()) / dim**0.5
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
