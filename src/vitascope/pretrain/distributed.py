"""Distributed training: process group, model wrapping (DDP or FSDP2) and collectives."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from vitascope.core.errors import UserError
from vitascope.nn.attention import Block

Parallel: TypeAlias = Literal["ddp", "fsdp"]


@dataclass(frozen=True, slots=True)
class Ranks:
    """Rank of this process and number of processes."""

    rank: int = 0
    world: int = 1
    group: Any = None
    """Process group of `gather`; None: the default one."""

    @property
    def first(self) -> bool:
        """Whether this is rank 0, the process that logs and writes files."""
        return self.rank == 0

    def mean(self, *values: Mapping[str, Tensor]) -> Float[Tensor, "v"]:
        """Average scalars over all processes; they stay on the device, in order."""
        rows = torch.stack([v.detach().float().reshape(()) for named in values for v in named.values()])
        return all_reduce_mean(rows)

    def gather(self, value: Any) -> list[Any]:
        """Gather the objects of all processes, in the order of ranks."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, self.group)
        return values

    def with_own_group(self) -> Ranks:
        """The same ranks with a process group of their own, for collectives of another thread, on the CPU."""
        return self if self.world == 1 else replace(self, group=dist.new_group(backend="gloo"))


def all_reduce_mean(rows: Tensor) -> Tensor:
    """Average a tensor over all processes, in place."""
    if (processes := world_size()) > 1:
        dist.all_reduce(rows)
        rows /= processes
    return rows


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group(device: torch.device) -> Iterator[Ranks]:
    """Join the process group of `torchrun` for the duration of the block; a single process without it.

    A group that the caller has already initialized is used and left open.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    own = not dist.is_initialized()
    if own:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield Ranks(dist.get_rank(), world)
    # not in `finally`: after an error, others may wait in a collective that this process never joins, until it exits
    if own:
        dist.barrier()  # rank 0 may still be writing the encoder
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """Device of this process: with several GPUs in a machine, the one given by its local rank."""
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return device


def wrap_model(model: nn.Module, ranks: Ranks, how: Parallel, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Wrap a model for training by several processes (DDP or FSDP2); a single process gets the model itself.

    `dtype` is the precision of matrix products.
    """
    if how == "fsdp":
        if ranks.world == 1:
            raise UserError("fsdp shards a model across processes; start several with torchrun --nproc-per-node N ...")
        return wrap_fsdp(model, ranks, dtype)
    if ranks.world == 1:
        return model
    device = next(model.parameters()).device
    # DDP else regroups the gradients after its first step; with three processes or more a sum depends on its place
    # in the group, so a resumed run, whose first step comes later, differs. Looking for unused parameters prevents this
    warnings.filterwarnings("ignore", "find_unused_parameters=True was specified", UserWarning)
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, devices, find_unused_parameters=True)


def wrap_fsdp(model: nn.Module, ranks: Ranks, dtype: torch.dtype) -> nn.Module:
    """Shard a model with FSDP2: each transformer block separately, the remaining parameters together.

    Shards are float32, as are gradients when they are reduced. In bfloat16 parameters are gathered as that, half the
    traffic: products would be rounded to it anyway by autocast, so that only biases and norms are rounded in addition.
    """
    mesh = init_device_mesh(next(model.parameters()).device.type, (ranks.world,))
    gathered = dtype if dtype == torch.bfloat16 else None
    policy = MixedPrecisionPolicy(param_dtype=gathered, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for module in model.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    return model


@contextmanager
def gradient_sync(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Reduce gradients across processes in this block only if `enabled`: during accumulation, for the last part."""
    if isinstance(model, DistributedDataParallel):
        with nullcontext() if enabled else model.no_sync():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(enabled)
    yield


def full_value(value: Tensor) -> Float[Tensor, "1"]:
    """Value of a scalar that may be sharded, on its device; a collective of all processes."""
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().float().reshape(1)
