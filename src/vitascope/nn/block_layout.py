"""Which modules of a network are its blocks, and how their outputs are laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class BlockLayout(NamedTuple):
    """The blocks of a network in the order in which they run, each once per forward pass."""

    blocks: Sequence[nn.Module]
    """Their outputs, or the first of a tuple, are tokens (rows, tokens, width), or with several axes of tokens."""
    before: int = 0
    """Tokens before those of patches: class token and registers."""
    channels_first: bool = False
    """Whether outputs are feature maps (rows, channels, height, width)."""

    def mean(self, output: Any, clips: int) -> Float[Tensor, "n d"]:
        """The mean over all patch tokens of each of `clips` clips, single precision; a clip is one row or several."""
        tokens: Tensor = output[0] if isinstance(output, tuple) else output
        tokens = tokens.movedim(1, -1) if self.channels_first else tokens
        rows = tokens.flatten(1, -2)[:, self.before :].mean(1, dtype=torch.float32)
        mean: Tensor = rows.unflatten(0, (clips, -1)).mean(1)
        return mean


@runtime_checkable
class HasBlocks(Protocol):
    """A network that tells which of its modules are blocks."""

    def block_layout(self) -> BlockLayout:
        """Its blocks."""
        ...
