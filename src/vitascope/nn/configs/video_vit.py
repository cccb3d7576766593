"""Config of the video transformer, used by most published models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from vitascope.nn.configs.base import match_prefix, replace_fields
from vitascope.nn.configs.block import Activation, BlockConfig

Grid: TypeAlias = tuple[int, int, int]
"""Tokens along time, height and width."""
Positions: TypeAlias = Literal["sincos3d_d4", "sinusoid_flat", "stored", "rope3d"]
Pool: TypeAlias = Literal["mean", "mean_then_norm", "mean_then_poolnorm", "attention"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoViTConfig:
    """Options of a video transformer."""

    dim: int
    """Width of the tokens."""
    depth: int
    """Number of blocks."""
    heads: int
    """Number of attention heads."""
    mlp: int
    """Hidden width of the MLP."""
    patch: int = 16
    """Side of a patch, pixels."""
    tubelet: int = 2
    """Frames per token."""
    grid: Grid = (8, 14, 14)
    """Token grid of the position table in the weights; inputs may have another."""
    positions: Positions = "sincos3d_d4"
    """One of two sine-cosine tables, a table in the weights, or rotary positions in every block."""
    resample: Literal["linear_bicubic", "trilinear"] = "linear_bicubic"
    """Interpolation of a position table to other token grids."""
    rope: Literal["tiled", "interleaved"] = "interleaved"
    """Order of the rotary frequencies over the interleaved channel pairs."""
    rope_grid: int = 0
    """Number of rows and columns that rotary positions are scaled to; 0: no scaling."""
    cls: bool = False
    """True if there is a class token; a stored position table then has a row for it."""
    eps: float = 1e-6
    """Epsilon of all norms."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    """Normalization layer of the blocks."""
    qkv_bias: bool = True
    """True if queries, keys and values have a bias."""
    qk_norm: bool = False
    """RMSNorm of queries and keys, jointly over all heads."""
    layer_scale: bool = False
    """A learned factor per channel on the output of attention and MLP."""
    act: Activation = "gelu"
    """Activation of the MLP."""
    final_norm: bool = True
    """True if there is a norm after the last block."""
    pool: Pool = "mean"
    """Pooling: mean of the final tokens, the same with an additional norm (`mean_then_poolnorm`), the final norm of the
    mean of the last block's output (`mean_then_norm`), or attention with the mean token as query (`attention`)."""
    pool_heads: int = 16
    """Heads of attention pooling."""
    pool_dim: int = 768
    """Output width of attention pooling."""
    image: Literal["repeat", "first", "mean", "stored", "embed"] = "repeat"
    """Treatment of images: `repeat` the frame, use the `first` time step or the `mean` over time of the position table,
    a separate `stored` table, or a separate patch embedding with a learned modality vector (`embed`)."""

    @property
    def block(self) -> BlockConfig:
        """Config of the blocks."""
        return BlockConfig(
            dim=self.dim,
            heads=self.heads,
            mlp=self.mlp,
            eps=self.eps,
            norm=self.norm,
            qkv_bias=self.qkv_bias,
            qk_norm=self.qk_norm,
            layer_scale=self.layer_scale,
            act=self.act,
        )

    @property
    def width(self) -> int:
        """Width of the tokens."""
        return self.dim

    @property
    def out(self) -> int:
        """Width of the pooled vector."""
        return self.pool_dim if self.pool == "attention" else self.dim

    @property
    def input(self) -> tuple[int, int]:
        """Number of frames and side in pixels of the clips that the position table is for."""
        return self.grid[0] * self.tubelet, self.grid[1] * self.patch

    @property
    def params(self) -> int:
        """Number of parameters, including stored but not fixed position tables."""
        t, h, w = self.grid
        d = self.dim
        embed = 3 * self.tubelet * self.patch**2 * d + d
        table = (t * h * w + self.cls) * d if self.positions == "stored" else 0
        norms = 2 * d * (self.final_norm + (self.pool == "mean_then_poolnorm"))
        pool = 3 * (d * d + 3 * d) + (d + 1) * self.pool_dim if self.pool == "attention" else 0
        image = {"stored": (h * w + self.cls) * d, "embed": 3 * self.patch**2 * d + 3 * d}.get(self.image, 0)
        return embed + self.cls * d + table + self.depth * self.block.params + norms + pool + image

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds for one clip in convolutions, matrix products and attention; an image is a clip of one frame.

        As in papers, norms, activations, biases and resampling of position tables are not counted.
        """
        tubelet = 1 if frames == 1 and self.image == "embed" else self.tubelet
        patches = max(frames // tubelet, 1) * (size // self.patch) ** 2
        tokens, d = patches + self.cls, self.dim
        embed = patches * 3 * tubelet * self.patch**2 * d
        pool = (2 * tokens + 1) * d**2 + 2 * tokens * d + d * self.pool_dim if self.pool == "attention" else 0
        return embed + self.depth * self.block.macs(tokens) + pool

    def updated(self, values: Mapping[str, Any]) -> VideoViTConfig:
        """This config with values of a published config.

        `frames` and `img` (pixels) determine the token grid, `mlp_ratio` the hidden width unless `mlp_hidden` is given.
        `pos`, a description of the position embedding, is ignored: the variant defines it.
        """
        new = dict(values)
        for theirs, ours in (("mlp_hidden", "mlp"), ("clip_dim", "pool_dim")):
            if theirs in new:
                new[ours] = new.pop(theirs)
        if "mlp" not in new and "mlp_ratio" in new:
            new["mlp"] = int(
                new.get("dim", self.dim) * new["mlp_ratio"]
            )  # truncated as in the official code: 220 * 48/11 is 959
        if "norm" in new:
            new["norm"] = match_prefix(new["norm"], {"rmsnorm": "rmsnorm", "layernorm": "layernorm"}, "norm")
        if new.get("pool") not in get_args(Pool):  # a description of pooling, which the variant defines
            new.pop("pool", None)
        new |= {key: new[key] not in (False, "none") for key in ("qkv_bias", "qk_norm") if key in new}
        if isinstance(new.get("grid"), list):
            new["grid"] = tuple(new["grid"])
        tubelet, patch = new.get("tubelet", self.tubelet), new.get("patch", self.patch)
        t, h, w = new.get("grid", self.grid)
        if frames := new.get("ckpt_frames") or new.get("frames"):
            t = max(frames // tubelet, 1)
        if side := new.get("img"):
            h, w = (s // patch for s in ((side, side) if isinstance(side, int) else side))
        return replace_fields(self, {**new, "grid": (t, h, w)}, ("frames", "ckpt_frames", "img", "mlp_ratio", "pos"))
