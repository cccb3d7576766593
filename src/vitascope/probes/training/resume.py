"""Trainings that can be interrupted: all that they go on from in one file, written aside and renamed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from vitascope.core.errors import UserError
from vitascope.core.files import replacing

Scratch = Path | None
"""Where the state is kept; None: nowhere."""


@runtime_checkable
class Stateful(Protocol):
    """What has a state: a model, an optimizer, a schedule, `Facts`."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, text, and lists and dictionaries of them."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take on such a state."""
        ...


class Facts(dict[str, Any]):
    """Generators, which go on drawing where they were, and values, which are replaced."""

    def state_dict(self) -> dict[str, Any]:
        """Of generators their states."""
        return {k: v.get_state() if isinstance(v, torch.Generator) else v for k, v in self.items()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Take them on."""
        for name, value in state.items():
            if isinstance(self[name], torch.Generator):
                self[name].set_state(value)
            else:
                self[name] = value


def resume(scratch: Scratch, parts: Mapping[str, Stateful]) -> int:
    """Epochs done by the state at `scratch`, which the parts take on; 0 where there is none."""
    if scratch is None or not scratch.is_file():
        return 0
    try:
        state = torch.load(scratch, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return int(state["epochs"])
    except Exception as error:  # a damaged file raises whatever it likes
        raise UserError(f"{scratch}: cannot go on from this state ({type(error).__name__}); remove the file") from error


def keep(scratch: Scratch, parts: Mapping[str, Stateful], epochs: int) -> None:
    """Write the state after so many epochs, in place of an earlier one."""
    if scratch is None:
        return
    scratch.parent.mkdir(parents=True, exist_ok=True)
    with replacing(scratch) as aside:
        torch.save({**{name: part.state_dict() for name, part in parts.items()}, "epochs": epochs}, aside)


def forget(scratch: Scratch) -> None:
    """Remove the state of a training that has come to its end."""
    if scratch is not None:
        scratch.unlink(missing_ok=True)
        if scratch.parent.is_dir() and not any(scratch.parent.iterdir()):
            scratch.parent.rmdir()


@torch.no_grad()
def averaged(average: torch.nn.Module, model: torch.nn.Module, share: float) -> None:
    """Move `average` towards `model`, of which it keeps `share`."""
    for mean, p in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(p, 1 - share)
