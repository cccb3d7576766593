"""Constant tensors, made once for each device: copying them in every step would make the host wait for the device."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def constant(like: Tensor, make: Callable[..., Tensor], *arguments: Hashable) -> Tensor:
    """`make(*arguments)` on the device and in the precision of `like`; not to be changed."""
    return _made(like.device, like.dtype, make, arguments)


def constant_on(device: torch.device, make: Callable[..., Tensor], *arguments: Hashable) -> Tensor:
    """`make(*arguments)` on a device; not to be changed."""
    return _made(device, None, make, arguments)


@lru_cache(maxsize=256)
def _made(
    device: torch.device, dtype: torch.dtype | None, make: Callable[..., Tensor], arguments: tuple[Any, ...]
) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return make(*arguments).to(device=device, dtype=dtype)
