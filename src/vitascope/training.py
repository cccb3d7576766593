"""Trainings that can be interrupted: the state of heads and optimiser in one file, written aside and renamed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from vitascope.files import replacing
from vitascope.heads import Stacked

Scratch = Path | None
"""Where the state is kept; None: nowhere."""


def resume(scratch: Scratch, model: nn.Module, optimiser: Stacked) -> int:
    """Epochs done by the state at `scratch`, which `model` and `optimiser` take on; 0 where there is none."""
    if scratch is None or not scratch.is_file():
        return 0
    try:
        state = torch.load(scratch, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.optimiser.load_state_dict(state["optimiser"])
        optimiser.taken, optimiser.lost = int(state["taken"]), dict(state["lost"])
        return int(state["epochs"])
    except Exception as error:  # a damaged file raises whatever it likes
        raise ValueError(
            f"{scratch}: cannot go on from this state ({type(error).__name__}); remove the file"
        ) from error


def keep(scratch: Scratch, model: nn.Module, optimiser: Stacked, epochs: int) -> None:
    """Write the state after so many epochs, in place of an earlier one."""
    if scratch is None:
        return
    scratch.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "model": model.state_dict(),
        "optimiser": optimiser.optimiser.state_dict(),
        "taken": optimiser.taken,
        "lost": optimiser.lost,
        "epochs": epochs,
    }
    with replacing(scratch) as aside:
        torch.save(state, aside)


def forget(scratch: Scratch) -> None:
    """Remove the state of a training that has come to its end."""
    if scratch is not None:
        scratch.unlink(missing_ok=True)
        if scratch.parent.is_dir() and not any(scratch.parent.iterdir()):
            scratch.parent.rmdir()
