"""Lane of batches to a GPU: the pixels of the next one arrive, on a stream of their own, while the GPU computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor

Output = TypeVar("Output")
Pixels = UInt8[Tensor, "n t y x 3"]


@runtime_checkable
class Lane(Protocol):
    """How batches get to a device and are computed there, one begun before the last one has ended."""

    def buffer(self, shape: Sequence[int]) -> Pixels:
        """An empty batch in memory of the host, from which the device can read by itself."""
        ...

    def begin(self, pixels: Pixels, encode: Callable[[Pixels], Output]) -> tuple[Output, Callable[[], float]]:
        """Begin to copy and encode a batch; return the output and a function that waits for it.

        Neither output nor pixels may be touched before; the function returns the seconds that the device computed.
        """
        ...


class CudaLane:
    """A `Lane` to a CUDA device: pinned memory, copies on one stream, computation on the current one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.copies = torch.cuda.Stream(device)

    def buffer(self, shape: Sequence[int]) -> Pixels:
        """An empty batch in pinned memory."""
        return torch.empty(*shape, dtype=torch.uint8, pin_memory=True)

    def begin(self, pixels: Pixels, encode: Callable[[Pixels], Output]) -> tuple[Output, Callable[[], float]]:
        """Begin to copy and encode a batch; see `Lane`."""
        with torch.cuda.device(self.device):
            compute = torch.cuda.current_stream()
            with torch.cuda.stream(self.copies):
                moved = pixels.to(self.device, non_blocking=True)
            compute.wait_stream(self.copies)
            moved.record_stream(compute)  # its memory is not given to the next copy before this batch was computed
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record(compute)
            output = encode(moved)
            ended.record(compute)

        def wait() -> float:
            ended.synchronize()
            return float(began.elapsed_time(ended)) / 1e3

        return output, wait


def lane_to(device: str) -> Lane | None:
    """The lane to a device that computes beside the host; None for others, which encode a batch at once."""
    kind = torch.device(device)
    return CudaLane(kind) if kind.type == "cuda" else None
