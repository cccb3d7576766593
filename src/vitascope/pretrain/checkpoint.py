"""Checkpoints of a training run: written atomically, the last ones kept, resumed bit for bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load as read_state
from torch.distributed.checkpoint.state_dict_saver import save as write_state
from torch.optim import Optimizer

from vitascope.core.errors import StorageError, UserError
from vitascope.core.files import read_bytes
from vitascope.core.schema import conform, parse
from vitascope.pretrain.distributed import Ranks

FOLDER = "checkpoints"
STATE = "state.json"
NAME = re.compile(r"step-\d{9}")
PARTS = ("decoders", "slow")
"""Parts of a model beside the student, each by target."""
KEEP_LAST = 2
"""Number of checkpoints kept."""


class LoadedCheckpoint(NamedTuple):
    """A checkpoint that training resumes from."""

    metadata: dict[str, Any]
    """Metadata saved with it, including its `step`."""
    damaged: list[str]
    """Warnings about newer checkpoints that could not be read."""


def list_checkpoints(run: Path) -> list[Path]:
    """List the complete checkpoints of a run, oldest first."""
    folders = sorted(p for p in (run / FOLDER).glob("step-*") if NAME.fullmatch(p.name))
    return [p for p in folders if (p / STATE).is_file()]


def step_of(checkpoint: Path) -> int:
    """Return the number of steps before the checkpoint."""
    return int(checkpoint.name.removeprefix("step-"))


def save(
    run: Path,
    step: int,
    model: nn.Module,
    optimizers: Iterable[Optimizer],
    *,
    metadata: Mapping[str, Any],
    ranks: Ranks,
    healthy: Path | None = None,
) -> Path:
    """Write a checkpoint atomically and return its folder; deletes all others but the previous one and `healthy`.

    `metadata` is plain data, equal in all processes. Raises StorageError if writing fails; the previous one is kept.
    """
    folder = run / FOLDER / f"step-{step:09d}"
    partial = folder.with_name(f".{folder.name}")
    if ranks.first:
        for leftover in (run / FOLDER).glob(".step-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
    weights, moments = get_state_dict(model, optimizers)
    ranks.gather(None)
    why = ""
    try:
        with _without_warnings():
            state = {"model": weights, "optimizer": moments}
            write_state(state, checkpoint_id=partial, no_dist=ranks.world == 1)
        if ranks.first:
            _finalize(partial, folder, {**metadata, "step": step})
    except (Exception, CheckpointException) as error:
        why = _summary(error)
    # all processes have to stop even if only one has failed
    why = next(filter(None, ranks.gather(why)), "")
    if why:
        if ranks.first:
            shutil.rmtree(partial, ignore_errors=True)
        raise StorageError(
            f"{folder}: the checkpoint could not be written ({why}); {_last_intact(run)}; free some space and rerun"
        )
    if ranks.first:
        earlier = [p for p in list_checkpoints(run) if step_of(p) < step]
        # checkpoints of later steps are unreadable, or the run was restarted from an earlier one
        for obsolete in {*list_checkpoints(run)} - {folder, *earlier[1 - KEEP_LAST :], healthy}:
            shutil.rmtree(obsolete, ignore_errors=True)
    return folder


def _finalize(partial: Path, folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write the metadata with the sizes of the files and rename the folder to its final name."""
    sizes = {p.name: p.stat().st_size for p in partial.iterdir()}
    with open(partial / STATE, "w", encoding="utf-8") as file:
        json.dump({**metadata, "files": sizes}, file)
        file.flush()
        os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def _last_intact(run: Path) -> str:
    checkpoints = list_checkpoints(run)
    return f"the one of step {step_of(checkpoints[-1])} is intact" if checkpoints else "there is no earlier one"


DAMAGED = "train on, or remove this checkpoint"


@dataclass(frozen=True)
class _Metadata:
    """The metadata as far as they are read again."""

    files: dict[str, int]
    step: int = 0
    seen: int = 0
    steps: int = 0
    shape: dict[str, Any] | None = None
    card: dict[str, Any] | None = None
    origin: dict[str, Any] | None = None


def resume(run: Path, model: nn.Module, optimizers: Iterable[Optimizer], ranks: Ranks) -> LoadedCheckpoint | None:
    """Load the newest readable checkpoint into model and optimizers; None if the run has no checkpoints.

    Damaged newer ones are listed in `damaged`; their steps are repeated, bit for bit. Raises UserError if all are
    damaged: whether to start over is the user's decision.
    """
    damaged: list[str] = []
    for checkpoint in reversed(list_checkpoints(run)):
        why = ""
        try:
            metadata = _restore(checkpoint, model, optimizers, ranks)
        except (Exception, CheckpointException) as error:
            why = _summary(error)
        why = next(filter(None, ranks.gather(why)), "")
        if not why:
            return LoadedCheckpoint(metadata, damaged)
        damaged.append(f"{checkpoint}: cannot be loaded ({why})")
    if damaged:
        raise UserError(f"{damaged[0]}, nor can any earlier one; remove {run / FOLDER} to start over")
    return None


def _restore(checkpoint: Path, model: nn.Module, optimizers: Iterable[Optimizer], ranks: Ranks) -> dict[str, Any]:
    metadata = read_metadata(checkpoint)
    weights, moments = get_state_dict(model, optimizers)
    with _without_warnings():
        read_state({"model": weights, "optimizer": moments}, checkpoint_id=checkpoint, no_dist=ranks.world == 1)
    set_state_dict(
        model, optimizers, model_state_dict=weights, optim_state_dict=moments, options=StateDictOptions(strict=True)
    )
    return metadata


def adopt(checkpoint: Path, model: nn.Module, optimizers: Iterable[Optimizer], ranks: Ranks) -> list[str]:
    """Load what a checkpoint of another run has of the same name and size: weights and optimizer state.

    Returns the names of the decoders and slow copies that it does not have whole. A collective of all processes.
    """
    sizes = {
        name: stored.size
        for name, stored in FileSystemReader(checkpoint).read_metadata().state_dict_metadata.items()
        if isinstance(stored, TensorStorageMetadata)
    }
    weights, moments = get_state_dict(model, optimizers)
    known = {k: v for k, v in weights.items() if isinstance(v, Tensor) and sizes.get(f"model.{k}") == v.shape}
    state: dict[str, dict[str, Any]] = {}
    for name, values in moments["state"].items():
        state[name] = {k: v for k, v in values.items() if sizes.get(f"optimizer.state.{name}.{k}") == v.shape}
        if state[name].keys() != values.keys():
            values["step"].zero_() if "step" in values else None
            state[name] = {}
    with _without_warnings():
        wanted = {"model": known, "optimizer": {"state": {k: v for k, v in state.items() if v}}}
        read_state(wanted, checkpoint_id=checkpoint, no_dist=ranks.world == 1)
    set_state_dict(
        model, optimizers, model_state_dict=weights, optim_state_dict=moments, options=StateDictOptions(strict=True)
    )
    return sorted({".".join(k.split(".")[:2]) for k in weights.keys() - known.keys() if k.split(".")[0] in PARTS})


def read_metadata(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint's metadata. Raises UserError if one of its files does not have the size it was written with."""
    path = checkpoint / STATE
    metadata: dict[str, Any] = parse(read_bytes(path), str(path), DAMAGED, finite=False)  # losses may be NaN
    for name, size in conform(metadata, _Metadata, str(path), DAMAGED).files.items():
        file = checkpoint / name
        actual = file.stat().st_size if file.is_file() else 0
        if actual != size:
            raise UserError(f"{name} has {actual} of {size} bytes")
    return metadata


def load_tensors(checkpoint: Path, tensors: dict[str, Tensor]) -> None:
    """Load named tensors of the model in place, in a single process. Raises UserError if this fails."""
    try:
        read_metadata(checkpoint)
        with _without_warnings():
            read_state({"model": tensors}, checkpoint_id=checkpoint, no_dist=True)
    except (Exception, CheckpointException) as error:
        raise UserError(
            f"{checkpoint}: cannot be read ({_summary(error)}); remove it, or train to the next checkpoint"
        ) from error


def _summary(error: BaseException) -> str:
    """Summarize an error in one line; of errors collected from several processes, the first."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress torch's warnings about saving from a single process, which is intended here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
