"""The `Encoder` protocol, a callable with a card, and wrappers that turn a network into an encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import UserError, one_line
from vitascope.core.types import Card


class Tokens(NamedTuple):
    """The output of an encoder for n clips: a token grid over time and space, and one vector per clip."""

    grid: Float[Tensor, "n t h w d"]
    clip: Float[Tensor, "n c"]


@runtime_checkable
class Encoder(Protocol):
    """A frozen model from normalized pixels to `Tokens`; `card` records everything that affects its output."""

    card: Card

    def __call__(self, clips: Float[Tensor, "n 3 t y x"], /) -> Tokens:
        """Encode clips already resized to `card.size` and normalized with the card's mean and std."""
        ...


def shape_problem(tokens: Any, card: Card, n: int) -> str:
    """Describe what is wrong with the shapes of the output for `n` clips; empty if they are right."""
    if not isinstance(tokens, Tokens):
        return f"{type(tokens).__name__}, expected Tokens(grid, clip)"
    grid, clip = tuple(tokens.grid.shape), tuple(tokens.clip.shape)
    if len(grid) == 5 and grid[0] == n and clip == (n, card.dim) and tokens.clip.is_floating_point():
        return ""
    shapes = f"grid {' x '.join(map(str, grid))}, clip {' x '.join(map(str, clip))} of {tokens.clip.dtype}"
    return f"{shapes}; expected grid n x t x h x w x d and floating-point clip {n} x {card.dim} (card.dim)"


@runtime_checkable
class ReportsLoading(Protocol):
    """An encoder that describes how its weights were loaded, for `vitascope check`."""

    loaded: str
    """One line; empty if unknown."""


class NetworkEncoder(nn.Module):
    """An `Encoder` from a network that returns a token grid and a clip vector, in evaluation mode without gradients.

    `loaded` describes in one line how the weights were loaded, for `vitascope check`; empty if unknown.
    """

    def __init__(self, card: Card, network: nn.Module, *, loaded: str = "") -> None:
        super().__init__()
        self.card = replace(card, framewise=True) if isinstance(network, FrameWise) else card
        self.loaded = loaded
        self.network = network
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Encode clips; see `Encoder`."""
        returned = self.network(clips)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise UserError(
                f"its network returned {type(returned).__name__}, expected a pair (token grid, clip vectors)"
            )
        return Tokens(*returned)

    @torch.no_grad()
    def parts(self, clips: Float[Tensor, "n 3 t y x"]) -> dict[str, Tensor]:
        """All outputs of the network by name: `tokens`, `pooled`, `cls` ..."""
        parts: dict[str, Tensor] = self.network.parts(clips)  # type: ignore[operator]
        return parts


class FrameWise(nn.Module):
    """An image model applied to every frame; the clip vector is the mean over the frames.

    The model returns one vector per image (for a token grid of 1 x 1 per frame), or a grid (n h w d) and vectors (n c).
    """

    def __init__(self, model: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Encode all frames as one batch of images; the time axis of the token grid counts frames."""
        n, _, t, _, _ = clips.shape
        out = self.model(clips.transpose(1, 2).flatten(0, 1))
        grid, vector = (out[:, None, None], out) if isinstance(out, Tensor) else out
        return Tokens(grid.reshape(n, t, *grid.shape[1:]), vector.reshape(n, t, -1).mean(1))

    def parts(self, clips: Float[Tensor, "n 3 t y x"]) -> dict[str, Tensor]:
        """The model's own `parts` of every frame (n t ...), with `pooled` averaged over the frames."""
        n, _, t, _, _ = clips.shape
        frames: dict[str, Tensor] = self.model.parts(clips.transpose(1, 2).flatten(0, 1))  # type: ignore[attr-defined]
        parts = {name: part.unflatten(0, (n, t)) for name, part in frames.items()}
        return {**parts, "frame_embed": parts["pooled"], "pooled": parts["pooled"].mean(1)}


def framewise(model: Callable[[Tensor], Any], card: Card, *, loaded: str = "") -> Encoder:
    """An `Encoder` from an image model: embeds each frame and averages over the frames (as TWLV-I applies DFN).

    `model` takes normalized images (n 3 y x) and returns vectors (n c), or a pair of token grid (n h w d) and vectors.
    """
    return NetworkEncoder(card, FrameWise(model), loaded=loaded)


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Digest of `weights`, 16 hex digits: of the names, dtypes, shapes and values."""
    state = hashlib.blake2b(digest_size=8)
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.flatten().view(torch.uint8).numpy().data)
    return state.hexdigest()


def call(encoder: Encoder, clips: Float[Tensor, "n 3 t y x"]) -> Any:
    """`encoder(clips)`, unchecked; an exception becomes a one-line `UserError` that names the encoder and the place."""
    try:
        return encoder(clips)
    except torch.OutOfMemoryError as error:
        problem = f"a batch of {len(clips)} clips does not fit into the memory of {clips.device}"
        raise UserError(f"{encoder.card.name}: {problem}; give a smaller --batch") from error
    except Exception as error:
        remedy = "leave out --compile" if encoder.card.compiled else "see `vitascope check`"
        raise UserError(f"{encoder.card.name} failed: {one_line(error)}; {remedy}") from error
