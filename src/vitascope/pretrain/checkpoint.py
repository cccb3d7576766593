"""Checkpoints of a training run: whole or not there, the last ones kept, taken up to the last bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load as read_state
from torch.distributed.checkpoint.state_dict_saver import save as write_state
from torch.optim import Optimizer

from vitascope.core.errors import UserError
from vitascope.pretrain.distributed import Ranks

FOLDER = "checkpoints"
STATE = "state.json"
NAME = re.compile(r"step-\d{9}")
KEPT = 2
"""Checkpoints that stay."""


class LoadedCheckpoint(NamedTuple):
    """A checkpoint that was taken up."""

    told: dict[str, Any]
    """What was told with it, and its `step`."""
    damaged: list[str]
    """What is to be said of newer ones that could not be read."""


def found(run: Path) -> list[Path]:
    """The whole checkpoints of a run, the newest last."""
    folders = sorted(p for p in (run / FOLDER).glob("step-*") if NAME.fullmatch(p.name))
    return [p for p in folders if (p / STATE).is_file()]


def step_of(checkpoint: Path) -> int:
    """Steps made before it."""
    return int(checkpoint.name.removeprefix("step-"))


def save(
    run: Path,
    step: int,
    model: nn.Module,
    optimizers: Iterable[Optimizer],
    *,
    told: Mapping[str, Any],
    ranks: Ranks,
    sound: Path | None = None,
) -> Path:
    """Write a checkpoint aside and rename it; all but this, the one before it and `sound` go then. Where it is.

    `told` is plain data, the same of every process. OSError where the disk refuses: the previous checkpoint stays.
    """
    place = run / FOLDER / f"step-{step:09d}"
    aside = place.with_name(f".{place.name}")
    if ranks.first:
        for torn in (run / FOLDER).glob(".step-*"):
            shutil.rmtree(torn, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
    weights, moments = get_state_dict(model, optimizers)
    ranks.all(None)
    why = ""
    try:
        with _quiet():
            state = {"model": weights, "optimizer": moments}
            write_state(state, checkpoint_id=aside, no_dist=ranks.world == 1)
        if ranks.first:
            _seal(aside, place, {**told, "step": step})
    except (Exception, CheckpointException) as error:
        why = _said(error)
    # one process alone may have failed, and all have to stop
    why = next(filter(None, ranks.all(why)), "")
    if why:
        if ranks.first:
            shutil.rmtree(aside, ignore_errors=True)
        raise OSError(f"{place}: the checkpoint could not be written ({why}); {_left(run)}; free some space, run again")
    if ranks.first:
        before = [p for p in found(run) if step_of(p) < step]
        # one of a later step could not be read, or a run is made again from an earlier one
        for gone in {*found(run)} - {place, *before[1 - KEPT :], sound}:
            shutil.rmtree(gone, ignore_errors=True)
    return place


def _seal(aside: Path, place: Path, told: Mapping[str, Any]) -> None:
    """State the sizes of its files beside what is told, and give it its name."""
    sizes = {p.name: p.stat().st_size for p in aside.iterdir()}
    with open(aside / STATE, "w", encoding="utf-8") as file:
        json.dump({**told, "files": sizes}, file)
        file.flush()
        os.fsync(file.fileno())
    shutil.rmtree(place, ignore_errors=True)
    os.replace(aside, place)


def _left(run: Path) -> str:
    kept = found(run)
    return f"the one of step {step_of(kept[-1])} is whole" if kept else "there is none before it"


def resume(run: Path, model: nn.Module, optimizers: Iterable[Optimizer], ranks: Ranks) -> LoadedCheckpoint | None:
    """Put the newest checkpoint that can be read into model and optimizers; None where there is none at all.

    A damaged one is said in `damaged`, and the one before is taken: the run makes those steps again, to the same bits.
    ValueError where all are damaged: starting anew is for the user to decide.
    """
    damaged: list[str] = []
    for checkpoint in reversed(found(run)):
        why = ""
        try:
            told = _restored(checkpoint, model, optimizers, ranks)
        except (Exception, CheckpointException) as error:
            why = _said(error)
        why = next(filter(None, ranks.all(why)), "")
        if not why:
            return LoadedCheckpoint(told, damaged)
        damaged.append(f"{checkpoint}: cannot be taken up ({why})")
    if damaged:
        raise UserError(f"{damaged[0]}, nor any before it; remove {run / FOLDER} to start from the first step")
    return None


def _restored(checkpoint: Path, model: nn.Module, optimizers: Iterable[Optimizer], ranks: Ranks) -> dict[str, Any]:
    told = state_of(checkpoint)
    weights, moments = get_state_dict(model, optimizers)
    with _quiet():
        read_state({"model": weights, "optimizer": moments}, checkpoint_id=checkpoint, no_dist=ranks.world == 1)
    set_state_dict(
        model, optimizers, model_state_dict=weights, optim_state_dict=moments, options=StateDictOptions(strict=True)
    )
    return told


def state_of(checkpoint: Path) -> dict[str, Any]:
    """What was told with a checkpoint. ValueError where one of its files has another size than it was written with."""
    told: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    for name, size in told["files"].items():
        there = (checkpoint / name).stat().st_size
        if there != size:
            raise UserError(f"{name} has {there} bytes of {size}")
    return told


def read_into(checkpoint: Path, tensors: dict[str, Tensor]) -> None:
    """Fill tensors of the model, by name, in this process alone. ValueError where the checkpoint cannot be read."""
    try:
        state_of(checkpoint)
        with _quiet():
            read_state({"model": tensors}, checkpoint_id=checkpoint, no_dist=True)
    except (Exception, CheckpointException) as error:
        raise UserError(f"{checkpoint}: cannot be read ({_said(error)}); train on, or remove it") from error


def _said(error: BaseException) -> str:
    """An error in one line: of those that processes report together, the first."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on saving from one process, which is what is wanted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
