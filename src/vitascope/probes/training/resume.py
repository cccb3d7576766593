"""Resumable training: the complete state in one file, written atomically."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from vitascope.core.errors import UserError
from vitascope.core.files import atomic_file

Scratch = Path | None
"""Path of the state file; None: do not save."""
EVERY = 10.0
"""Seconds of training that may be lost: saving each of hundreds of short epochs takes longer than training them."""
_saved: dict[Path, float] = {}
"""When each state was read or written last, seconds on the monotonic clock."""


@runtime_checkable
class Stateful(Protocol):
    """Anything with a state dict: a model, an optimizer, a schedule, `LoopState`."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state: tensors, numbers, strings, and lists and dictionaries of them."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Restore such a state."""
        ...


class LoopState(dict[str, Any]):
    """State of a training loop by name: random generators, and plain values."""

    def state_dict(self) -> dict[str, Any]:
        """Return the values, with generators replaced by their states."""
        return {k: v.get_state() if isinstance(v, torch.Generator) else v for k, v in self.items()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore the generators and replace the values."""
        for name, value in state.items():
            if isinstance(self[name], torch.Generator):
                self[name].set_state(value)
            else:
                self[name] = value


def resume(scratch: Scratch, parts: Mapping[str, Stateful]) -> int:
    """Restore the state at `scratch` into `parts` and return the epochs done; 0 if there is no state."""
    if scratch is None:
        return 0
    _saved[scratch] = time.monotonic()
    if not scratch.is_file():
        return 0
    try:
        state = torch.load(scratch, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return int(state["epochs"])
    except Exception as error:  # a damaged file can raise anything
        raise UserError(
            f"{scratch}: cannot resume from this state ({type(error).__name__}); delete the file"
        ) from error


def save(scratch: Scratch, parts: Mapping[str, Stateful], epochs: int) -> None:
    """Save the state after `epochs` epochs, replacing an earlier one, unless `EVERY` seconds have not passed."""
    if scratch is None or time.monotonic() - _saved.get(scratch, 0.0) < EVERY:
        return
    scratch.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(scratch) as aside:
        torch.save({**{name: part.state_dict() for name, part in parts.items()}, "epochs": epochs}, aside)
    _saved[scratch] = time.monotonic()


def delete(scratch: Scratch) -> None:
    """Delete the state of a finished training."""
    if scratch is not None:
        _saved.pop(scratch, None)
        scratch.unlink(missing_ok=True)
        if scratch.parent.is_dir() and not any(scratch.parent.iterdir()):
            scratch.parent.rmdir()


@torch.no_grad()
def update_average(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    """Update an exponential moving average of the weights: average = decay * average + (1 - decay) * model."""
    for mean, p in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(p, 1 - decay)
