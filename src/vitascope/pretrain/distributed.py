"""Processes that train together: who is who, how a model is shared, what all of them say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from vitascope.core.errors import UserError
from vitascope.nn.attention import Block

Parallel: TypeAlias = Literal["ddp", "fsdp"]


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that speaks and writes."""
        return self.rank == 0

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Each number, averaged over all processes."""
        rows = torch.stack([v.detach().float().reshape(()) for v in values.values()])
        return dict(zip(values, mean_of(rows).tolist(), strict=True))

    def all(self, value: Any) -> list[Any]:
        """What every process says, in the order of ranks."""
        if self.world == 1:
            return [value]
        said: list[Any] = [None] * self.world
        dist.all_gather_object(said, value)
        return said


def mean_of(rows: Tensor) -> Tensor:
    """The mean over all processes of as many numbers each, in place."""
    if (together := count()) > 1:
        dist.all_reduce(rows)
        rows /= together
    return rows


def count() -> int:
    """Of the processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """The processes that `torchrun` started, for as long as the block lasts; one alone without it.

    A group that the caller has made already is used, and left to the caller.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    own = not dist.is_initialized()
    if own:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield Ranks(dist.get_rank(), world)
    # after an error the others may wait in something that this process never joins: only its end sets them free
    if own:
        dist.barrier()  # the first writes the encoder still: nobody tears down what the others may be using
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """The device of this process: with several GPUs on a machine each takes its own."""
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return device


def shared(model: nn.Module, ranks: Ranks, how: Parallel) -> nn.Module:
    """The module to call: the model itself, or as DDP or FSDP2 share it among processes."""
    if how == "fsdp":
        if ranks.world == 1:
            raise UserError("fsdp shards a model over several processes; start them: torchrun --nproc-per-node N ...")
        return sharded(model, ranks)
    if ranks.world == 1:
        return model
    device = next(model.parameters()).device
    return DistributedDataParallel(model, [device] if device.type == "cuda" else None)


def sharded(model: nn.Module, ranks: Ranks) -> nn.Module:
    """Every process holds a part of each tensor: block by block, and the rest together."""
    mesh = init_device_mesh(next(model.parameters()).device.type, (ranks.world,))
    for module in model.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


@contextmanager
def unsynced(model: nn.Module, more: bool) -> Iterator[None]:
    """A block whose gradients are not shared among processes yet, where `more` parts of the batch follow."""
    if isinstance(model, DistributedDataParallel):
        with model.no_sync() if more else nullcontext():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(not more)
    yield


def whole(value: Tensor) -> float:
    """A number, of which every process may hold a part; all of them take part."""
    return float(value.full_tensor() if isinstance(value, DTensor) else value)
