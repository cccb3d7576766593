"""Configurable video transformer, from normalized clips to a token grid and a pooled vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.nn.attention import AttentionPool, Block, LayerScale, Rope
from vitascope.nn.block_layout import BlockLayout
from vitascope.nn.configs.video_vit import Grid, VideoViTConfig
from vitascope.nn.network import Network
from vitascope.nn.positions import RESAMPLE, rope3d, table


class PatchEmbed(nn.Module):
    """Linear embedding of tubelet x patch x patch blocks, as a strided convolution."""

    def __init__(self, dim: int, tubelet: int, patch: int) -> None:
        super().__init__()
        block = (tubelet, patch, patch)
        self.proj = nn.Conv3d(3, dim, block, block)

    def forward(self, clips: Float[Tensor, "n 3 f y x"]) -> Float[Tensor, "n l d"]:
        """Tokens in (t, h, w) order."""
        tokens: Tensor = self.proj(clips).flatten(2).transpose(1, 2)
        return tokens


class VideoViT(Network):
    """Pre-norm video transformer with the parameter names of published models.

    Published models differ only in the options of `VideoViTConfig`.
    """

    shape: VideoViTConfig

    def __init__(self, shape: VideoViTConfig) -> None:
        super().__init__()
        self.shape = shape
        d, (t, h, w) = shape.dim, shape.grid
        self.patch_embed = PatchEmbed(d, shape.tubelet, shape.patch)
        if shape.cls:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, d))
        self._make_table(shape.cls + t * h * w)
        if shape.image == "stored":
            self.img_pos_embed = nn.Parameter(torch.zeros(1, shape.cls + h * w, d))
        if shape.image == "embed":
            self.patch_embed_img = PatchEmbed(d, 1, shape.patch)
            self.img_mod_embed = nn.Parameter(torch.zeros(1, 1, d))
            self.video_mod_embed = nn.Parameter(torch.zeros(1, 1, d))
        self.blocks = nn.ModuleList([Block(shape.block) for _ in range(shape.depth)])
        self.norm = nn.LayerNorm(d, eps=shape.eps) if shape.final_norm else nn.Identity()
        if shape.pool == "mean_then_poolnorm":
            self.pool_norm = nn.LayerNorm(d, eps=shape.eps)
        if shape.pool == "attention":
            self.pool = AttentionPool(d, shape.pool_heads, shape.pool_dim)

    def tables(self) -> dict[str, Tensor]:
        """The fixed position table by its parameter name; weight files may or may not contain it."""
        if self.shape.positions in ("stored", "rope3d"):
            return {}
        rows = table(self.shape.positions, self.shape.grid, self.shape.dim)[None]
        cls = torch.zeros(1, int(self.shape.cls), self.shape.dim)
        return {"pos_embed": torch.cat([cls, rows], dim=1)}

    def _make_table(self, count: int) -> None:
        rows = torch.zeros(1, count, self.shape.dim)
        if self.shape.positions == "stored":
            self.pos_embed = nn.Parameter(rows)
        elif self.shape.positions != "rope3d":
            self.register_buffer("pos_embed", rows)

    def adopt(self, state: Mapping[str, Tensor]) -> str:
        """Adopt layer scale and the number of time steps of the position table in `state`, and describe the changes.

        Fine-tuning with layer scale, or on longer clips, produces such files. Rows and columns identify the variant and
        do not change.
        """
        return "; ".join(filter(None, (self._adopt_layer_scale(state), self._adopt_steps(state))))

    def _adopt_layer_scale(self, state: Mapping[str, Tensor]) -> str:
        if self.shape.layer_scale or "blocks.0.ls1.gamma" not in state:
            return ""
        self.shape = replace(self.shape, layer_scale=True)
        with torch.device("meta"):
            for block in self.blocks:
                block.ls1, block.ls2 = LayerScale(self.shape.dim), LayerScale(self.shape.dim)
        return "with layer scale"

    def _adopt_steps(self, state: Mapping[str, Tensor]) -> str:
        rows, (t, h, w), d = state.get("pos_embed"), self.shape.grid, self.shape.dim
        count = 0 if rows is None or self.shape.positions == "rope3d" else rows.numel() // d
        steps, left = divmod(count - self.shape.cls, h * w)
        if rows is None or left or steps in (-1, 0, t) or [n for n in rows.shape if n != 1] != [count, d]:
            return ""
        self.shape = replace(self.shape, grid=(steps, h, w))
        with torch.device("meta"):
            self._make_table(count)
        return f"position table with {steps} time steps instead of {t}"

    def forward(self, clips: Float[Tensor, "n 3 f y x"]) -> tuple[Float[Tensor, "n t h w d"], Float[Tensor, "n c"]]:
        """Token grid and pooled vector."""
        x, grid = self.trunk(clips)
        tokens = self.norm(x)
        return self._patches(tokens).unflatten(1, grid), self._pooled(x, tokens)

    def parts(self, clips: Float[Tensor, "n 3 f y x"]) -> dict[str, Tensor]:
        """All outputs of the network by their usual names."""
        x, grid = self.trunk(clips)
        tokens = self.norm(x)
        patches = self._patches(tokens)
        frames = patches.unflatten(1, (grid[0], -1)).mean(2)
        parts = {
            "grid": torch.tensor(grid),
            "tokens": patches,
            "tokens_prenorm": self._patches(x),
            "pooled": self._pooled(x, tokens),
            "pooled_mean_of_norm": patches.mean(1),
            "pooled_per_frame": self.pool_norm(frames) if self.shape.pool == "mean_then_poolnorm" else frames,
        }
        if self.shape.cls:
            parts["cls"] = tokens[:, 0]
        if self.shape.positions != "rope3d":
            parts["pos_embed"] = cast(Tensor, self.pos_embed)
        return parts

    def trunk(self, clips: Float[Tensor, "n 3 f y x"]) -> tuple[Float[Tensor, "n l d"], Grid]:
        """The token sequence (class token, patches) before the final norm, and the token grid."""
        shape, still = self.shape, clips.shape[2] == 1
        if still and shape.image != "embed":
            clips = clips.expand(-1, -1, shape.tubelet, -1, -1)
        grid = self.grid(clips.shape, tubelet=1 if still and shape.image == "embed" else shape.tubelet)
        x = (self.patch_embed_img if still and shape.image == "embed" else self.patch_embed)(clips)
        if shape.image == "embed":
            x = x + (self.img_mod_embed if still else self.video_mod_embed)
        if shape.cls:
            x = torch.cat([self.cls_token.to(x.dtype).expand(len(x), -1, -1), x], dim=1)
        if shape.positions != "rope3d":
            x = x + self.positions(grid).to(x.dtype)
        rope = self._rope(grid, x.device)
        for block in self.blocks:
            x = block(x, rope)
        return x, grid

    def grid(self, shape: torch.Size, *, tubelet: int) -> Grid:
        """The token grid of clips of `shape`; raises UserError if they are not divisible into blocks."""
        _, channels, t, y, x = shape
        patch = self.shape.patch
        if channels != 3 or t % tubelet or y % patch or x % patch or 0 in shape[1:]:
            raise UserError(
                f"clips of {t} frames, {y} x {x} pixels and {channels} channels do not divide into "
                f"{tubelet} x {patch} x {patch} blocks of 3 channels; resize them or change the frame count"
            )
        return t // tubelet, y // patch, x // patch

    def positions(self, grid: Grid) -> Float[Tensor, "1 l d"]:
        """The position table, class token first, resampled to `grid` if needed."""
        own, rows = self.shape.grid, cast(Tensor, self.pos_embed)
        still = self.shape.image if grid[0] == 1 else ""
        if still == "stored":
            own, rows = (1, *own[1:]), self.img_pos_embed
        cls, rows = rows[:, : int(self.shape.cls)], rows[:, int(self.shape.cls) :]
        if still in ("first", "mean"):
            steps = rows.unflatten(1, (own[0], -1))
            own, rows = (1, *own[1:]), steps[:, 0] if still == "first" else steps.mean(1)
        if grid == own:
            return torch.cat([cls, rows], dim=1)
        return torch.cat([cls, RESAMPLE[self.shape.resample](rows.float(), own, grid)], dim=1)

    def _rope(self, grid: Grid, device: torch.device) -> Rope | None:
        if self.shape.positions != "rope3d":
            return None
        width = self.shape.dim // self.shape.heads
        rope = rope3d(grid, width, tiled=self.shape.rope == "tiled", scaled_to=self.shape.rope_grid)
        return Rope(rope.cos.to(device), rope.sin.to(device), rope.pairs)

    def block_layout(self) -> BlockLayout:
        """Its blocks; a class token comes before the patches."""
        return BlockLayout(tuple(self.blocks), int(self.shape.cls))

    def _patches(self, x: Float[Tensor, "n l d"]) -> Float[Tensor, "n m d"]:
        return x[:, int(self.shape.cls) :]

    def _pooled(self, x: Float[Tensor, "n l d"], tokens: Float[Tensor, "n l d"]) -> Float[Tensor, "n c"]:
        if self.shape.pool == "attention":
            return self.pool(x)  # type: ignore[no-any-return]
        if self.shape.pool == "mean_then_norm":
            return self.norm(self._patches(x).mean(1))  # type: ignore[no-any-return]
        mean = self._patches(tokens).mean(1)
        return self.pool_norm(mean) if self.shape.pool == "mean_then_poolnorm" else mean


def random_vit(shape: VideoViTConfig, generator: torch.Generator) -> VideoViT:
    """A network with random weights: truncated normal with standard deviation 0.02, biases 0 and norms 1.

    On the CPU, or within `torch.device("meta")` there, without memory for them.
    """
    device = "meta" if torch.get_default_device().type == "meta" else "cpu"
    with torch.device("meta"):
        model = VideoViT(shape)
    model = model.to_empty(device=device).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04, generator=generator)
        else:
            nn.init.constant_(parameter, float("norm" in name and name.endswith("weight")))
    for name, rows in model.tables().items():
        model.register_buffer(name, rows)
    return model
