"""The end-to-end head: factorized queries attend to the tokens of their time step and predict boxes and classes.

Follows the description of STAR (Gritsenko et al., CVPR 2024) as far as the TWLV-I report states it (section 2.5, table
8); no code of it is public. What neither states is a field of `DecoderConfig` with our choice as its default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.nn.attention import Mlp

Generator = torch.Generator | None


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Sizes of the decoder."""

    layers: int
    width: int
    mlp: int
    heads: int
    queries: int
    """Queries per time step: the most actors that can be found."""
    box_layers: int
    dropout: float
    drop_path: float
    anchors: bool
    """Predict boxes relative to a point of each query, at first on a regular grid."""


class Predicted(NamedTuple):
    """Outputs of every layer, the last one last."""

    boxes: Float[Tensor, "l b t s 4"]
    """Center and size, 0 to 1."""
    presence: Float[Tensor, "l b t s"]
    """Logit of there being an actor."""
    logits: Float[Tensor, "l b t s c"]
    """Logits of the classes of the actor."""


class ActorDecoder(nn.Module):
    """Queries (one embedding for each of s slots plus one for each of t steps) on a token grid of d channels."""

    def __init__(self, grid: tuple[int, int, int, int], classes: int, config: DecoderConfig) -> None:
        """`grid`: time steps, rows, columns and channels of the tokens."""
        super().__init__()
        steps, rows, columns, dim = grid
        width = config.width
        self.dropout, self.drop_path = config.dropout, config.drop_path
        self.tokens = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, width))
        self.slots, self.steps = (
            nn.Parameter(torch.zeros(config.queries, width)),
            nn.Parameter(torch.zeros(steps, width)),
        )
        self.anchors = nn.Parameter(_grid_points(config.queries), requires_grad=config.anchors)
        self.register_buffer("codes", position_codes(rows, columns, width), persistent=False)
        self.codes: Tensor
        self.layers = nn.ModuleList(DecoderLayer(width, config.mlp, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        sizes = [width] * config.box_layers + [4]
        self.box = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.presence, self.classes = nn.Linear(width, 1), nn.Linear(width, classes)

    def forward(self, tokens: Float[Tensor, "b t y x d"], generator: Generator = None) -> Predicted:
        """Predict; with a generator (on the device of the tokens), apply dropout."""
        memory = self.tokens(tokens).flatten(2, 3).flatten(0, 1)
        keys = memory + self.codes
        q = (self.steps[:, None] + self.slots).expand(len(tokens), -1, -1, -1)
        states = []
        for layer in self.layers:
            q = layer(q, keys, memory, partial(self._dropped, generator))
            states.append(self.norm(q))
        with torch.autocast(tokens.device.type, enabled=False):  # a box of 8 bits would be coarse
            x = torch.stack(states).float()
            return Predicted(self._boxes(x), self.presence(x).squeeze(-1), self.classes(x))

    def _dropped(self, generator: Generator, x: Tensor) -> Tensor:
        """The output of a branch with dropout, and dropped whole for some examples."""
        some = kept(x, x.shape, self.dropout, generator)
        return kept(some, (len(x), *[1] * (x.ndim - 1)), self.drop_path, generator)

    def _boxes(self, x: Float[Tensor, "*n s w"]) -> Float[Tensor, "*n s 4"]:
        for linear in self.box[:-1]:
            x = F.relu(linear(x))
        offset: Tensor = self.box[-1](x)
        return (offset + F.pad(self.anchors, (0, 2))).sigmoid()


class DecoderLayer(nn.Module):
    """Attention among the queries of a step, along time for each query, to the tokens of the step; then an MLP."""

    def __init__(self, width: int, mlp: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.among, self.along, self.across = (CrossAttention(width, heads) for _ in range(3))
        self.mlp = Mlp(width, mlp)

    def forward(
        self,
        q: Float[Tensor, "b t s w"],
        keys: Float[Tensor, "n k w"],
        values: Float[Tensor, "n k w"],
        dropped: Callable[[Tensor], Tensor],
    ) -> Float[Tensor, "b t s w"]:
        """One layer; `n` is b * t, and `dropped` applies dropout to the output of a branch."""
        b, t = q.shape[:2]
        x = self.norms[0](q).flatten(0, 1)
        q = q + dropped(self.among(x, x, x).unflatten(0, (b, t)))
        x = self.norms[1](q).transpose(1, 2).flatten(0, 1)
        q = q + dropped(self.along(x, x, x).unflatten(0, (b, -1)).transpose(1, 2))
        x = self.norms[2](q).flatten(0, 1)
        q = q + dropped(self.across(x, keys, values).unflatten(0, (b, t)))
        return q + dropped(self.mlp(self.norms[3](q)))


class CrossAttention(nn.Module):
    """Multi-head attention with separate projections of queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(
        self, q: Float[Tensor, "n s w"], k: Float[Tensor, "n k w"], v: Float[Tensor, "n k w"]
    ) -> Float[Tensor, "n s w"]:
        """Attend."""
        split = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.q(q), self.k(k), self.v(v)))
        mixed: Tensor = self.out(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))
        return mixed


def kept(x: Tensor, shape: tuple[int, ...], share: float, generator: Generator) -> Tensor:
    """`x` with a share of its parts dropped and the others scaled up; unchanged without a generator."""
    if generator is None or not share:
        return x
    return x * ((torch.rand(shape, generator=generator, device=x.device) >= share) / (1 - share))


def position_codes(rows: int, columns: int, width: int) -> Float[Tensor, "k w"]:
    """Sine codes of the cells of a grid, row by row: half of the channels for the row, half for the column."""
    quarter = width // 4
    rates = math.pi * torch.exp2(torch.linspace(0, math.log2(max(rows, columns, 2)), quarter))

    def code(cells: int) -> Tensor:
        angle = (torch.arange(cells) + 0.5)[:, None] / cells * rates
        return torch.cat([angle.sin(), angle.cos()], 1)

    down, right = code(rows), code(columns)
    grid = torch.cat([down[:, None].expand(-1, columns, -1), right[None].expand(rows, -1, -1)], -1).flatten(0, 1)
    return F.pad(grid, (0, width - grid.shape[1]))


def _grid_points(count: int) -> Float[Tensor, "s 2"]:
    """Logits of `count` points spread evenly over the frame (a golden-ratio lattice)."""
    i = torch.arange(count, dtype=torch.float64)
    points = torch.stack([(i + 0.5) / count, (i * (math.sqrt(5) - 1) / 2 + 0.5) % 1.0], 1)
    return torch.logit(points.clamp(0.05, 0.95)).float()


def random_decoder(generator: torch.Generator, model: ActorDecoder, prior: float = 0.1) -> ActorDecoder:
    """Initialize all weights: Xavier for matrices, unit normal queries; presence and classes start at `prior`."""
    for name, p in model.named_parameters():
        if name in ("slots", "steps"):
            nn.init.normal_(p, generator=generator)
        elif p.ndim > 1 and name != "anchors":
            nn.init.xavier_uniform_(p, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(p)
    for head in (model.presence, model.classes):
        nn.init.constant_(head.bias, math.log(prior / (1 - prior)))
    last = model.box[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    last.bias.data[2:] = math.log(1 / 3)  # a quarter of the frame wide
    return model
