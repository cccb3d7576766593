"""Video Hiera: a hierarchical transformer with attention within mask units, then global attention.

Tokens have shape (n clips, u units, m tokens per unit). Within a unit they are in Z-order, so that each 2 x 2 block of
a frame is contiguous and pooling height and width by two is a maximum over four consecutive tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.nn.attention import Mlp
from vitascope.nn.block_layout import BlockLayout
from vitascope.nn.configs.hiera import CHANNELS, KERNEL, MLP_RATIO, PADDING, STRIDE, HieraBlockConfig, HieraConfig
from vitascope.nn.configs.video_vit import Grid
from vitascope.nn.network import Network
from vitascope.nn.positions import linear_bicubic

EPS = 1e-6
UNTRAINED_BIAS = 0.02
"""Bias of the norm that is missing in files of masked autoencoders, as initialized by the official loader."""


def to_units(x: Float[Tensor, "n t h w d"], levels: int) -> Float[Tensor, "n u m d"]:
    """A token grid as units of 2 ** levels x 2 ** levels tokens of one frame, in Z-order."""
    n, t, h, w, d = x.shape
    side = 2**levels
    halves = [2] * levels
    x = x.reshape(n, t, h // side, *halves, w // side, *halves, d)
    rows, columns = range(3, 3 + levels), range(4 + levels, 4 + 2 * levels)
    inner = [axis for pair in zip(rows, columns, strict=True) for axis in pair]
    x = x.permute(0, 1, 2, 3 + levels, *inner, 4 + 2 * levels)
    return x.reshape(n, t * (h // side) * (w // side), 4**levels, d)


def to_grid(x: Float[Tensor, "n u m d"], units: Grid) -> Float[Tensor, "n t h w d"]:
    """The inverse of `to_units`; `units` is the number of units along time, height and width."""
    levels = (x.shape[2].bit_length() - 1) // 2
    x = x.reshape(len(x), *units, *[2, 2] * levels, -1)
    rows, columns = range(4, 4 + 2 * levels, 2), range(5, 5 + 2 * levels, 2)
    x = x.permute(0, 1, 2, *rows, 3, *columns, 4 + 2 * levels)
    t, h, w = units
    return x.reshape(len(x), t, h * 2**levels, w * 2**levels, -1)


def max_pool(x: Float[Tensor, "n u m d"]) -> Float[Tensor, "n u l d"]:
    """The maximum over each 2 x 2 block of tokens."""
    n, u, m, d = x.shape
    return x.reshape(n, u, m // 4, 4, d).amax(3)


class UnitAttention(nn.Module):
    """Multi-head attention within units or global, which may change the width and pool the queries."""

    def __init__(self, layer: HieraBlockConfig) -> None:
        super().__init__()
        self.layer = layer
        self.qkv = nn.Linear(layer.dim, 3 * layer.out)
        self.proj = nn.Linear(layer.out, layer.out)

    def forward(self, x: Float[Tensor, "n u m d"], pool: bool) -> Float[Tensor, "n u l e"]:
        """Attend; `pool` max-pools the queries by 2 x 2."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = max_pool(q) if pool else q
        shape = q.shape
        # local attention: units form the batch; global attention: one sequence per clip
        q, k, v = (y.flatten(0, 1) if self.layer.local else y.flatten(1, 2) for y in (q, k, v))
        q, k, v = (y.unflatten(-1, (self.layer.heads, -1)).transpose(1, 2) for y in (q, k, v))
        mixed: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(shape))
        return mixed


class HieraBlock(nn.Module):
    """Pre-norm transformer block; the first block of a stage changes the width and may pool."""

    def __init__(self, layer: HieraBlockConfig) -> None:
        super().__init__()
        self.layer = layer
        self.norm1 = nn.LayerNorm(layer.dim, eps=EPS)
        self.attn = UnitAttention(layer)
        self.norm2 = nn.LayerNorm(layer.out, eps=EPS)
        self.mlp = Mlp(layer.out, MLP_RATIO * layer.out)
        if layer.first:
            self.proj = nn.Linear(layer.dim, layer.out)

    def forward(self, x: Float[Tensor, "n u m d"], pools: int) -> Float[Tensor, "n u l e"]:
        """Apply the block in a network that pools at the start of `pools` stages."""
        pool = self.layer.first and self.layer.stage <= pools
        y = self.norm1(x)
        if self.layer.first:
            x = max_pool(self.proj(y)) if pool else self.proj(y)
        x = x + self.attn(y, pool)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ConvPatchEmbed(nn.Module):
    """Patch embedding with overlapping patches."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(CHANNELS, dim, KERNEL, STRIDE, PADDING)

    def forward(self, clips: Float[Tensor, "n 3 f y x"]) -> Float[Tensor, "n t h w d"]:
        """The token grid of the clips."""
        grid: Tensor = self.proj(clips).permute(0, 2, 3, 4, 1)
        return grid


class Hiera(Network):
    """Video Hiera with the parameter names of the published models."""

    shape: HieraConfig

    def __init__(self, shape: HieraConfig) -> None:
        super().__init__()
        self.shape = shape
        t, h, w = shape.grid
        self.patch_embed = ConvPatchEmbed(shape.dim)
        self.pos_embed_spatial = nn.Parameter(torch.zeros(1, h * w, shape.dim))
        self.pos_embed_temporal = nn.Parameter(torch.zeros(1, t, shape.dim))
        self.blocks = nn.ModuleList([HieraBlock(layer) for layer in shape.layers()])
        if shape.fusion:
            heads = [nn.Conv3d(d, shape.out, (1, s, s), (1, s, s)) for d, s in shape.fusions()]
            self.multi_scale_fusion_heads = nn.ModuleList(heads)
            self.encoder_norm = nn.LayerNorm(shape.out, eps=EPS)
        else:
            self.norm = nn.LayerNorm(shape.out, eps=EPS)

    def forward(self, clips: Float[Tensor, "n 3 f y x"]) -> tuple[Float[Tensor, "n t h w d"], Float[Tensor, "n d"]]:
        """Token grid and pooled vector, of the last stage or of all stages fused."""
        if self.shape.features == "fused":
            fused = self.fused(clips)
            return fused, fused.mean((1, 2, 3))
        grid = self.last(clips)
        return grid, self.final_norm(grid.mean((1, 2, 3)))

    def parts(self, clips: Float[Tensor, "n 3 f y x"]) -> dict[str, Tensor]:
        """All outputs of the network by their usual names."""
        grid = self.last(clips)
        tokens = grid.flatten(1, 3)
        mean = tokens.mean(1)
        parts = {
            "grid": torch.tensor(grid.shape[1:4]),
            "tokens": tokens,
            "pooled_prenorm": mean,
            "pooled": self.final_norm(mean),
        }
        if self.shape.fusion:
            fused = self.fused(clips)
            parts["fused"] = to_units(fused, 1)[:, :, None].unflatten(3, (2, 2))
            parts["pooled_fused"] = fused.mean((1, 2, 3))
        return parts

    def block_layout(self) -> BlockLayout:
        """Its blocks, of all stages: tokens of units (rows, units, tokens of a unit, width)."""
        return BlockLayout(tuple(self.blocks))

    def last(self, clips: Float[Tensor, "n 3 f y x"]) -> Float[Tensor, "n t h w d"]:
        """Tokens of the last stage, one per unit, before the final norm."""
        return self.stages(clips, self.shape.levels)[-1]

    def fused(self, clips: Float[Tensor, "n 3 f y x"]) -> Float[Tensor, "n t h w d"]:
        """Multi-scale fusion: all stages at four tokens per unit, summed and normalized, as for the MAE decoder."""
        *early, last = self.stages(clips, self.shape.levels - 1)
        for head, stage in zip(self.multi_scale_fusion_heads, early[:-1], strict=True):
            last = last + head(stage.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
        normed: Tensor = self.encoder_norm(last)
        return normed

    def final_norm(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The final norm of the pooled vector; untrained for masked autoencoders, whose weights lack it."""
        if self.shape.fusion:
            return F.layer_norm(x, x.shape[-1:], eps=EPS) + UNTRAINED_BIAS
        y: Tensor = self.norm(x)
        return y

    def stages(self, clips: Float[Tensor, "n 3 f y x"], pools: int) -> list[Float[Tensor, "n t h w d"]]:
        """Outputs of all stages when height and width are pooled `pools` times."""
        self.check(clips.shape)
        x = self.patch_embed(clips)
        _, t, h, w, _ = x.shape
        x = to_units(x + self.positions((t, h, w)).to(x.dtype), self.shape.levels)
        units = (t, h >> self.shape.levels, w >> self.shape.levels)
        ends = []
        for layer, block in zip(self.shape.layers(), self.blocks, strict=True):
            if layer.first:
                ends.append(to_grid(x, units))
            x = block(x, pools)
        return [*ends, to_grid(x, units)]

    def check(self, shape: torch.Size) -> None:
        """Raise UserError if clips of `shape` are not divisible into units."""
        t, y, x = shape[2:]
        frames, side = self.shape.tubelet, self.shape.patch
        if t % frames or y % side or x % side or 0 in shape:
            raise UserError(
                f"clips of {t} frames and {y} x {x} pixels do not divide into blocks of {frames} x {side} x {side}; "
                "resize them or change the frame count"
            )

    def positions(self, grid: Grid) -> Float[Tensor, "t h w d"]:
        """Temporal plus spatial position table.

        For another `grid` than that of the weights it is resampled (linear in time, bicubic in space), which the
        official code does not support.
        """
        (t, h, w), (new_t, new_h, new_w) = self.shape.grid, grid
        space: Tensor = self.pos_embed_spatial
        time: Tensor = self.pos_embed_temporal
        if grid != self.shape.grid:
            space = linear_bicubic(space.float(), (1, h, w), (1, new_h, new_w))
            time = linear_bicubic(time.float(), (t, 1, 1), (new_t, 1, 1))
        return time.reshape(new_t, 1, 1, -1) + space.reshape(1, new_h, new_w, -1)
