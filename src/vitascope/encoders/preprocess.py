"""Convert decoded frames to the normalized input tensors of an encoder."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vitascope.core.types import Card


def to_tensor(pixels: UInt8[Tensor, "n t y x 3"], card: Card) -> Float[Tensor, "n 3 t y x"]:
    """`(pixels / 255 - mean) / std` per channel, in float32 on the device of `pixels`."""
    mean, std = (
        torch.tensor(v, dtype=torch.float32, device=pixels.device).view(3, 1, 1, 1) for v in (card.mean, card.std)
    )
    return (pixels.movedim(-1, 1).float() / 255 - mean) / std
