"""What an encoder is: a callable with a card. Everything that embeds goes through this protocol."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from vitascope.types import Card


class Tokens(NamedTuple):
    """What an encoder returns for n clips: a grid over time and space, and one summary vector a clip."""

    grid: Float[Tensor, "n t h w d"]
    clip: Float[Tensor, "n c"]


@runtime_checkable
class Encoder(Protocol):
    """A frozen model: normalised pixels in, `Tokens` out; `card` states all that can change its output."""

    card: Card

    def __call__(self, clips: Float[Tensor, "n 3 t y x"], /) -> Tokens:
        """Encode clips that are already resized to `card.size` and normalised as the card says."""
        ...
