"""Mirrors: what the recorder writes, sent to TensorBoard or Weights & Biases too, where they are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import digest
from vitascope.pretrain.monitoring.log import Line

NAMES = ("tensorboard", "wandb")


@runtime_checkable
class Mirror(Protocol):
    """Takes every line that is recorded."""

    def line(self, line: Line) -> None:
        """Show one line."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


def open_mirror(name: str, run: Path) -> Mirror:
    """The mirror called `name` of the run in the folder `run`; ValueError where there is none, or it is missing."""
    if name == "tensorboard":
        return TensorBoard(run)
    if name == "wandb":
        return WandB(run)
    raise UserError(f"no mirror {name!r}{nearest(name, NAMES)}; there are {', '.join(NAMES)}")


def scalars(line: Line) -> dict[str, float]:
    """The numbers of a step or a probe, by a path of names as both tools group them; those not finite are left out."""
    if line["kind"] not in ("step", "probe"):
        return {}
    group = "train" if line["kind"] == "step" else "features"
    named: dict[str, Any] = {f"loss/{name}": value for name, value in line.get("losses", {}).items()}
    named |= {f"similarity/{name}": value for name, value in line.get("similarity", {}).items()}
    named |= {f"probe/{name}": score["value"] for name, score in line.get("scores", {}).items()}
    named |= {f"{group}/{name}": value for name, value in line.items() if name != "step"}
    return {name: float(v) for name, v in named.items() if isinstance(v, (int, float)) and v - v == 0}


class TensorBoard:
    """Event files in `tensorboard/` of the run folder."""

    def __init__(self, run: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError("TensorBoard is not installed: pip install 'vitascope[tensorboard]'") from None
        self._open: Any = lambda purge=None: SummaryWriter(str(run / "tensorboard"), purge_step=purge)
        self._writer: Any = None

    def line(self, line: Line) -> None:
        """Show one line; what a resumed run overtakes is taken back."""
        if line["kind"] == "resumed":
            self.close()
            self._writer = self._open(line["step"] + 1)
        self._writer = self._writer or self._open()
        for name, value in scalars(line).items():
            self._writer.add_scalar(name, value, line["step"])
        if line["kind"] == "alarm":
            self._writer.add_text("alarm", line["why"], line["step"])

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()


class WandB:
    """A run of Weights & Biases, in the project of the environment (`WANDB_PROJECT`), else `vitascope`."""

    def __init__(self, run: Path) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError("Weights & Biases is not installed: pip install 'vitascope[wandb]'") from None
        self._wandb: Any = wandb
        where = run.resolve()
        self._run: Any = wandb.init(
            project=None if _said("WANDB_PROJECT") else "vitascope",
            name=where.name,
            id=digest(str(where)),
            dir=str(run),
            resume="allow",
        )
        # a step of its own: theirs must never go back, a resumed run does
        self._run.define_metric("*", step_metric="step")

    def line(self, line: Line) -> None:
        """Show one line."""
        if line["kind"] == "start":
            self._run.config.update(line["recipe"], allow_val_change=True)
        if found := scalars(line):
            self._run.log({**found, "step": line["step"]})
        if line["kind"] == "alarm":
            self._run.alert(title="vitascope", text=line["why"])

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()


def _said(name: str) -> bool:
    import os

    return bool(os.environ.get(name))
