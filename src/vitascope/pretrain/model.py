"""The trained networks: an encoder that processes only the visible tokens, and small decoders that predict the rest."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitascope.core.errors import UserError
from vitascope.nn.attention import Block
from vitascope.nn.configs.block import BlockConfig
from vitascope.nn.configs.video_vit import Grid, VideoViTConfig
from vitascope.nn.positions import table
from vitascope.nn.video_vit import VideoViT, random_vit
from vitascope.pretrain.constants import constant

HEAD, WIDE = 32, 384
"""Channels per attention head of a decoder: 2 * HEAD if it is at least WIDE channels wide (which halves the softmax),
else HEAD, or HEAD // 2 if HEAD does not divide its width."""


def gather_tokens(rows: Float[Tensor, "n l d"], at: Int[Tensor, "n k"]) -> Float[Tensor, "n k d"]:
    """Select the rows of each example at its own indices `at`."""
    return rows.gather(1, at[..., None].expand(-1, -1, rows.shape[-1]))


def patchify(clips: Shaped[Tensor, "n 3 f y x"], tubelet: int, patch: int) -> Shaped[Tensor, "n l b"]:
    """Cut clips into tokens of pixels, in the order of the patch embedding's weights: channel, frame, row, column."""
    n, _, f, y, x = clips.shape
    split = clips.reshape(n, 3, f // tubelet, tubelet, y // patch, patch, x // patch, patch)
    return split.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(n, -1, 3 * tubelet * patch**2)


class Student(nn.Module):
    """A video transformer that encodes only the visible tokens of a clip.

    The trunk is the encoder that is exported. Cost scales with the visible tokens, including the patch embedding.
    """

    def __init__(self, shape: VideoViTConfig, generator: torch.Generator, *, checkpointing: bool = False) -> None:
        super().__init__()
        if shape.cls or shape.image in ("embed", "stored") or shape.positions == "rope3d":
            raise UserError("pretraining needs a trunk without class token, rotary positions and image-only parameters")
        if shape.pool not in ("mean", "mean_then_norm"):
            raise UserError(f"pool {shape.pool!r}: pretraining does not train this pooling; use 'mean'")
        self.trunk: VideoViT = random_vit(shape, generator).train().requires_grad_(True)
        self.checkpointing = checkpointing

    @property
    def shape(self) -> VideoViTConfig:
        """Configuration of the trunk."""
        return self.trunk.shape

    def grid(self, frames: int, size: int) -> Grid:
        """Number of tokens along time, height and width of a clip; an image is one time step."""
        shape = torch.Size((1, 3, max(frames, self.shape.tubelet), size, size))
        return self.trunk.grid(shape, tubelet=self.shape.tubelet)

    def flops(self, visible: int) -> int:
        """FLOPs of the forward pass of one clip with `visible` tokens, two per multiply-add as torch counts.

        Only matrix products and attention count; forward and backward together take three times as many.
        """
        shape = self.shape
        embed = visible * 3 * shape.tubelet * shape.patch**2 * shape.dim
        return 2 * (embed + shape.depth * shape.block.macs(visible))

    def patchify(self, clips: Shaped[Tensor, "n 3 f y x"]) -> Shaped[Tensor, "n l b"]:
        """Cut clips into tokens of pixels; an image is repeated for the frames of a tubelet."""
        if clips.shape[2] == 1:
            clips = clips.expand(-1, -1, self.shape.tubelet, -1, -1)
        return patchify(clips, self.shape.tubelet, self.shape.patch)

    def forward(
        self, patches: Float[Tensor, "n l b"], keep: Int[Tensor, "n k"], grid: Grid, *, last_blocks: int = 0
    ) -> Float[Tensor, "n k d"]:
        """Encode the patches at `keep`; returns tokens after the final norm.

        With `last_blocks`, returns instead the mean output of that many last transformer blocks, each layer-normalized.
        """
        proj = self.trunk.patch_embed.proj
        x = F.linear(gather_tokens(patches, keep), proj.weight.flatten(1), proj.bias)
        positions = self.trunk.positions(grid).to(x.dtype)
        x = x + gather_tokens(positions.expand(len(x), -1, -1), keep)
        outputs: list[Tensor] = []
        for number, block in enumerate(self.trunk.blocks, 1):
            x = cast(Tensor, checkpoint(block, x, use_reentrant=False)) if self.checkpointing else block(x)
            if number > self.shape.depth - last_blocks:
                outputs.append(F.layer_norm(x.float(), x.shape[-1:]))
        return cast(Tensor, sum(outputs) / last_blocks if last_blocks else self.trunk.norm(x))


class Decoder(nn.Module):
    """Predict a target at every token: narrow transformer blocks over visible tokens and mask tokens.

    With `depth` 0 it is a norm and a linear map of the visible tokens only.
    """

    def __init__(self, dim: int, out: int, *, depth: int, width: int, on: str, generator: torch.Generator) -> None:
        super().__init__()
        self.depth, self.on = depth, on
        if depth:
            self.inward = nn.Linear(dim, width)
            self.mask = nn.Parameter(torch.zeros(1, 1, width))
            head = next(c for c in (2 * HEAD, HEAD, HEAD // 2) if width % c == 0 and (c <= HEAD or width >= WIDE))
            shape = BlockConfig(dim=width, heads=width // head, mlp=4 * width)
            self.blocks = nn.ModuleList([Block(shape) for _ in range(depth)])
        width = width if depth else dim
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.outward = nn.Linear(width, out)
        init_weights(self, generator)

    def forward(
        self,
        tokens: Float[Tensor, "n k d"],
        keep: Int[Tensor, "n k"],
        hide: Int[Tensor, "n m"],
        grid: Grid,
    ) -> Float[Tensor, "n p o"]:
        """Predict the tokens that `on` selects: "seen" (visible), "hidden", or "all" with the visible ones first."""
        x = tokens
        if self.depth:
            positions = constant(x, table, "sincos3d_d4", grid, self.inward.out_features)[None].expand(len(x), -1, -1)
            x = self.inward(x)
            x = torch.cat(
                [
                    x + gather_tokens(positions, keep).to(x.dtype),
                    self.mask.to(x.dtype) + gather_tokens(positions, hide),
                ],
                dim=1,
            )
            for block in self.blocks:
                x = block(x)
        count = keep.shape[1]
        x = {"seen": x[:, :count], "hidden": x[:, count:], "all": x}[self.on]
        return cast(Tensor, self.outward(self.norm(x)))


def init_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Initialize weights from a truncated normal of standard deviation 0.02, biases to 0 and norms to 1."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04, generator=generator)
        else:
            nn.init.constant_(parameter, float("norm" in name and name.endswith("weight")))
