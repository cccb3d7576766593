"""An encoder whose forward pass torch compiles: another card, since compiled kernels round otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.encoders.base import Encoder, Tokens
from vitascope.encoders.card_of import variant_of

BACKEND = "inductor"
"""Compiler of `torch.compile`."""


class CompiledEncoder(nn.Module):
    """An encoder that is compiled when first called, for batches of `size` clips.

    Smaller batches are padded and larger ones divided, so that nothing is compiled anew and one store is made one way.
    """

    encoder: Any
    """The `Encoder` that is compiled, a module of torch."""

    def __init__(self, encoder: nn.Module, size: int) -> None:
        super().__init__()
        self.encoder, self.size = encoder, size
        self.card = variant_of(self.encoder.card, compiled=True)
        self._run: Callable[[Tensor], Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what was compiled, which no other process can use."""
        return {**self.__dict__, "_run": None}

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Encode clips; see `Encoder`."""
        parts = [self._encode(part) for part in clips.split(self.size)]
        return Tokens(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def _encode(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        if self._run is None:
            encoder = self.encoder
            self._run = compiled_function(lambda clips: encoder(clips))
        grid, vectors = self._run(F.pad(clips, (0, 0) * 4 + (0, self.size - len(clips))))
        return Tokens(grid[: len(clips)], vectors[: len(clips)])


def eager(encoder: Encoder) -> Encoder:
    """The encoder itself, without what compiles it: to look at shapes, for which compiling takes too long."""
    plain: Encoder = encoder.encoder if isinstance(encoder, CompiledEncoder) else encoder
    return plain


def compiled_function(function: Any) -> Callable[[Tensor], Any]:
    """A function of a tensor that is compiled when first called, for each shape."""
    # torch keeps at most eight compiled forms of one code object, and would run a ninth encoder eagerly
    function.__code__ = function.__code__.replace()
    compiled: Callable[[Tensor], Any] = torch.compile(function, backend=BACKEND, dynamic=False)
    return compiled
