"""What an encoder is: a callable with a card. Everything that embeds goes through this protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import UserError, one_line
from vitascope.core.types import Card


class Tokens(NamedTuple):
    """What an encoder returns for n clips: a grid over time and space, and one summary vector a clip."""

    grid: Float[Tensor, "n t h w d"]
    clip: Float[Tensor, "n c"]


@runtime_checkable
class Encoder(Protocol):
    """A frozen model: normalized pixels in, `Tokens` out; `card` states all that can change its output."""

    card: Card

    def __call__(self, clips: Float[Tensor, "n 3 t y x"], /) -> Tokens:
        """Encode clips that are already resized to `card.size` and normalized as the card says."""
        ...


def misshapen(tokens: Any, card: Card, n: int) -> str:
    """What is wrong with the shapes of `tokens`, returned for `n` clips, in a few words; empty when nothing is."""
    if not isinstance(tokens, Tokens):
        return f"{type(tokens).__name__} where Tokens(grid, clip) is wanted"
    grid, clip = tuple(tokens.grid.shape), tuple(tokens.clip.shape)
    if len(grid) == 5 and grid[0] == n and clip == (n, card.dim) and tokens.clip.is_floating_point():
        return ""
    found = f"grid {' x '.join(map(str, grid))}, clip {' x '.join(map(str, clip))} of {tokens.clip.dtype}"
    return f"{found}; wanted n t h w d and floating {n} x {card.dim} (card.dim)"


class NetworkEncoder(nn.Module):
    """An Encoder of a network that returns a grid and a summary: evaluation mode, no gradients, a card.

    `loaded` says in a line how the weights came in, for `vitascope check`; empty where nothing is known.
    """

    def __init__(self, card: Card, network: nn.Module, *, loaded: str = "") -> None:
        super().__init__()
        self.card = card
        self.loaded = loaded
        self.network = network
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Encode clips; see `Encoder`."""
        returned = self.network(clips)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise UserError(f"its network returned {type(returned).__name__}; wanted a pair: a grid and the vectors")
        return Tokens(*returned)

    @torch.no_grad()
    def parts(self, clips: Float[Tensor, "n 3 t y x"]) -> dict[str, Tensor]:
        """Everything the network says of clips, by the field's names: `tokens`, `pooled`, `cls` ..."""
        parts: dict[str, Tensor] = self.network.parts(clips)  # type: ignore[operator]
        return parts


class FrameWise(nn.Module):
    """An image model applied to every frame, the mean over the frames as summary.

    The model returns one vector an image (the grid is then 1 x 1 a frame), or a grid (n h w d) and a vector (n c).
    """

    def __init__(self, model: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Frames as one batch of images; the time axis of the grid counts frames."""
        n, _, t, _, _ = clips.shape
        out = self.model(clips.transpose(1, 2).flatten(0, 1))
        grid, vector = (out[:, None, None], out) if isinstance(out, Tensor) else out
        return Tokens(grid.reshape(n, t, *grid.shape[1:]), vector.reshape(n, t, -1).mean(1))

    def parts(self, clips: Float[Tensor, "n 3 t y x"]) -> dict[str, Tensor]:
        """What the model's own `parts` says of every frame (n t ...), and `pooled`, the mean of its vectors."""
        n, _, t, _, _ = clips.shape
        frames: dict[str, Tensor] = self.model.parts(clips.transpose(1, 2).flatten(0, 1))  # type: ignore[attr-defined]
        parts = {name: part.unflatten(0, (n, t)) for name, part in frames.items()}
        return {**parts, "frame_embed": parts["pooled"], "pooled": parts["pooled"].mean(1)}


def framewise(model: Callable[[Tensor], Any], card: Card, *, loaded: str = "") -> Encoder:
    """Any image model as an Encoder: per-frame embedding, mean over the frames (as TWLV-I applies DFN).

    `model` takes normalized images (n 3 y x) and returns vectors (n c), or a pair of a grid (n h w d) and vectors.
    """
    return NetworkEncoder(card, FrameWise(model), loaded=loaded)


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Sixteen hex digits of the names, types, shapes and bits of `weights`."""
    total = hashlib.blake2b(digest_size=8)
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def call(encoder: Encoder, clips: Float[Tensor, "n 3 t y x"]) -> Any:
    """`encoder(clips)`, not checked yet.

    Whatever the model raises becomes a ValueError of one line that says whose it is and where.
    """
    try:
        return encoder(clips)
    except torch.OutOfMemoryError as error:
        many = f"{len(clips)} clips at once do not fit into the memory of {clips.device}"
        raise UserError(f"{encoder.card.name}: {many}; give a smaller --batch") from error
    except Exception as error:
        raise UserError(f"{encoder.card.name} failed: {one_line(error)}; see `vitascope check`") from error
