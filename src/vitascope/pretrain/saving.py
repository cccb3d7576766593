"""Checkpoints of a training run: whole or not there, the last ones kept, taken up to the last bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.optim import Optimizer

from vitascope.pretrain.ranks import Ranks

FOLDER = "checkpoints"
STATE = "state.json"
KEPT = 2
"""Checkpoints that stay."""


def found(run: Path) -> list[Path]:
    """The whole checkpoints of a run, the newest last."""
    folders = sorted(p for p in (run / FOLDER).glob("step-*") if re.fullmatch(r"step-\d{9}", p.name))
    return [p for p in folders if (p / STATE).is_file()]


def step_of(checkpoint: Path) -> int:
    """Steps made before it."""
    return int(checkpoint.name.removeprefix("step-"))


def save(run: Path, step: int, model: nn.Module, optimiser: Optimizer, told: dict[str, Any], ranks: Ranks) -> None:
    """Write a checkpoint aside and rename it; older ones but the last go then.

    `told` is plain data, the same of every process. OSError where the disk refuses: the previous checkpoint stays.
    """
    place = run / FOLDER / f"step-{step:09d}"
    aside = place.with_name(f".{place.name}")
    if ranks.first:
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
    weights, moments = get_state_dict(model, optimiser)
    ranks.all(None)
    try:
        with _quiet():
            dcp.save({"model": weights, "optimiser": moments}, checkpoint_id=aside, no_dist=ranks.world == 1)
        if ranks.first:
            with open(aside / STATE, "w", encoding="utf-8") as file:
                json.dump({"step": step, **told}, file)
                file.flush()
                os.fsync(file.fileno())
            shutil.rmtree(place, ignore_errors=True)
            os.replace(aside, place)
    except Exception as error:
        if ranks.first:
            shutil.rmtree(aside, ignore_errors=True)
        kept = found(run)
        last = f"the one of step {step_of(kept[-1])} is whole" if kept else "there is none before it"
        raise OSError(f"{place}: the checkpoint could not be written ({error}); {last}") from error
    ranks.all(None)
    if ranks.first:
        for old in found(run)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def restore(checkpoint: Path, model: nn.Module, optimiser: Optimizer, ranks: Ranks) -> dict[str, Any]:
    """Put a checkpoint into model and optimiser; what was told with it. ValueError for a damaged one."""
    try:
        told: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        weights, moments = get_state_dict(model, optimiser)
        with _quiet():
            dcp.load({"model": weights, "optimiser": moments}, checkpoint_id=checkpoint, no_dist=ranks.world == 1)
        set_state_dict(
            model, optimiser, model_state_dict=weights, optim_state_dict=moments, options=StateDictOptions(strict=True)
        )
    except Exception as error:
        why = str(error).strip().splitlines()
        raise ValueError(
            f"{checkpoint}: cannot be taken up ({why[0] if why else type(error).__name__}); "
            "remove it, and the run goes on from the one before"
        ) from error
    return told


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on saving from one process, which is what is wanted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
