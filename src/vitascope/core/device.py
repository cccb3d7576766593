"""torch when it is first used, compute devices, random generators and peak memory."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from glob import glob
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitascope.core.errors import UserError
from vitascope.core.text import nearest

if TYPE_CHECKING:
    import torch as torch
else:

    class _Torch:
        """torch, imported when something of it is first used: that takes longer than a search among 10,000 vectors."""

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module("torch"), name)

    torch = _Torch()


GPU_FILES = ("/dev/nvidia*", "/dev/nvmap", "/dev/kfd", "/dev/dri", "/dev/dxg")
"""Files without one of which no process on Linux reaches a GPU."""


def device_name(name: str = "") -> str:
    """Name of `device`; torch is not imported where there is nothing but a CPU to find."""
    if name in ("", "cpu") and sys.platform == "linux" and not any(glob(pattern) for pattern in GPU_FILES):
        return "cpu"
    return str(device(name))


def torch_version() -> str:
    """Version of torch, whether it is imported or not."""
    return str(torch.__version__) if "torch" in sys.modules else version("torch")


def device(name: str = "") -> torch.device:
    """The device called `name`, by default the first available of CUDA, MPS and CPU.

    Raises UserError if this machine has no such device.
    """
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32: convolutions would be 1e-3 off by default
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not name:
        return torch.device(next(kind for kind, present in available.items() if present))
    kind, _, number = name.partition(":")
    devices = [kind for kind, present in available.items() if present]
    if kind not in available or (number and not number.isdecimal()):
        raise UserError(f"unknown device {name!r}{nearest(kind, available)}; this machine has {', '.join(devices)}")
    if not available[kind] or (kind == "cuda" and int(number or 0) >= torch.cuda.device_count()):
        raise UserError(f"device {name!r} is not available; this machine has {', '.join(devices)}")
    return torch.device(name)


def generator(seed: int) -> torch.Generator:
    """A new CPU generator: the same seed gives the same bits on every device."""
    return torch.Generator().manual_seed(seed)


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy to a device without waiting for it; a GPU copies by itself only from pinned memory."""
    pinned = device.type == "cuda" and values.device.type == "cpu"
    return values.pin_memory().to(device, non_blocking=True) if pinned else values.to(device)


def peak_bytes(device: torch.device) -> int:
    """Peak memory in bytes: of tensors on a CUDA device, otherwise of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not available on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_bytes(device: torch.device) -> float:
    """Free memory in bytes of a CUDA device, or of this machine within the limit of its container; inf if unknown."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = [float("inf")]
    with suppress(OSError, ValueError, IndexError):
        available = Path("/proc/meminfo").read_text(encoding="utf-8").partition("MemAvailable:")[2]
        free.append(float(available.split()[0]) * 1024)
    with suppress(OSError, ValueError):  # "max" without a limit
        limit, used = (Path(f"/sys/fs/cgroup/memory.{n}").read_text(encoding="utf-8") for n in ("max", "current"))
        free.append(float(limit) - float(used))
    return min(free)
