"""Configurable image transformer, from normalized images to a token grid and a pooled vector."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.nn.attention import Attention, Block, Mlp, Rope
from vitascope.nn.block_layout import BlockLayout
from vitascope.nn.configs.image_vit import ImageViTConfig
from vitascope.nn.network import Network

Plane = tuple[int, int]
"""Rows and columns of a token grid."""


class MapHead(nn.Module):
    """Attention pooling with a learned query, followed by a residual MLP (SigLIP, PE)."""

    def __init__(self, shape: ImageViTConfig) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.zeros(1, 1, shape.dim))
        self.attn = Attention(shape.dim, shape.head_heads or shape.heads)
        self.norm = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.mlp = Mlp(shape.dim, shape.head_mlp, shape.act)

    def forward(self, x: Float[Tensor, "n l d"]) -> Float[Tensor, "n d"]:
        """Pool a sequence into one vector."""
        heads, d = self.attn.heads, x.shape[-1]
        weight, bias = self.attn.qkv.weight, self.attn.qkv.bias
        q = F.linear(self.probe.to(x.dtype), weight[:d], bias[:d]).expand(len(x), -1, -1)
        k, v = F.linear(x, weight[d:], bias[d:]).chunk(2, -1)
        q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (q, k, v))
        pooled = self.attn.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        pooled = pooled + self.mlp(self.norm(pooled))
        return pooled[:, 0]  # type: ignore[no-any-return]


class ImageViT(Network):
    """Pre-norm image transformer; published models differ only in the options of `ImageViTConfig`."""

    shape: ImageViTConfig

    def __init__(self, shape: ImageViTConfig) -> None:
        super().__init__()
        self.shape = shape
        d, patch = shape.dim, shape.patch
        self.patch_embed = nn.Conv2d(3, d, patch, patch, bias=shape.patch_bias)
        if shape.cls:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, d))
        if shape.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, shape.registers, d))
        if shape.table != "none":
            self.pos_embed = nn.Parameter(torch.zeros(1, shape.cls + (shape.side // patch) ** 2, d))
        if shape.rope == "centered":
            self.register_buffer("periods", torch.zeros(d // shape.heads // 4))
        self.norm_pre = nn.LayerNorm(d, eps=shape.eps) if shape.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList([Block(shape.block) for _ in range(shape.depth)])
        self.norm = nn.LayerNorm(d, eps=shape.eps) if shape.final_norm else nn.Identity()
        if shape.head == "map":
            self.head = MapHead(shape)
        if shape.project:
            self.proj = nn.Linear(d, shape.project, bias=False)

    def tables(self) -> dict[str, Tensor]:
        """The periods of DINOv3's rotary positions, which not all weight files contain."""
        if self.shape.rope != "centered":
            return {}
        return {"periods": self._periods(torch.device("cpu"))}

    def forward(self, images: Float[Tensor, "n 3 y x"]) -> tuple[Float[Tensor, "n h w d"], Float[Tensor, "n c"]]:
        """Patch tokens after the final norm, and the pooled vector."""
        x, plane = self.trunk(images)
        tokens = self.norm(x)
        return self._patches(tokens).unflatten(1, plane), self._projected(self._pooled(tokens))

    def parts(self, images: Float[Tensor, "n 3 y x"]) -> dict[str, Tensor]:
        """All outputs of the network by their usual names.

        `sequence` holds class token, registers and patches, like `last_hidden_state` in transformers: before the final
        norm if the class token is projected (CLIP), otherwise after it. `pooler` and `pooled_noproj` are the pooled
        vector before projection; `cls_width` is CLIP's name for the class token.
        """
        x, _ = self.trunk(images)
        tokens = self.norm(x)
        vector = self._pooled(tokens)
        clip = self.shape.cls and self.shape.head == "cls" and self.shape.project
        parts = {
            "tokens": self._patches(tokens),
            "tokens_prenorm": self._patches(x),
            "sequence": x if clip else tokens,
            "pooled": self._projected(vector),
            "pooled_noproj": vector,
            "pooler": vector,
        }
        if self.shape.cls:
            parts |= {"cls": tokens[:, 0], "cls_width": tokens[:, 0]}
        if self.shape.registers:
            first = int(self.shape.cls)
            parts["registers"] = tokens[:, first : first + self.shape.registers]
        return parts

    def trunk(self, images: Float[Tensor, "n 3 y x"]) -> tuple[Float[Tensor, "n l d"], Plane]:
        """The token sequence (class token, registers, patches) before the final norm, and the patch grid."""
        plane = self.plane(images.shape)
        x = self.patch_embed(images).flatten(2).transpose(1, 2)
        first = int(self.shape.cls)
        if first:
            x = torch.cat([self.cls_token.to(x.dtype).expand(len(x), -1, -1), x], dim=1)
        if self.shape.table != "none":
            x = x + self.positions(plane).to(x.dtype)
        if self.shape.registers:
            x = torch.cat([x[:, :first], self.register_tokens.to(x.dtype).expand(len(x), -1, -1), x[:, first:]], dim=1)
        x = self.norm_pre(x)
        rope = self._rope(plane)
        for block in self.blocks:
            x = block(x, rope)
        return x, plane

    def plane(self, shape: torch.Size) -> Plane:
        """Rows and columns of patches in images of `shape`; raises UserError if they are not divisible into patches.

        At the network's own image size, a remainder at the right and bottom is ignored, as in the official code (384
        pixels in patches of 14).
        """
        _, channels, y, x = shape
        side, patch = self.shape.side, self.shape.patch
        if channels != 3 or not y or not x or any(n % patch and n != side for n in (y, x)):
            raise UserError(
                f"images of {y} x {x} pixels and {channels} channels do not divide into patches of "
                f"{patch} x {patch} pixels and 3 channels; resize them"
            )
        return y // patch, x // patch

    def positions(self, plane: Plane) -> Float[Tensor, "1 l d"]:
        """The position table, class token first, resampled to `plane` as in the official code of the family."""
        own = self.shape.side // self.shape.patch
        if plane == (own, own):
            return self.pos_embed
        cls, rows = self.pos_embed[:, : int(self.shape.cls)], self.pos_embed[:, int(self.shape.cls) :]
        square = rows.float().unflatten(1, (own, own)).permute(0, 3, 1, 2)
        if self.shape.table == "bicubic_offset":
            factors = [
                (n + 0.1) / own for n in plane
            ]  # as in the official code: sizes are exact, positions slightly off
            square = F.interpolate(square, scale_factor=factors, mode="bicubic")
        else:
            mode, _, antialias = self.shape.table.partition("_")
            square = F.interpolate(square, size=plane, mode=mode, antialias=bool(antialias))
        return torch.cat([cls, square.flatten(2).transpose(1, 2)], dim=1)

    def _rope(self, plane: Plane) -> Rope | None:
        if self.shape.rope == "none":
            return None
        before = int(self.shape.cls) + self.shape.registers
        if self.shape.rope == "centered":
            return centered(plane, cast(Tensor, self.periods).float(), before)
        return counted(plane, self._periods(self.patch_embed.weight.device), before)

    def _periods(self, device: torch.device) -> Float[Tensor, "q"]:
        quarter = self.shape.dim // self.shape.heads // 4
        return self.shape.rope_base ** (torch.arange(quarter, device=device) / quarter)

    def block_layout(self) -> BlockLayout:
        """Its blocks; class token and registers come before the patches."""
        return BlockLayout(tuple(self.blocks), int(self.shape.cls) + self.shape.registers)

    def _patches(self, x: Float[Tensor, "n l d"]) -> Float[Tensor, "n m d"]:
        return x[:, int(self.shape.cls) + self.shape.registers :]

    def _pooled(self, tokens: Float[Tensor, "n l d"]) -> Float[Tensor, "n d"]:
        if self.shape.head == "map":
            return self.head(tokens)  # type: ignore[no-any-return]
        if self.shape.head == "cls":
            return tokens[:, 0]
        return (tokens if self.shape.head == "all" else self._patches(tokens)).mean(1)

    def _projected(self, vector: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        return self.proj(vector) if self.shape.project else vector


def centered(plane: Plane, periods: Float[Tensor, "q"], before: int) -> Rope:
    """Rotary embedding of patch centers in [-1, 1], row then column; channels i and i + d / 2 form pairs (DINOv3).

    The first `before` tokens have no position and are not rotated.
    """
    places = [(torch.arange(n, device=periods.device) + 0.5) / n * 2 - 1 for n in plane]
    row, column = torch.meshgrid(*places, indexing="ij")
    angle = torch.cat([2 * math.pi * place.reshape(-1, 1) / periods for place in (row, column)], dim=1).repeat(1, 2)
    angle = F.pad(angle, (0, 0, before, 0))
    return Rope(angle.cos(), angle.sin(), pairs=False)


def counted(plane: Plane, periods: Float[Tensor, "q"], before: int) -> Rope:
    """Rotary embedding of column, then row indices, from 0, or from 1 if a class token has position 0 (PE)."""
    places = [torch.arange(n, device=periods.device) + min(before, 1) for n in plane]
    row, column = torch.meshgrid(*places, indexing="ij")
    angle = torch.cat([place.reshape(-1, 1) / periods.repeat_interleave(2) for place in (column, row)], dim=1)
    angle = F.pad(angle, (0, 0, before, 0))
    return Rope(angle.cos(), angle.sin(), pairs=True)
