"""The video transformer that serves most published models, as plain numbers and flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from vitascope.nn.configs.base import changed, start
from vitascope.nn.configs.block import Activation, BlockConfig

Grid: TypeAlias = tuple[int, int, int]
"""Tokens along time, height and width."""
Positions: TypeAlias = Literal["sincos3d_d4", "sinusoid_flat", "stored", "rope3d"]
Pool: TypeAlias = Literal["mean", "mean_then_norm", "mean_then_poolnorm", "attention"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoViTConfig:
    """What makes one video transformer differ from another."""

    dim: int
    depth: int
    heads: int
    mlp: int
    """Hidden width of the MLP."""
    patch: int = 16
    """Side of a token, pixels."""
    tubelet: int = 2
    """Frames of a token."""
    grid: Grid = (8, 14, 14)
    """Of the position table of the weights, not of the input."""
    positions: Positions = "sincos3d_d4"
    """Sines and cosines of one of two kinds, a table in the file, or rotary angles in every block."""
    resample: Literal["linear_bicubic", "trilinear"] = "linear_bicubic"
    """How a position table is brought to another grid."""
    rope: Literal["tiled", "interleaved"] = "interleaved"
    """Order of the frequencies against the interleaved pairs."""
    rope_grid: int = 0
    """Rows and columns are scaled to this many; 0 leaves them as they are."""
    cls: bool = False
    """Whether a class token comes first; the stored table then has a row for it."""
    eps: float = 1e-6
    """Of every norm."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    """Of the blocks."""
    qkv_bias: bool = True
    qk_norm: bool = False
    """RMSNorm of queries and keys over all heads together."""
    layer_scale: bool = False
    """A factor a channel on what attention and MLP add."""
    act: Activation = "gelu"
    final_norm: bool = True
    """Over the tokens after the last block."""
    pool: Pool = "mean"
    """The vector: mean of the final tokens, the same through a norm of its own (`mean_then_poolnorm`), the final norm
    of the mean of what comes out of the last block (`mean_then_norm`), or attention of the mean over all tokens."""
    pool_heads: int = 16
    """Of pooling by attention."""
    pool_dim: int = 768
    """Width of the vector that pooling by attention gives."""
    image: Literal["repeat", "first", "mean", "stored", "embed"] = "repeat"
    """Clips of one time step: nothing of their own, the first rows of the table, its mean over time, a table of their
    own, or a patch embedding of one frame and a vector that tells images from videos."""

    @property
    def block(self) -> BlockConfig:
        """Of every layer."""
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
        """Of the tokens."""
        return self.dim

    @property
    def out(self) -> int:
        """Width of the summary vector."""
        return self.pool_dim if self.pool == "attention" else self.dim

    @property
    def input(self) -> tuple[int, int]:
        """Frames and side in pixels of the position table's clips."""
        return self.grid[0] * self.tubelet, self.grid[1] * self.patch

    @property
    def params(self) -> int:
        """Numbers in the weights: stored position tables count, fixed ones that need no file do not."""
        t, h, w = self.grid
        d = self.dim
        embed = 3 * self.tubelet * self.patch**2 * d + d
        table = (t * h * w + self.cls) * d if self.positions == "stored" else 0
        norms = 2 * d * (self.final_norm + (self.pool == "mean_then_poolnorm"))
        pool = 3 * (d * d + 3 * d) + (d + 1) * self.pool_dim if self.pool == "attention" else 0
        image = {"stored": (h * w + self.cls) * d, "embed": 3 * self.patch**2 * d + 3 * d}.get(self.image, 0)
        return embed + self.cls * d + table + self.depth * self.block.params + norms + pool + image

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds of one clip in convolutions, matrix products and attention; a picture is a clip of one frame.

        Norms, activations, biases and the resampling of position tables are not counted, as papers do.
        """
        tubelet = 1 if frames == 1 and self.image == "embed" else self.tubelet
        patches = max(frames // tubelet, 1) * (size // self.patch) ** 2
        tokens, d = patches + self.cls, self.dim
        embed = patches * 3 * tubelet * self.patch**2 * d
        pool = (2 * tokens + 1) * d**2 + 2 * tokens * d + d * self.pool_dim if self.pool == "attention" else 0
        return embed + self.depth * self.block.macs(tokens) + pool

    def told(self, given: Mapping[str, Any]) -> VideoViTConfig:
        """With the numbers of a published configuration.

        `frames` and `img` (pixels) give the grid, `mlp_ratio` the hidden width where `mlp_hidden` does not. `pos`,
        which says in words where positions come from, changes nothing: the variant knows.
        """
        new = dict(given)
        for theirs, ours in (("mlp_hidden", "mlp"), ("clip_dim", "pool_dim")):
            if theirs in new:
                new[ours] = new.pop(theirs)
        if "mlp" not in new and "mlp_ratio" in new:
            new["mlp"] = int(new.get("dim", self.dim) * new["mlp_ratio"])  # as published code does: 220 * 48/11 is 959
        if "norm" in new:
            new["norm"] = start(new["norm"], {"rmsnorm": "rmsnorm", "layernorm": "layernorm"}, "norm")
        if new.get("pool") not in get_args(Pool):  # a sentence about pooling; which it is, the variant knows
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
        return changed(self, {**new, "grid": (t, h, w)}, ("frames", "ckpt_frames", "img", "mlp_ratio", "pos"))
