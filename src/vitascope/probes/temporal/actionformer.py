"""ActionFormer's network: a feature pyramid with local attention over clip vectors, and two heads at every point.

Zhang, Wu and Li, "ActionFormer: Localizing Moments of Actions with Transformers", ECCV 2022 (arXiv 2202.07925), with
the sizes of the TWLV-I report. Tensors are (batch, time, channels), so that norms and projections read contiguous
memory. Videos of different lengths are computed one after another, each at its own length, rounded up to `ROUND` rows;
what stands in the rows past the end is never read.

The published code pads videos, and its padding is zero after every convolution and every block, but not after a norm:
right behind the end of a video stands the bias of the norm. `framed` therefore puts one such row there wherever the
published code has one, which `padded_length` says, and the output of a video does not depend on any further padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitascope.nn.blocked_attention import blocked_attention
from vitascope.nn.fast_linear import linear
from vitascope.nn.row_conv import conv3
from vitascope.probes.temporal.pyramid_rows import KERNEL, Level, Levels, needed_rows, packed

EMBEDDING_CONVS = 2
"""Convolutions before the first block."""
STEM_BLOCKS = 2
"""Blocks before the first downsampling."""
INIT_BRANCH_SCALE = 1e-4
"""Initial scale of both branches of a block, per channel."""
CLASS_PRIOR = 0.01
"""Initial probability of every class."""
MIN_QUERY_BLOCK = 16
"""Minimum number of queries that share one range of keys in local attention."""
ROUND = 64
"""Rows per video are a multiple, as products of every other size have to be compiled (`nn.fast_linear`)."""
Branch: TypeAlias = Callable[[Tensor], Tensor]


class Pyramid(NamedTuple):
    """Output of the heads at every point, all levels concatenated, finest first; `sizes` are points per level."""

    logits: Float[Tensor, "b p k"]
    offsets: Float[Tensor, "b p 2"]
    """Distances to start and end of the action in strides of the level, at least 0."""
    mask: Bool[Tensor, "b p"]
    """Points inside the video."""
    sizes: tuple[int, ...]


def padded_length(length: int, windows: Sequence[int], limit: int, *, exact: bool = False) -> int:
    """Return the padded length for `length` vectors: divisible at every level, one position to spare.

    The published code pads to `limit`, and longer videos to the largest stride times window of a level: those may have
    no position to spare there, so they have none here. Its further padding changes nothing (see above) and is left out,
    except with `exact`: position embeddings are interpolated to the padded length of long videos.
    """
    multiple = 2 ** (len(windows) - 1)
    spared = multiple * (-(-length // multiple) + 1)
    published = limit
    if length > limit:
        divisor = max(2**level * (window // 2 * 2 if window > 1 else 1) for level, window in enumerate(windows))
        published = math.lcm(multiple, divisor) * -(-length // math.lcm(multiple, divisor))
    return published if exact and length > limit else min(spared, published)


class Conv(nn.Module):
    """A convolution over time of kernel 1 or 3; `groups` as in torch."""

    def __init__(self, dim: int, out: int, kernel: int = KERNEL, *, bias: bool = True, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(out, dim // groups, kernel))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None

    def forward(self, x: Float[Tensor, "*b t c"], stride: int = 1) -> Float[Tensor, "*b s o"]:
        """Convolve. Kernel 1: every row. With groups: rows with both neighbors. Else rows (t, c), see `conv3`."""
        if self.weight.shape[-1] == 1:
            assert self.bias is not None
            return linear(x, self.weight[..., 0], self.bias)
        if self.groups == 1:
            return conv3(x, self.weight, self.bias)
        image, kernel = x.mT.unsqueeze(2), self.weight.unsqueeze(2)  # a channels-last image of height 1: no copy
        return F.conv2d(image, kernel, self.bias, (1, stride), groups=self.groups).squeeze(2).mT


def framed(x: Float[Tensor, "b t c"], length: int, after: Tensor | None, total: int) -> Float[Tensor, "b u c"]:
    """Put a row of zeros before `x`, `after` (or zeros) behind its first `length` rows, then zeros up to `total`."""
    zeros = x.new_zeros(len(x), total + 1 - length, x.shape[2])
    if after is None:
        return torch.cat([zeros[:, :1], x[:, :length], zeros], 1)
    return torch.cat([zeros[:, :1], x[:, :length], after.expand(len(x), 1, -1), zeros[:, 1:]], 1)


def local_attention(
    q: Float[Tensor, "b h t d"], k: Float[Tensor, "b h t d"], v: Float[Tensor, "b h t d"], *, window: int
) -> Float[Tensor, "b h t d"]:
    """Let every position attend to those at most `window // 2` away, or to all if `window` is 1 or less."""
    if window <= 1:
        return F.scaled_dot_product_attention(q, k, v)
    half = window // 2
    block = max(MIN_QUERY_BLOCK, 2 * half)
    far = torch.arange(2 * block, device=q.device) - block // 2 - torch.arange(block, device=q.device)[:, None]
    hidden = torch.zeros(far.shape, dtype=q.dtype, device=q.device).masked_fill_(far.abs() > half, -math.inf)[None]
    heads = blocked_attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), hidden)
    y: Tensor = heads.unflatten(0, q.shape[:2])
    return y


class LocalAttention(nn.Module):
    """Queries, keys and values from depthwise convolutions, which can also halve the length; then local attention."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.convs = nn.ModuleList(Conv(dim, dim, bias=False, groups=dim) for _ in "qkv")
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in "qkv")
        self.inner = nn.ModuleList(Conv(dim, dim, 1) for _ in "qkv")
        self.proj = Conv(dim, dim, 1)

    def forward(self, x: Float[Tensor, "b u c"], stride: int, length: int) -> Float[Tensor, "b s c"]:
        """Attend at every `stride`-th row of `x`, which is `framed`; the first `length` such rows are the video."""
        triples = zip(self.convs, self.norms, self.inner, strict=True)
        q, k, v = (
            inner(norm(conv(x, stride))).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for conv, norm, inner in triples
        )
        y = local_attention(*(x[:, :, :length] for x in (q, k, v)), window=self.window)
        out: Tensor = self.proj(F.pad(y.transpose(1, 2).flatten(2), (0, 0, 0, q.shape[2] - length)))
        return out


class PyramidBlock(nn.Module):
    """Pre-norm attention and MLP, each with a learned scale per channel; stride 2 max-pools the residual path."""

    def __init__(self, dim: int, heads: int, window: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = LocalAttention(dim, heads, window)
        self.fc1, self.fc2 = Conv(dim, 4 * dim, 1), Conv(4 * dim, dim, 1)
        self.scale1, self.scale2 = (nn.Parameter(torch.full((dim,), INIT_BRANCH_SCALE)) for _ in range(2))

    def forward(self, level: Level, keep: Bool[Tensor, "2 b"] | None, drop_path: float) -> Level:
        """Apply the block; `keep` marks examples whose branches are kept and rescaled by 1 / (1 - `drop_path`)."""
        x, length, after = level
        out_length = -(-length // self.stride)

        def attend(x: Tensor) -> Tensor:
            rows = framed(self.norm1(x), length, None if after is None else self.norm1(after), x.shape[1])
            y: Tensor = self.attention(rows, self.stride, out_length)
            return y

        residual = x if self.stride == 1 else max_pool_half(x, length)
        first, second = (None, None) if keep is None else keep
        y = _add_branch(residual, x, branch=attend, scale=self.scale1 / (1 - drop_path), keep=first)
        y = _add_branch(y, y, branch=self._mlp, scale=self.scale2 / (1 - drop_path), keep=second)
        return Level(y, out_length, None if after is None else torch.zeros_like(after))

    def _mlp(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return y


def _add_branch(residual: Tensor, x: Tensor, *, branch: Branch, scale: Tensor, keep: Tensor | None) -> Tensor:
    """Add the scaled `branch` of `x` to `residual`; the branch of dropped examples is not computed."""
    if keep is None or keep.all():
        return torch.addcmul(residual, branch(x), scale)
    indices = keep.nonzero()[:, 0].to(x.device)
    if not len(indices):
        return residual
    return residual.index_add(0, indices, branch(x[indices]) * scale)


def max_pool_half(x: Float[Tensor, "b t c"], length: int) -> Float[Tensor, "b s c"]:
    """Max-pool over three positions with stride 2; the position at `length` counts as zero."""
    even, odd = x[:, ::2], x[:, 1::2]
    if length % 2:
        odd = odd.index_fill(1, torch.tensor([length // 2], device=x.device), 0.0)
    before = F.pad(odd[:, : even.shape[1] - 1], (0, 0, 1, 0), value=-math.inf)
    return torch.maximum(torch.maximum(before, even), odd)


class ConvHead(nn.Module):
    """Two convolutions with layer norm and an output convolution, shared by all levels."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv(dim, dim, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.last = Conv(dim, out)

    def forward(self, x: Float[Tensor, "q c"], empty: Int[Tensor, "n"], gaps: Int[Tensor, "m"]) -> Float[Tensor, "q o"]:
        """Apply the head to all levels at once: rows `empty` are zero before a norm, and `gaps` behind it, too."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x).index_fill_(0, empty, 0.0)).index_fill_(0, gaps, 0.0).relu_()
        y: Tensor = self.last(x)
        return y


class ActionFormer(nn.Module):
    """Map clip vectors to class scores and distances to both action boundaries at every point of a feature pyramid."""

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
        """`windows`: attention window of each level. `positions`: length of the sinusoidal embedding, 0 for none.

        `drop_path`: probability of dropping a branch of a block in training (stochastic depth).
        """
        super().__init__()
        self.positions, self.drop_path = positions, drop_path
        self.embedding = nn.ModuleList(Conv(d, width, bias=False) for d in (dim, *[width] * (EMBEDDING_CONVS - 1)))
        self.embedding_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(EMBEDDING_CONVS))
        self.stem = nn.ModuleList(PyramidBlock(width, heads, windows[0], 1) for _ in range(STEM_BLOCKS))
        self.branch = nn.ModuleList(PyramidBlock(width, heads, window, 2) for window in windows[1:])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in windows)
        self.scores, self.distances = ConvHead(width, classes), ConvHead(width, 2)
        self.scale = nn.Parameter(torch.ones(len(windows)))
        assert self.scores.last.bias is not None
        nn.init.constant_(self.scores.last.bias, -math.log((1 - CLASS_PRIOR) / CLASS_PRIOR))

    def forward(self, x: Float[Tensor, "b c t"], mask: Bool[Tensor, "b t"]) -> Pyramid:
        """Return the output of both heads at every point; zeros at points outside `mask`."""
        levels = self.levels(x, mask)
        offsets = levels.at_points(self.offsets_at(levels, levels.mask))
        return Pyramid(self.logits(levels), offsets, levels.mask, levels.sizes)

    def levels(
        self, x: Float[Tensor, "b c t"], mask: Bool[Tensor, "b t"], generator: torch.Generator | None = None
    ) -> Levels:
        """Return the pyramid levels; `generator` draws the dropped branches in training, None drops none.

        `mask` marks the positions of each video, from the first on; how many follow matters, see `padded_length`.
        """
        multiple = 2 ** (len(self.norms) - 1)
        assert x.shape[-1] % multiple == 0, f"{x.shape[-1]} positions are not a multiple of {multiple}"
        drop_path = 0.0 if generator is None else self.drop_path
        keep = None
        if drop_path:
            keep = torch.rand(STEM_BLOCKS + len(self.branch), 2, len(x), generator=generator) >= drop_path
        lengths = mask.sum(1).tolist()
        outputs: dict[int, list[Level]] = {}
        for length in sorted({*lengths}):
            same = [i for i, n in enumerate(lengths) if n == length]
            rows = x.mT[same[0] : same[-1] + 1] if same[-1] - same[0] < len(same) else x.mT[same]
            found = self._levels(rows, length, None if keep is None else keep[..., same], drop_path)
            outputs.update({i: [level.of(j) for level in found] for j, i in enumerate(same)})
        zeros = torch.zeros_like(outputs[0][0].values[0, 0])
        return packed([outputs[i] for i in range(len(x))], [norm(zeros) for norm in self.norms], x.shape[-1])

    def logits(self, levels: Levels) -> Float[Tensor, "b p k"]:
        """Return class logits at every point; zeros at points outside the videos."""
        return levels.at_points(self.scores(levels.values, levels.empty, levels.gaps)[levels.rows])

    def offsets_at(self, levels: Levels, points: Bool[Tensor, "b p"]) -> Float[Tensor, "m 2"]:
        """Return distances at some points inside the videos only: training needs about one point in a hundred.

        Each is computed from seven rows, the receptive field of three convolutions.
        """
        chosen = levels.inside(points)
        rows, at, empty, gaps = needed_rows(levels, levels.rows[chosen], 3 * (KERNEL // 2))
        y = self.distances(levels.values[rows], empty, gaps)[at]
        return F.relu(y * self.scale[levels.level[chosen]][:, None])

    def _levels(self, x: Float[Tensor, "b t c"], length: int, keep: Tensor | None, drop_path: float) -> list[Level]:
        """Return the normed levels of videos of one `length`."""
        level = self._embedded(x, length)
        outputs = []
        for i, block in enumerate([*self.stem, *self.branch]):
            level = block(level, None if keep is None else keep[i], drop_path)
            if i >= STEM_BLOCKS - 1:
                outputs.append(level._replace(values=self.norms[i - STEM_BLOCKS + 1](level.values)))
        return outputs

    def _embedded(self, x: Tensor, length: int) -> Level:
        padded, total = x.shape[1], -(-length // ROUND) * ROUND
        after = None
        for conv, norm in zip(self.embedding, self.embedding_norms, strict=True):
            y = conv(framed(x, length, after, total).flatten(0, 1)).view(len(x), total + 2, -1)[:, 1:-1]
            x = F.relu(norm(y), inplace=True)
            after = F.relu(norm(y.new_zeros(y.shape[-1]))) if padded > length else None
        if self.positions:
            table = sinusoids(max(self.positions, padded), self.positions, x.shape[2]).to(x)
            x = x + F.pad(table[:length], (0, 0, 0, total - length))
        return Level(x, length, after)


def sinusoids(length: int, count: int, dim: int) -> Float[Tensor, "t c"]:
    """Return sinusoidal embeddings of `count` positions, interpolated to `length` if longer; divided by sqrt(dim)."""
    rate = 10000.0 ** (-2 * (torch.arange(dim) // 2).double() / dim)
    angle = torch.arange(count).double()[:, None] * rate
    table: Tensor = torch.where(torch.arange(dim) % 2 == 0, angle.sin(), angle.cos()) / dim**0.5
    if length > count:
        table = F.interpolate(table.mT[None], length, mode="linear", align_corners=False)[0].mT
    return table.float()


def random_actionformer(generator: torch.Generator, model: ActionFormer) -> ActionFormer:
    """Initialize convolutions as torch does: uniform within 1 / sqrt(fan-in)."""
    for part in model.modules():
        if isinstance(part, Conv):
            bound = (part.weight.shape[1] * part.weight.shape[2]) ** -0.5
            nn.init.uniform_(part.weight, -bound, bound, generator=generator)
    return model


def split_weight_decay(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split parameters into those with weight decay (convolutions) and without (biases, norms, scales)."""
    parameters = list(model.parameters())
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
