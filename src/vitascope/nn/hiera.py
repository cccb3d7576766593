"""Hiera over video: attention within units, then between all tokens, on fewer and wider tokens from stage to stage.

Tokens are kept as n clips x u units x m tokens of a unit. Within a unit every four neighbors of one frame follow each
other, and so do every four of those fours: to halve height and width is then to take the maximum of four in a row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.nn.attention import Mlp
from vitascope.nn.configs.hiera import CHANNELS, KERNEL, MLP_RATIO, PADDING, STRIDE, HieraBlockConfig, HieraConfig
from vitascope.nn.configs.video_vit import Grid
from vitascope.nn.positions import linear_bicubic

EPS = 1e-6
UNTRAINED_BIAS = 0.02
"""Of the norm that a masked autoencoder's file lacks: what the official loader leaves it at."""


def to_units(x: Float[Tensor, "n t h w d"], levels: int) -> Float[Tensor, "n u m d"]:
    """A grid as units of 2 ** levels x 2 ** levels tokens of one frame, fours of neighbors together."""
    n, t, h, w, d = x.shape
    side = 2**levels
    halves = [2] * levels
    x = x.reshape(n, t, h // side, *halves, w // side, *halves, d)
    rows, columns = range(3, 3 + levels), range(4 + levels, 4 + 2 * levels)
    inner = [axis for pair in zip(rows, columns, strict=True) for axis in pair]
    x = x.permute(0, 1, 2, 3 + levels, *inner, 4 + 2 * levels)
    return x.reshape(n, t * (h // side) * (w // side), 4**levels, d)


def to_grid(x: Float[Tensor, "n u m d"], units: Grid) -> Float[Tensor, "n t h w d"]:
    """The inverse of `to_units`, for `units` along time, height and width."""
    levels = (x.shape[2].bit_length() - 1) // 2
    x = x.reshape(len(x), *units, *[2, 2] * levels, -1)
    rows, columns = range(4, 4 + 2 * levels, 2), range(5, 5 + 2 * levels, 2)
    x = x.permute(0, 1, 2, *rows, 3, *columns, 4 + 2 * levels)
    t, h, w = units
    return x.reshape(len(x), t, h * 2**levels, w * 2**levels, -1)


def halve(x: Float[Tensor, "n u m d"]) -> Float[Tensor, "n u l d"]:
    """The maximum of every four neighbors."""
    n, u, m, d = x.shape
    return x.reshape(n, u, m // 4, 4, d).amax(3)


class UnitAttention(nn.Module):
    """Multi-head attention within units or between all tokens, to another width; queries may be pooled first."""

    def __init__(self, layer: HieraBlockConfig) -> None:
        super().__init__()
        self.layer = layer
        self.qkv = nn.Linear(layer.dim, 3 * layer.out)
        self.proj = nn.Linear(layer.out, layer.out)

    def forward(self, x: Float[Tensor, "n u m d"], pool: bool) -> Float[Tensor, "n u l e"]:
        """A token for every query."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = halve(q) if pool else q
        shape = q.shape
        # units are a batch of their own where attention stays within them, else one sequence
        q, k, v = (y.flatten(0, 1) if self.layer.local else y.flatten(1, 2) for y in (q, k, v))
        q, k, v = (y.unflatten(-1, (self.layer.heads, -1)).transpose(1, 2) for y in (q, k, v))
        mixed: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(shape))
        return mixed


class HieraBlock(nn.Module):
    """Attention and MLP, each after a norm and added to what came in, which the first of a stage widens and pools."""

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
        """One block, in a trunk that pools between its first `pools` + 1 stages."""
        pool = self.layer.first and self.layer.stage <= pools
        y = self.norm1(x)
        if self.layer.first:
            x = halve(self.proj(y)) if pool else self.proj(y)
        x = x + self.attn(y, pool)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ConvPatchEmbed(nn.Module):
    """Overlapping blocks of pixels to tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(CHANNELS, dim, KERNEL, STRIDE, PADDING)

    def forward(self, clips: Float[Tensor, "n 3 f y x"]) -> Float[Tensor, "n t h w d"]:
        """A grid of tokens."""
        grid: Tensor = self.proj(clips).permute(0, 2, 3, 4, 1)
        return grid


class Hiera(nn.Module):
    """Video Hiera; parameters are named as in the published models."""

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
        """Tokens and summary, of the last stage or of all stages fused."""
        if self.shape.features == "fused":
            fused = self.fused(clips)
            return fused, fused.mean((1, 2, 3))
        grid = self.last(clips)
        return grid, self.final_norm(grid.mean((1, 2, 3)))

    def parts(self, clips: Float[Tensor, "n 3 f y x"]) -> dict[str, Tensor]:
        """Everything that this network says of clips, by the names that the field uses."""
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

    def last(self, clips: Float[Tensor, "n 3 f y x"]) -> Float[Tensor, "n t h w d"]:
        """Tokens of the last stage, one a unit, not normalized."""
        return self.stages(clips, self.shape.levels)[-1]

    def fused(self, clips: Float[Tensor, "n 3 f y x"]) -> Float[Tensor, "n t h w d"]:
        """The stages brought to four tokens a unit, summed and normalized: what the autoencoder's decoder gets."""
        *early, last = self.stages(clips, self.shape.levels - 1)
        for head, stage in zip(self.multi_scale_fusion_heads, early[:-1], strict=True):
            last = last + head(stage.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
        normed: Tensor = self.encoder_norm(last)
        return normed

    def final_norm(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The norm of the summary; an untrained one for the weights of an autoencoder, which have none."""
        if self.shape.fusion:
            return F.layer_norm(x, x.shape[-1:], eps=EPS) + UNTRAINED_BIAS
        y: Tensor = self.norm(x)
        return y

    def stages(self, clips: Float[Tensor, "n 3 f y x"], pools: int) -> list[Float[Tensor, "n t h w d"]]:
        """What each stage ends with, in a trunk that halves height and width `pools` times."""
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
        """ValueError where units do not fill clips of `shape`."""
        t, y, x = shape[2:]
        frames, side = self.shape.tubelet, self.shape.patch
        if t % frames or y % side or x % side or 0 in shape:
            raise UserError(
                f"clips of {t} frames and {y} x {x} pixels do not divide into blocks of {frames} x {side} x {side}; "
                "resize them or change the frame count"
            )

    def positions(self, grid: Grid) -> Float[Tensor, "t h w d"]:
        """Table of the frames plus table of the places. For other grids than the weights' they are resampled (linear,
        bicubic), which the official code does not offer."""
        (t, h, w), (new_t, new_h, new_w) = self.shape.grid, grid
        space: Tensor = self.pos_embed_spatial
        time: Tensor = self.pos_embed_temporal
        if grid != self.shape.grid:
            space = linear_bicubic(space.float(), (1, h, w), (1, new_h, new_w))
            time = linear_bicubic(time.float(), (t, 1, 1), (new_t, 1, 1))
        return time.reshape(new_t, 1, 1, -1) + space.reshape(1, new_h, new_w, -1)
