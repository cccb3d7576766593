"""Batches of decoded clips on their way through the encoder, for stored and live extraction alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.errors import UserError

Owner = TypeVar("Owner")
Output = TypeVar("Output")


class ClipBatcher(Generic[Owner, Output]):
    """Collect decoded clips of one shape, encode every full batch, and hand its outputs to `deliver`.

    A clip of another shape closes the current batch. Batches depend only on the order of the clips.
    """

    def __init__(
        self,
        size: int,
        encode: Callable[[UInt8[Tensor, "n t y x 3"]], Output],
        deliver: Callable[[list[Owner], Output], None],
    ) -> None:
        """`size`: clips per batch."""
        self.size, self.encode, self.deliver = size, encode, deliver
        self.seconds = 0.0
        """Time spent encoding."""
        self._owners: list[Owner] = []
        self._pixels = torch.empty(0)

    def accepts(self, pixels: UInt8[Tensor, "t y x 3"]) -> bool:
        """Return whether a clip has the shape of the current batch, or is the first of all."""
        return self._pixels.ndim == 1 or self._pixels.shape[1:] == pixels.shape

    def add(self, owner: Owner, pixels: UInt8[Tensor, "t y x 3"]) -> None:
        """Copy a clip into the batch; encode the batch if that fills it."""
        if self._pixels.shape[1:] != pixels.shape:
            self.flush()
            self._pixels = torch.empty((self.size, *pixels.shape), dtype=torch.uint8)
        self._pixels[len(self._owners)] = pixels
        self._owners.append(owner)
        if len(self._owners) == self.size:
            self.flush()

    def flush(self) -> None:
        """Encode the clips collected so far, if any."""
        owners, self._owners = self._owners, []
        if not owners:
            return
        started = time.monotonic()
        output = self.encode(self._pixels[: len(owners)])
        self.seconds += time.monotonic() - started
        self.deliver(owners, output)


def refuse_mixed(
    dataset: str, encoder: str, batcher: ClipBatcher[Any, Any], pixels: UInt8[Tensor, "t y x 3"], *, grids: bool
) -> None:
    """Raise UserError for a clip of another shape than those before it if token grids are stored (`grids`)."""
    if grids and not batcher.accepts(pixels):
        raise UserError(
            f"{dataset} mixes images and videos, for which {encoder} returns token grids of different lengths; keep "
            "one vector per clip (--reduce clip), or use a folder for each"
        )
