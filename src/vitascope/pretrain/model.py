"""What is trained: an encoder that computes only the tokens it sees, and small decoders that fill in the rest."""

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

HEAD, WIDE = 32, 384
"""Channels of a decoder's attention head: twice as many from WIDE channels on, which halves the softmax; half of them
where no more divide its width."""


def picked(rows: Float[Tensor, "n l d"], at: Int[Tensor, "n k"]) -> Float[Tensor, "n k d"]:
    """The rows of each example at its own indices."""
    return rows.gather(1, at[..., None].expand(-1, -1, rows.shape[-1]))


def blocks_of(clips: Shaped[Tensor, "n 3 f y x"], tubelet: int, patch: int) -> Shaped[Tensor, "n l b"]:
    """The pixels of every token, laid out as the weights of the patch embedding are: channel, frame, row, column."""
    n, _, f, y, x = clips.shape
    cut = clips.reshape(n, 3, f // tubelet, tubelet, y // patch, patch, x // patch, patch)
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(n, -1, 3 * tubelet * patch**2)


class Student(nn.Module):
    """A video transformer and what pretraining asks of it: tokens of the visible blocks alone.

    The trunk is the encoder that is exported; its cost follows the visible tokens, the patch embedding included.
    """

    def __init__(self, shape: VideoViTConfig, generator: torch.Generator, *, checkpointing: bool = False) -> None:
        super().__init__()
        if shape.cls or shape.image in ("embed", "stored") or shape.positions == "rope3d":
            raise UserError("pretraining wants a trunk without class token, rotary positions or parts for images alone")
        if shape.pool not in ("mean", "mean_then_norm"):
            raise UserError(f"pool {shape.pool!r}: nothing in pretraining would train it; take 'mean'")
        self.trunk: VideoViT = random_vit(shape, generator).train().requires_grad_(True)
        self.checkpointing = checkpointing

    @property
    def shape(self) -> VideoViTConfig:
        """Of the trunk."""
        return self.trunk.shape

    def grid(self, frames: int, size: int) -> Grid:
        """Tokens along time, height and width of clips; a picture is one time step."""
        shape = torch.Size((1, 3, max(frames, self.shape.tubelet), size, size))
        return self.trunk.grid(shape, tubelet=self.shape.tubelet)

    def flops(self, visible: int) -> int:
        """Of the forward pass of one clip of which so many tokens are visible: two a multiply-add, as torch counts.

        Products of matrices and attention alone; forward and backward together take three times as many.
        """
        shape = self.shape
        embed = visible * 3 * shape.tubelet * shape.patch**2 * shape.dim
        return 2 * (embed + shape.depth * shape.block.macs(visible))

    def blocks(self, clips: Shaped[Tensor, "n 3 f y x"]) -> Shaped[Tensor, "n l b"]:
        """The pixels of every token; a picture is held for the frames of one."""
        if clips.shape[2] == 1:
            clips = clips.expand(-1, -1, self.shape.tubelet, -1, -1)
        return blocks_of(clips, self.shape.tubelet, self.shape.patch)

    def forward(
        self, blocks: Float[Tensor, "n l b"], keep: Int[Tensor, "n k"], grid: Grid, *, last: int = 0
    ) -> Float[Tensor, "n k d"]:
        """Tokens, after the final norm, of the blocks at `keep`.

        With `last`, instead the mean of what so many last transformer blocks give, each normalized over its numbers.
        """
        proj = self.trunk.patch_embed.proj
        x = F.linear(picked(blocks, keep), proj.weight.flatten(1), proj.bias)
        positions = self.trunk.positions(grid).to(x.dtype)
        x = x + picked(positions.expand(len(x), -1, -1), keep)
        outputs: list[Tensor] = []
        for number, block in enumerate(self.trunk.blocks, 1):
            x = cast(Tensor, checkpoint(block, x, use_reentrant=False)) if self.checkpointing else block(x)
            if number > self.shape.depth - last:
                outputs.append(F.layer_norm(x.float(), x.shape[-1:]))
        return cast(Tensor, sum(outputs) / last if last else self.trunk.norm(x))


class Decoder(nn.Module):
    """From visible tokens to a target's numbers at every token: narrow blocks over visible tokens and mask tokens.

    Without blocks (`depth` 0) it is a norm and a linear map of the visible tokens alone.
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
        start(self, generator)

    def forward(
        self,
        tokens: Float[Tensor, "n k d"],
        keep: Int[Tensor, "n k"],
        hide: Int[Tensor, "n m"],
        grid: Grid,
    ) -> Float[Tensor, "n p o"]:
        """Predictions of what is asked: the `seen` tokens, the `hidden` ones, or `all`, seen ones first."""
        x = tokens
        if self.depth:
            places = table("sincos3d_d4", grid, self.inward.out_features).to(x)[None].expand(len(x), -1, -1)
            x = self.inward(x)
            x = torch.cat([x + picked(places, keep).to(x.dtype), self.mask.to(x.dtype) + picked(places, hide)], dim=1)
            for block in self.blocks:
                x = block(x)
        count = keep.shape[1]
        x = {"seen": x[:, :count], "hidden": x[:, count:], "all": x}[self.on]
        return cast(Tensor, self.outward(self.norm(x)))


def start(module: nn.Module, generator: torch.Generator) -> None:
    """Truncated normal weights of standard deviation 0.02, biases 0, norms 1, from `generator`."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04, generator=generator)
        else:
            nn.init.constant_(parameter, float("norm" in name and name.endswith("weight")))
