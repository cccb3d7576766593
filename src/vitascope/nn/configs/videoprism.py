"""VideoPrism as plain numbers: a transformer over the places of every frame, then one over the times of every place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitascope.nn.configs.base import changed
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
"""Published configurations' words for our fields."""
UNUSED = ("frames", "norm_policy")
"""What they also state: every video encoder normalizes before attention and MLP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPrismConfig:
    """What makes one VideoPrism differ from another."""

    dim: int
    spatial: int
    """Layers over the places of one frame."""
    heads: int
    mlp: int
    """Hidden width of the MLP."""
    temporal: int = 4
    """Layers over the times of one place."""
    patch: int = 18
    """Side of a token, pixels."""
    grid: tuple[int, int, int] = (16, 16, 16)
    """Of the position tables of the weights, not of the input: frames, rows, columns."""
    cap: float = 50.0
    """Attention logits x become cap tanh(x / cap); 0 leaves them as they are."""

    @property
    def block(self) -> BlockConfig:
        """Of every layer."""
        return BlockConfig(dim=self.dim, heads=self.heads, mlp=self.mlp)

    @property
    def width(self) -> int:
        """Of the tokens."""
        return self.dim

    @property
    def out(self) -> int:
        """Width of the summary vector."""
        return self.dim

    @property
    def input(self) -> tuple[int, int]:
        """Frames and side in pixels of the position tables' clips."""
        return self.grid[0], self.grid[1] * self.patch

    @property
    def params(self) -> int:
        """Numbers in the weights."""
        t, h, w = self.grid
        embed = (3 * self.patch**2 + 1 + t + h * w) * self.dim
        return embed + (self.spatial + self.temporal) * self.block.params + 4 * self.dim

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds of one clip."""
        places = (size // self.patch) ** 2
        embed = frames * places * 3 * self.patch**2 * self.dim
        over_places = frames * self.spatial * self.block.macs(places)
        return embed + over_places + places * self.temporal * self.block.macs(frames)

    def told(self, given: Mapping[str, Any]) -> VideoPrismConfig:
        """With the numbers of a published configuration: `pos_emb_shape` is the grid."""
        new = {NAMES.get(key, key): tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        return changed(self, new, UNUSED)
