"""Config of VideoPrism: a spatial transformer over each frame, then a temporal one over each position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitascope.nn.configs.base import replace_fields
from vitascope.nn.configs.block import BlockConfig

NAMES = {
    "model_dim": "dim",
    "num_spatial_layers": "spatial",
    "num_temporal_layers": "temporal",
    "num_heads": "heads",
    "mlp_dim": "mlp",
    "patch_size": "patch",
    "atten_logit_cap": "cap",
    "pos_emb_shape": "grid",
}
"""Our field names by their names in published configs."""
UNUSED = ("frames", "norm_policy")
"""Keys of published configs without effect: all video encoders use pre-norm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPrismConfig:
    """Options of a VideoPrism network."""

    dim: int
    """Width of the tokens."""
    spatial: int
    """Number of spatial blocks."""
    heads: int
    """Number of attention heads."""
    mlp: int
    """Hidden width of the MLP."""
    temporal: int = 4
    """Number of temporal blocks."""
    patch: int = 18
    """Side of a patch, pixels."""
    grid: tuple[int, int, int] = (16, 16, 16)
    """Token grid of the position tables in the weights; inputs may have another."""
    cap: float = 50.0
    """Soft cap of attention logits, cap * tanh(x / cap); 0: none."""

    @property
    def block(self) -> BlockConfig:
        """Config of the blocks."""
        return BlockConfig(dim=self.dim, heads=self.heads, mlp=self.mlp)

    @property
    def width(self) -> int:
        """Width of the tokens."""
        return self.dim

    @property
    def out(self) -> int:
        """Width of the pooled vector."""
        return self.dim

    @property
    def input(self) -> tuple[int, int]:
        """Number of frames and side in pixels of the clips that the position tables are for."""
        return self.grid[0], self.grid[1] * self.patch

    @property
    def params(self) -> int:
        """Number of parameters."""
        t, h, w = self.grid
        embed = (3 * self.patch**2 + 1 + t + h * w) * self.dim
        return embed + (self.spatial + self.temporal) * self.block.params + 4 * self.dim

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds for one clip."""
        places = (size // self.patch) ** 2
        embed = frames * places * 3 * self.patch**2 * self.dim
        over_places = frames * self.spatial * self.block.macs(places)
        return embed + over_places + places * self.temporal * self.block.macs(frames)

    def updated(self, values: Mapping[str, Any]) -> VideoPrismConfig:
        """This config with values of a published config."""
        new = {NAMES.get(key, key): tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return replace_fields(self, new, UNUSED)
