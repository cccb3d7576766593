"""Mirror the training log to TensorBoard or Weights & Biases, if installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from vitascope.core.errors import MissingPackageError, UserError
from vitascope.core.text import nearest
from vitascope.core.types import digest
from vitascope.pretrain.monitoring.log import Line

NAMES = ("tensorboard", "wandb")
GROUPS = {"step": "train", "probe": "features", "gradients": "gradients"}
"""Groups of the values of each kind of line."""


@runtime_checkable
class Mirror(Protocol):
    """Receives every line of the training log."""

    def line(self, line: Line) -> None:
        """Log one line."""
        ...

    def close(self) -> None:
        """Flush and close."""
        ...


def open_mirror(name: str, run: Path) -> Mirror:
    """Open the mirror `name` for the run folder `run`. Raises UserError if it is unknown or not installed."""
    if name == "tensorboard":
        return TensorBoard(run)
    if name == "wandb":
        return WandB(run)
    raise UserError(f"unknown mirror {name!r}{nearest(name, NAMES)}; available are {', '.join(NAMES)}")


def scalars(line: Line) -> dict[str, float]:
    """Collect the finite scalars of a step or probing, by names with slashes, which both tools group by."""
    if line["kind"] not in GROUPS:
        return {}
    group = GROUPS[line["kind"]]
    named: dict[str, Any] = {f"loss/{name}": value for name, value in line.get("losses", {}).items()}
    named |= {f"similarity/{name}": value for name, value in line.get("similarity", {}).items()}
    for key in ("norms", "cosines"):
        named |= {f"gradients/{key}/{name}": value for name, value in line.get(key, {}).items()}
    named |= {f"probe/{name}": score["value"] for name, score in line.get("scores", {}).items()}
    named |= {f"{group}/{name}": value for name, value in line.items() if name != "step"}
    return {name: float(v) for name, v in named.items() if isinstance(v, (int, float)) and v - v == 0}


class TensorBoard:
    """Writes event files to `tensorboard/` in the run folder."""

    def __init__(self, run: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingPackageError("TensorBoard is not installed: pip install 'vitascope[tensorboard]'") from None
        self._open: Any = lambda purge=None: SummaryWriter(str(run / "tensorboard"), purge_step=purge)
        self._writer: Any = None

    def line(self, line: Line) -> None:
        """Log one line; after "resumed", superseded events are purged."""
        if line["kind"] == "resumed":
            self.close()
            self._writer = self._open(line["step"] + 1)
        self._writer = self._writer or self._open()
        for name, value in scalars(line).items():
            self._writer.add_scalar(name, value, line["step"])
        if line["kind"] == "alarm":
            self._writer.add_text("alarm", line["why"], line["step"])

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()


class WandB:
    """Logs to a Weights & Biases run, in the project given by `WANDB_PROJECT`, else `vitascope`."""

    def __init__(self, run: Path) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingPackageError("Weights & Biases is not installed: pip install 'vitascope[wandb]'") from None
        self._wandb: Any = wandb
        folder = run.resolve()
        self._run: Any = wandb.init(
            project=None if os.environ.get("WANDB_PROJECT") else "vitascope",
            name=folder.name,
            id=digest(str(folder)),
            dir=str(run),
            resume="allow",
        )
        # an explicit step: the built-in one must increase, but a resumed run goes back
        self._run.define_metric("*", step_metric="step")

    def line(self, line: Line) -> None:
        """Log one line."""
        if line["kind"] == "start":
            self._run.config.update(line["recipe"], allow_val_change=True)
        if values := scalars(line):
            self._run.log({**values, "step": line["step"]})
        if line["kind"] == "alarm":
            self._run.alert(title="vitascope", text=line["why"])

    def close(self) -> None:
        """Flush and close."""
        self._run.finish()
