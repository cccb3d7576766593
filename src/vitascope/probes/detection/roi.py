"""The head of given boxes: RoIAlign of each box, attention from it to all tokens of the clip, and a classifier.

With positions and a decoder layer it is that of VideoGLUE (Yuan et al. 2023), without either SlowFast's. Neither
prediction depends on which other boxes are given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitascope.nn.attention import Mlp
from vitascope.probes.detection.decoder import CrossAttention, Generator, kept
from vitascope.probes.detection.roi_align import roi_align

HIDDEN, OUT = 4, 8
"""Channels of the position MLPs, as in VideoGLUE."""


@dataclass(frozen=True, kw_only=True)
class RoiConfig:
    """Sizes of the head."""

    cells: int
    """Cells of RoIAlign along each side of a box."""
    positions: bool
    """Add learned features of the position of each token."""
    normalize: bool
    """Normalize the tokens first."""
    layers: int
    """Decoder layers from a box to all tokens; 0: the pooled features are classified."""
    width: int
    mlp: int
    heads: int
    dropout: float


class RoiHead(nn.Module):
    """Class logits of boxes on a token grid of d channels."""

    def __init__(self, grid: tuple[int, int, int, int], classes: int, config: RoiConfig) -> None:
        """`grid`: time steps, rows, columns and channels of the tokens."""
        super().__init__()
        *sides, dim = grid
        self.cells, self.dropout = config.cells, config.dropout
        self.norm = nn.LayerNorm(dim) if config.normalize else nn.Identity()
        self.positions = RelativePositions(*sides) if config.positions else None
        dim += 2 * OUT * config.positions
        width = config.width if config.layers else dim
        self.query, self.tokens = (nn.Linear(dim, width) if config.layers else nn.Identity() for _ in range(2))
        self.layers = nn.ModuleList(BoxLayer(width, config.mlp, config.heads) for _ in range(config.layers))
        self.last = nn.LayerNorm(width) if config.layers else nn.Identity()
        self.classes = nn.Linear(width, classes)

    def forward(
        self,
        tokens: Float[Tensor, "b t y x d"],
        boxes: Float[Tensor, "n 4"],
        owner: Int[Tensor, "n"],
        generator: Generator = None,
    ) -> Float[Tensor, "n c"]:
        """Classify boxes (corners, 0 to 1) of the clips `owner`, ascending; with a generator, apply dropout."""
        tokens = self.norm(tokens)
        if self.positions is not None:
            tokens = torch.cat([tokens, self.positions().to(tokens.dtype).expand(len(tokens), -1, -1, -1, -1)], -1)
        pooled = roi_align(tokens.mean(1).movedim(-1, 1), boxes, owner, self.cells).amax((-2, -1))
        found = self._attended(pooled, tokens.flatten(1, 3), owner) if len(self.layers) else pooled
        with torch.autocast(found.device.type, enabled=False):
            logits: Tensor = self.classes(kept(found.float(), found.shape, self.dropout, generator))
        return logits

    def _attended(
        self, pooled: Float[Tensor, "n d"], tokens: Float[Tensor, "b k d"], owner: Int[Tensor, "n"]
    ) -> Float[Tensor, "n w"]:
        """Boxes after attention to the tokens of their clip."""
        memory, q = self.tokens(tokens), self.query(pooled)
        place = torch.arange(len(owner), device=owner.device) - torch.searchsorted(owner, owner)
        padded = q.new_zeros(len(tokens), int(place.max()) + 1 if len(place) else 1, q.shape[-1])
        padded = padded.index_put((owner, place), q)
        for layer in self.layers:
            padded = layer(padded, memory)
        attended: Tensor = self.last(padded[owner, place])
        return attended


class BoxLayer(nn.Module):
    """Pre-norm attention of each box to all tokens, then an MLP."""

    def __init__(self, width: int, mlp: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.across = CrossAttention(width, heads)
        self.mlp = Mlp(width, mlp)

    def forward(self, q: Float[Tensor, "b n w"], memory: Float[Tensor, "b k w"]) -> Float[Tensor, "b n w"]:
        """One layer."""
        q = q + self.across(self.norms[0](q), memory, memory)
        added: Tensor = q + self.mlp(self.norms[1](q))
        return added


class RelativePositions(nn.Module):
    """Learned features of the time step and of the row and column of a token, each counted from the middle."""

    def __init__(self, steps: int, rows: int, columns: int) -> None:
        super().__init__()
        self.sides = steps, rows, columns
        self.time, self.space = Mlp(1, HIDDEN, out=OUT), Mlp(2, HIDDEN, out=OUT)

    def forward(self) -> Float[Tensor, "t y x f"]:
        """The features of every token of a grid."""
        device = self.time.fc1.weight.device
        t, y, x = (torch.arange(n, device=device) - (n - 1) / 2 for n in self.sides)
        time = self.time(t[:, None])[:, None, None].expand(-1, len(y), len(x), -1)
        space = self.space(torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)).expand(len(t), -1, -1, -1)
        return torch.cat([time, space], -1)


def random_roi(generator: torch.Generator, model: RoiHead, prior: float = 0.1) -> RoiHead:
    """Initialize all weights: Xavier for matrices; classes start at `prior`."""
    for name, p in model.named_parameters():
        if p.ndim > 1:
            nn.init.xavier_uniform_(p, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(p)
    nn.init.constant_(model.classes.bias, math.log(prior / (1 - prior)))
    return model
