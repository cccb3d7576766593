"""The machine: which device computes, where random numbers come from, how much memory was used."""

from __future__ import annotations

import sys

import torch

from vitascope.core.errors import UserError
from vitascope.core.text import nearest


def device(name: str = "") -> torch.device:
    """The device called `name`; without one CUDA, then MPS, then CPU. ValueError where the machine has none such."""
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32: convolutions would be 1e-3 off by default
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not name:
        return torch.device(next(kind for kind, found in there.items() if found))
    kind, _, number = name.partition(":")
    found = [known for known in there if there[known]]
    if kind not in there or (number and not number.isdecimal()):
        raise UserError(f"no device {name!r}{nearest(kind, there)}; this machine has {', '.join(found)}")
    if not there[kind] or (kind == "cuda" and int(number or 0) >= torch.cuda.device_count()):
        raise UserError(f"device {name!r} is not on this machine; it has {', '.join(found)}")
    return torch.device(name)


def generator(seed: int) -> torch.Generator:
    """A new generator on the CPU, so that the same seed gives the same bits whichever device computes."""
    return torch.Generator().manual_seed(seed)


def peak_bytes(where: torch.device) -> int:
    """Most memory held so far: by tensors on a CUDA device, elsewhere by this process."""
    if where.type == "cuda":
        return torch.cuda.max_memory_allocated(where)
    import resource  # absent on Windows, where nothing else here is

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
