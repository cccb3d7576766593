"""Batches of decoded clips on their way through the encoder, for stored and live extraction alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.features.gpu_lane import Lane

Owner = TypeVar("Owner")
Output = TypeVar("Output")


class ClipBatcher(Generic[Owner, Output]):
    """Collect decoded clips of one shape, encode every full batch, and hand its outputs to `deliver`.

    A clip of another shape closes the current batch. Batches depend only on the order of the clips. On a device with a
    lane, the outputs of a batch are delivered when the next one has been begun, or by `flush`; two buffers take turns.
    """

    def __init__(
        self,
        size: int,
        encode: Callable[[UInt8[Tensor, "n t y x 3"]], Output],
        deliver: Callable[[list[Owner], Output], None],
        lane: Lane | None = None,
    ) -> None:
        """`size`: clips per batch."""
        self.size, self.encode, self.deliver, self.lane = size, encode, deliver, lane
        self.seconds = 0.0
        """Time spent encoding."""
        self._owners: list[Owner] = []
        self._pixels = self._other = torch.empty(0)
        self._begun: tuple[list[Owner], Output, Callable[[], float]] | None = None

    def accepts(self, pixels: UInt8[Tensor, "t y x 3"]) -> bool:
        """Return whether a clip has the shape of the current batch, or is the first of all."""
        return self._pixels.ndim == 1 or self._pixels.shape[1:] == pixels.shape

    def add(self, owner: Owner, pixels: UInt8[Tensor, "t y x 3"]) -> None:
        """Copy a clip into the batch; encode the batch if that fills it."""
        if self._pixels.shape[1:] != pixels.shape:
            self.flush()
            self._pixels, self._other = self._buffer(pixels), self._buffer(pixels) if self.lane else self._other
        self._pixels[len(self._owners)] = pixels
        self._owners.append(owner)
        if len(self._owners) == self.size:
            self._encode()

    def flush(self) -> None:
        """Encode the clips collected so far, if any, and deliver all outputs."""
        if self._owners:
            self._encode()
        self._land()

    def _buffer(self, pixels: UInt8[Tensor, "t y x 3"]) -> UInt8[Tensor, "n t y x 3"]:
        shape = (self.size, *pixels.shape)
        return self.lane.buffer(shape) if self.lane else torch.empty(shape, dtype=torch.uint8)

    def _encode(self) -> None:
        owners, self._owners = self._owners, []
        pixels = self._pixels[: len(owners)]
        if self.lane is None:
            started = time.monotonic()
            output = self.encode(pixels)
            self.seconds += time.monotonic() - started
            self.deliver(owners, output)
            return
        begun = (owners, *self.lane.begin(pixels, self.encode))
        self._pixels, self._other = self._other, self._pixels
        self._land()  # then the buffer of the batch before, which is filled next, is free
        self._begun = begun

    def _land(self) -> None:
        """Wait for the batch that was begun, if any, and deliver its outputs."""
        if self._begun:
            owners, output, wait = self._begun
            self._begun = None
            self.seconds += wait()
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
