"""The base class of the networks: what loading weights and comparing outputs ask of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Network(nn.Module):
    """A network that is made from the numbers of a `NetworkConfig`."""

    shape: Any
    """Its `NetworkConfig`, which `adopt` may replace."""

    def tables(self) -> dict[str, Tensor]:
        """Fixed tensors by their names in the state dict, which weight files may leave out."""
        return {}

    def adopt(self, state: Mapping[str, Tensor]) -> str:
        """Take on what the weights `state` say of the network's shape; the change in words, empty for none."""
        return ""

    def parts(self, pixels: Tensor, /) -> dict[str, Tensor]:
        """All outputs for clips, or for images, by their usual names."""
        tokens, pooled = self(pixels)
        return {"tokens": tokens, "pooled": pooled}
