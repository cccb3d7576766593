"""The video transformer: one configurable trunk from normalised clips to a grid of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.nn.attention import Block
from vitascope.nn.positions import Grid, Positions, table


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
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
    positions: Positions = "sincos3d_d4"
    eps: float = 1e-6
    """Of every LayerNorm."""


class PatchEmbed(nn.Module):
    """A linear map of tubelet x patch x patch blocks, as the strided convolution that it equals."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        block = (arch.tubelet, arch.patch, arch.patch)
        self.proj = nn.Conv3d(3, arch.dim, block, block)

    def forward(self, clips: Float[Tensor, "n 3 f y x"]) -> Float[Tensor, "n d t h w"]:
        """Blocks to tokens."""
        tokens: Tensor = self.proj(clips)
        return tokens


class VideoViT(nn.Module):
    """Pre-norm video transformer; parameters are named as in the published video models."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        self.patch_embed = PatchEmbed(arch)
        self.blocks = nn.ModuleList([Block(arch.dim, arch.heads, arch.mlp, arch.eps) for _ in range(arch.depth)])
        self.norm = nn.LayerNorm(arch.dim, eps=arch.eps)

    def forward(self, clips: Float[Tensor, "n 3 f y x"]) -> Float[Tensor, "n t h w d"]:
        """Tokens after the final norm; positions are those of the grid that the clips make."""
        grid = self.grid(clips.shape)
        x = self.patch_embed(clips).flatten(2).transpose(1, 2)
        x = x + table(self.arch.positions, grid, self.arch.dim, x.device).to(x.dtype)
        for block in self.blocks:
            x = block(x)
        tokens: Tensor = self.norm(x)
        return tokens.reshape(len(x), *grid, self.arch.dim)

    def grid(self, shape: torch.Size) -> Grid:
        """Tokens along time, height and width of clips of `shape`; ValueError where blocks do not fill them."""
        _, channels, t, y, x = shape
        tubelet, patch = self.arch.tubelet, self.arch.patch
        if channels != 3 or t % tubelet or y % patch or x % patch or 0 in shape[1:]:
            raise ValueError(
                f"clips of {t} frames, {y} x {x} pixels and {channels} channels do not divide into "
                f"{tubelet} x {patch} x {patch} blocks of 3 channels; resize them or change the frame count"
            )
        return t // tubelet, y // patch, x // patch


def random_vit(arch: Architecture, generator: torch.Generator) -> VideoViT:
    """A trunk with weights drawn from `generator`: truncated normal, standard deviation 0.02; biases 0, norms 1."""
    with torch.device("meta"):
        model = VideoViT(arch)
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04, generator=generator)
        else:
            nn.init.constant_(parameter, float("norm" in name and name.endswith("weight")))
    return model
