"""VideoPrism: a spatial transformer over each frame, then a temporal transformer over each position."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.nn.attention import Attention, Block, Rope
from vitascope.nn.block_layout import BlockLayout
from vitascope.nn.configs.video_vit import Grid
from vitascope.nn.configs.videoprism import VideoPrismConfig
from vitascope.nn.network import Network
from vitascope.nn.video_vit import PatchEmbed


class CappedAttention(Attention):
    """Self-attention with soft-capped logits cap * tanh(x / cap), which fused kernels lack; softmax in float32."""

    def __init__(self, dim: int, heads: int, cap: float) -> None:
        super().__init__(dim, heads)
        self.cap = cap

    def forward(self, x: Float[Tensor, "n l d"], rope: Rope | None = None) -> Float[Tensor, "n l d"]:
        """Attend over all tokens; `rope` is ignored."""
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        logits = q * q.shape[-1] ** -0.5 @ k.transpose(2, 3)
        capped = self.cap * (logits / self.cap).tanh() if self.cap else logits
        weights = capped.softmax(-1, dtype=torch.float32).to(v.dtype)
        mixed: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return mixed


def resample(rows: Float[Tensor, "1 l d"], old: tuple[int, int], new: tuple[int, int]) -> Float[Tensor, "1 m d"]:
    """Resample an h x w table bilinearly with antialiasing, like `jax.image.resize`."""
    if old == new:
        return rows
    plane = rows.float().unflatten(1, old).permute(0, 3, 1, 2)
    return F.interpolate(plane, size=new, mode="bilinear", antialias=True).flatten(2).transpose(1, 2)


class VideoPrism(Network):
    """Factorized video transformer with learned spatial and temporal positions and no class token."""

    shape: VideoPrismConfig

    def __init__(self, shape: VideoPrismConfig) -> None:
        super().__init__()
        self.shape = shape
        t, h, w = shape.grid
        self.patch_embed = PatchEmbed(shape.dim, 1, shape.patch)
        self.spatial_pos = nn.Parameter(torch.zeros(1, h * w, shape.dim))
        self.spatial = nn.ModuleList([self._block() for _ in range(shape.spatial)])
        self.spatial_norm = nn.LayerNorm(shape.dim, eps=shape.block.eps)
        self.temporal_pos = nn.Parameter(torch.zeros(1, t, shape.dim))
        self.temporal = nn.ModuleList([self._block() for _ in range(shape.temporal)])
        self.temporal_norm = nn.LayerNorm(shape.dim, eps=shape.block.eps)

    def _block(self) -> Block:
        block = Block(self.shape.block)
        block.attn = CappedAttention(self.shape.dim, self.shape.heads, self.shape.cap)
        return block

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> tuple[Float[Tensor, "n t h w d"], Float[Tensor, "n d"]]:
        """Token grid and its mean, as the video encoders have no pooling of their own."""
        spatial, grid = self.over_space(clips)
        tokens = self.over_time(spatial)
        return tokens.unflatten(1, grid), tokens.mean(1)

    def parts(self, clips: Float[Tensor, "n 3 t y x"]) -> dict[str, Tensor]:
        """All outputs of the network by their usual names."""
        places, grid = self.over_space(clips)
        tokens = self.over_time(places)
        return {
            "grid": torch.tensor(grid),
            "tokens": tokens,
            "spatial_tokens": places.flatten(1, 2),
            "pooled": tokens.mean(1),
        }

    def block_layout(self) -> BlockLayout:
        """Its spatial blocks, on each frame, then its temporal blocks, on each position."""
        return BlockLayout((*self.spatial, *self.temporal))

    def over_space(self, clips: Float[Tensor, "n 3 t y x"]) -> tuple[Float[Tensor, "n t l d"], Grid]:
        """Spatial tokens of each frame, and the token grid; raises UserError if patches do not fill the frames."""
        n, _, t, height, width = clips.shape
        side = self.shape.patch
        if height % side or width % side or 0 in clips.shape:
            raise UserError(
                f"clips of {t} frames and {height} x {width} pixels do not divide into patches of {side} x {side}; "
                "resize them"
            )
        grid = (t, height // side, width // side)
        x = self.patch_embed(clips).unflatten(1, (t, -1)).flatten(0, 1)
        x = x + resample(self.spatial_pos, self.shape.grid[1:], grid[1:]).to(x.dtype)
        for block in self.spatial:
            x = block(x)
        return self.spatial_norm(x).unflatten(0, (n, t)), grid

    def over_time(self, places: Float[Tensor, "n t l d"]) -> Float[Tensor, "n m d"]:
        """Apply the temporal transformer to each position; tokens in (t, h, w) order."""
        times = resample(self.temporal_pos, (self.shape.grid[0], 1), (places.shape[1], 1))
        x = places.transpose(1, 2).flatten(0, 1) + times.to(places.dtype)
        for block in self.temporal:
            x = block(x)
        tokens: Tensor = self.temporal_norm(x).unflatten(0, (len(places), -1)).transpose(1, 2).flatten(1, 2)
        return tokens
