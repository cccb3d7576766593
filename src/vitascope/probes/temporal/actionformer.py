"""ActionFormer's network: a feature pyramid with local attention over clip vectors, and two heads at every point.

Zhang, Wu and Li, "ActionFormer: Localizing Moments of Actions with Transformers", ECCV 2022 (arXiv 2202.07925), with
the sizes of the TWLV-I report. Tensors are (batch, time, channels), so that norms and projections read contiguous
memory; only the first convolution takes (batch, channels, time), the layout in which batches are built.

Padded positions are zero after every convolution and every block, but not after a norm: right behind the end of a video
stands the bias of the norm, as in the published code. `padded_length` therefore leaves one such position wherever the
published code does, and the output of a video does not depend on any further padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitascope.nn.fast_linear import linear

KERNEL = 3
EMBEDDING_CONVS = 2
"""Convolutions before the first block."""
STEM_BLOCKS = 2
"""Blocks before the first downsampling."""
INIT_BRANCH_SCALE = 1e-4
"""Initial scale of both branches of a block, per channel."""
CLASS_PRIOR = 0.01
"""Initial probability of every class."""
MIN_QUERY_BLOCK = 32
"""Minimum number of queries that share one range of keys in local attention."""
Branch: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]
MASKED_SCORE = -1e4
"""Attention score of a masked key: finite, so that a query without any key has zero gradient, not NaN."""


class Levels(NamedTuple):
    """Input of the heads: all pyramid levels concatenated, finest first, with an empty position after each."""

    values: Float[Tensor, "b q c"]
    mask: Bool[Tensor, "b q"]
    """Positions inside the video."""
    sizes: tuple[int, ...]
    """Points per level."""
    full: bool
    """Whether all points lie inside the video, so that nothing needs masking."""

    @property
    def gaps(self) -> Bool[Tensor, "q"]:
        """The empty positions."""
        return torch.cat([torch.arange(n + 1, device=self.mask.device) == n for n in self.sizes])


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
    """A convolution over time of kernel 1 or 3 with zero padding; `groups` as in torch."""

    def __init__(self, dim: int, out: int, kernel: int = KERNEL, *, bias: bool = True, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(out, dim // groups, kernel))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None

    def forward(self, x: Float[Tensor, "b t c"], stride: int = 1, *, pad: bool = True) -> Float[Tensor, "b s o"]:
        """Convolve with `stride` from the first position; without `pad`, only positions with both neighbors."""
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
    mask: Bool[Tensor, "b t"] | None,
) -> Float[Tensor, "b h t d"]:
    """Let every position attend to those at most `window // 2` away, or to all if `window` is 1 or less.

    Blocks of queries share the range of keys that any of them may attend to: n (m + w) d multiply-adds per head for
    blocks of m, and no n x n matrix. Keys outside `mask` are ignored; the output of a query without keys is undefined.
    """
    if window <= 1:
        return F.scaled_dot_product_attention(q, k, v, None if mask is None else mask[:, None, None])
    half, length = window // 2, q.shape[2]
    block = max(MIN_QUERY_BLOCK, 2 * half)
    blocks = -(-length // block)
    tail = blocks * block - length
    queries = F.pad(q, (0, 0, 0, tail)).unflatten(2, (blocks, block))
    keys, values = (_key_blocks(F.pad(x, (0, 0, half, block + tail)), blocks, block, half) for x in (k, v))
    visible = torch.ones(1, length, dtype=torch.bool, device=q.device) if mask is None else mask
    visible = _key_blocks(F.pad(visible[:, None, :, None], (0, 0, half, block + tail)), blocks, block, half).mT
    far = torch.arange(block + 2 * half, device=q.device) - torch.arange(block, device=q.device)[:, None]
    hidden = torch.where(visible & (far >= 0) & (far <= 2 * half), 0.0, MASKED_SCORE).to(q)
    scores = (queries * q.shape[-1] ** -0.5) @ keys.mT + hidden
    output: Tensor = scores.softmax(-1) @ values
    return output.flatten(2, 3)[:, :, :length]


def _key_blocks(x: Tensor, blocks: int, block: int, half: int) -> Tensor:
    """Return positions b m to b m + m + 2 half of each block b, from (.., time, d) padded by half and m + tail."""
    own = x[:, :, : blocks * block].unflatten(2, (blocks, block))
    following = x[:, :, block : (blocks + 1) * block].unflatten(2, (blocks, block))[:, :, :, : 2 * half]
    return torch.cat([own, following], 3)


class LocalAttention(nn.Module):
    """Queries, keys and values from depthwise convolutions, which can also halve the length; then local attention."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.convs = nn.ModuleList(Conv(dim, dim, bias=False, groups=dim) for _ in "qkv")
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in "qkv")
        self.inner = nn.ModuleList(Conv(dim, dim, 1) for _ in "qkv")
        self.proj = Conv(dim, dim, 1)

    def forward(
        self, x: Float[Tensor, "b t c"], stride: int, mask: Bool[Tensor, "b s"] | None
    ) -> Float[Tensor, "b s c"]:
        """Attend at every `stride`-th position; `mask` marks the output positions inside the video."""
        triples = zip(self.convs, self.norms, self.inner, strict=True)
        q, k, v = (
            inner(norm(conv(x, stride))).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for conv, norm, inner in triples
        )
        y = local_attention(q, k, v, window=self.window, mask=mask)
        out: Tensor = self.proj(y.transpose(1, 2).flatten(2))
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

    def forward(
        self,
        x: Float[Tensor, "b t c"],
        mask: Bool[Tensor, "b s"] | None,
        keep: Bool[Tensor, "2 b"] | None,
        drop_path: float,
    ) -> Float[Tensor, "b s c"]:
        """Apply the block; `keep` marks examples whose branches are kept and rescaled by 1 / (1 - `drop_path`)."""
        residual = x if self.stride == 1 else max_pool_half(x)
        first, second = (None, None) if keep is None else keep
        y = _mask_(
            _add_branch(residual, x, mask, branch=self._attend, scale=self.scale1 / (1 - drop_path), keep=first), mask
        )
        return _mask_(_add_branch(y, y, mask, branch=self._mlp, scale=self.scale2 / (1 - drop_path), keep=second), mask)

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y: Tensor = self.attention(self.norm1(x), self.stride, mask)
        return y

    def _mlp(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return y


def _add_branch(
    residual: Tensor, x: Tensor, mask: Tensor | None, *, branch: Branch, scale: Tensor, keep: Tensor | None
) -> Tensor:
    """Add the scaled `branch` of `x` to `residual`; the branch of dropped examples is not computed."""
    if keep is None or keep.all():
        return torch.addcmul(residual, branch(x, mask), scale)
    indices = keep.nonzero()[:, 0].to(x.device)
    if not len(indices):
        return residual.clone()
    return residual.index_add(0, indices, branch(x[indices], None if mask is None else mask[indices]) * scale)


def max_pool_half(x: Float[Tensor, "b t c"]) -> Float[Tensor, "b s c"]:
    """Max-pool over three positions with stride 2."""
    even, odd = x[:, ::2], x[:, 1::2]
    before = F.pad(odd[:, : even.shape[1] - 1], (0, 0, 1, 0), value=-math.inf)
    return torch.maximum(torch.maximum(before, even), odd)


def _mask_(x: Tensor, mask: Tensor | None) -> Tensor:
    """Set `x` to zero outside `mask`, in place."""
    return x if mask is None else x.mul_(mask[..., None])


class ConvHead(nn.Module):
    """Two convolutions with layer norm and an output convolution, shared by all levels."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv(dim, dim, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.last = Conv(dim, out)

    def forward(
        self, x: Float[Tensor, "n q c"], mask: Bool[Tensor, "n q"] | None, gaps: Bool[Tensor, "*n q"], *, pad: bool
    ) -> Float[Tensor, "n r o"]:
        """Apply the head to all levels at once: `gaps` between them are zero, like the padding of each level alone.

        Without `pad`, return only positions with three neighbors on both sides.
        """
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(x, pad=pad)
            if not pad:
                gaps, mask = gaps[..., 1:-1], None if mask is None else mask[:, 1:-1]
            x = F.relu(norm(_mask_(x, mask)).masked_fill(gaps[..., None], 0.0), inplace=True)
        y: Tensor = self.last(x, pad=pad)
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
        """Return the output of both heads at every point."""
        levels = self.levels(x, mask)
        points = ~levels.gaps
        offsets = self.distances(levels.values, None if levels.full else levels.mask, levels.gaps, pad=True)
        scale = self.scale.repeat_interleave(torch.tensor(levels.sizes, device=x.device))
        distances = F.relu(_mask_(offsets[:, points], levels.mask[:, points]) * scale[:, None])
        return Pyramid(self.logits(levels), distances, levels.mask[:, points], levels.sizes)

    def levels(
        self, x: Float[Tensor, "b c t"], mask: Bool[Tensor, "b t"], generator: torch.Generator | None = None
    ) -> Levels:
        """Return the pyramid levels; `generator` draws the dropped branches in training, None drops none."""
        multiple = 2 ** (len(self.norms) - 1)
        assert x.shape[-1] % multiple == 0, f"{x.shape[-1]} positions are not a multiple of {multiple}"
        full, drop_path = bool(mask.all()), 0.0 if generator is None else self.drop_path
        blocks = [*self.stem, *self.branch]
        keep = (
            torch.rand(len(blocks), 2, len(x), generator=generator) >= drop_path if drop_path else [None] * len(blocks)
        )
        y, level_mask, outputs = self._embedded(x, None if full else mask), mask, []
        for i, block in enumerate(blocks):
            level_mask = level_mask[:, :: block.stride]
            y = block(y, None if full else level_mask, keep[i], drop_path)
            if i >= STEM_BLOCKS - 1:
                outputs.append((self.norms[i - STEM_BLOCKS + 1](y), level_mask))
        values = torch.cat([F.pad(v, (0, 0, 0, 1)) for v, _ in outputs], 1)
        return Levels(
            values, torch.cat([F.pad(m, (0, 1)) for _, m in outputs], 1), tuple(v.shape[1] for v, _ in outputs), full
        )

    def logits(self, levels: Levels) -> Float[Tensor, "b p k"]:
        """Return class logits at every point."""
        mask = None if levels.full else levels.mask
        return _mask_(self.scores(levels.values, mask, levels.gaps, pad=True), mask)[:, ~levels.gaps]

    def offsets_at(self, levels: Levels, points: Bool[Tensor, "b p"]) -> Float[Tensor, "m 2"]:
        """Return distances at some points only: training needs about one point in a hundred.

        Each is computed from seven positions, the receptive field of three convolutions.
        """
        owner, point = points.nonzero(as_tuple=True)
        level = torch.arange(len(levels.sizes), device=point.device).repeat_interleave(
            torch.tensor(levels.sizes, device=point.device)
        )[point]
        radius = 3 * (KERNEL // 2)
        positions = (point + level)[:, None] + torch.arange(-radius, radius + 1, device=point.device)
        length = levels.mask.shape[1]
        clamped, outside = positions.clamp(0, length - 1), (positions < 0) | (positions >= length)
        gaps = outside | levels.gaps[clamped]
        x = levels.values[owner[:, None], clamped].masked_fill(gaps[..., None], 0.0)
        y = self.distances(x, levels.mask[owner[:, None], clamped], gaps, pad=False)[:, 0]
        return F.relu(y * self.scale[level][:, None])

    def _embedded(self, x: Tensor, mask: Tensor | None) -> Tensor:
        first, *rest = self.embedding
        assert isinstance(first, Conv)
        y = F.conv1d(x, first.weight, padding=KERNEL // 2).mT.contiguous()
        y = F.relu(self.embedding_norms[0](_mask_(y, mask)), inplace=True)
        for conv, norm in zip(rest, self.embedding_norms[1:], strict=True):
            y = F.relu(norm(_mask_(conv(y), mask)), inplace=True)
        if self.positions:
            table = sinusoids(max(self.positions, y.shape[1]), self.positions, y.shape[2]).to(y)
            y = y + _mask_(table[None, : y.shape[1]].repeat(len(y), 1, 1), mask)
        return y


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
