"""Write the training log of a pretraining run, one JSON object per line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from vitascope.core.errors import StorageError, UserError
from vitascope.core.types import Score, plain
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.monitoring.display import Display
from vitascope.pretrain.monitoring.divergence import DivergenceMonitor, update
from vitascope.pretrain.monitoring.log import RECORDER, Line
from vitascope.pretrain.monitoring.loggers import Mirror
from vitascope.pretrain.monitoring.step_history import Step


class LogWriter:
    """Appends to `recorder.jsonl` in a run folder, displays the lines and monitors them for divergence.

    Only rank 0 of a run writes. Every line is handed to the operating system before the call returns, so a killed run
    loses none. After each step and probing, `why` says whether the run must stop. To continue an existing log, call
    `resumed` with the step of the checkpoint; lines beyond it are superseded.
    """

    def __init__(
        self,
        run: str | Path,
        *,
        display: Display | None = None,
        mirrors: Sequence[Mirror] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the log of `run`; `clock` returns seconds. Raises UserError if the file is not a training log."""
        self.path = Path(run) / RECORDER
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._display, self._mirrors, self._clock = display, tuple(mirrors), clock
        self._file: IO[bytes] = open(self.path, "ab+", buffering=0)  # noqa: SIM115 - closed by `close`
        self._monitor, self._start_time, self._line_truncated = DivergenceMonitor(), 0.0, False
        self._empty = not self._read_back()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def why(self) -> str:
        """Reason why the run must stop, with the evidence; empty while training is sound."""
        return self._monitor.why

    @property
    def suspect(self) -> bool:
        """Whether the last probing showed a collapse; a single one does not stop the run."""
        return bool(self._monitor.collapsed)

    def start(self, recipe: Any, *, params: int, total: int = 0, init: str = "") -> None:
        """Log the start: recipe (plain data or frozen dataclasses), parameter count and total steps (0: unknown).

        `init` describes the weights started from. Raises UserError if the folder already contains a log.
        """
        if not self._empty:
            raise UserError(
                f"{self.path}: this folder already contains a run; resume it, or choose another folder with -o"
            )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"kind": "start", "recipe": plain(recipe), "time": now, "params": params, "total": total}
        self._write({**line, **({"init": init} if init else {})}, True)

    def resumed(self, step: int) -> None:
        """Log a resumption after `step`; lines beyond it, an alarm and the end of the run are superseded."""
        self._write({"kind": "resumed", "step": step}, True)
        self._read_back()

    def step(
        self,
        step: int,
        *,
        clips_consumed: int,
        losses: Mapping[str, float],
        loss: float,
        lr: float,
        grad_norm: float,
        clips_per_second: float,
        waiting: float,
        by_source: Mapping[str, Mapping[str, float]] | None = None,
        broken: int = 0,
        skipped: int = 0,
        steps_per_second: float | None = None,
        mfu: float | None = None,
        memory: int | None = None,
    ) -> None:
        """Log the optimizer steps since the last line.

        `clips_consumed` counts from the start of training; `losses` are unweighted means by target, `loss` is their
        sum with the largest weight of each, so that steps can be compared; `by_source` has the means of each
        source's steps. `waiting` is the share of the time spent waiting for data, 0 to 1; `broken` counts unreadable
        files, `skipped` the steps so far that were not finite.
        `mfu` is the share of the devices' matrix peak, `memory` the highest use so far in bytes.
        """
        line = {
            "kind": "step",
            "step": step,
            "seen": clips_consumed,
            "losses": dict(losses),
            "loss": loss,
            "lr": lr,
            "grad_norm": grad_norm,
            "clips_per_second": clips_per_second,
            "waiting": waiting,
        }
        speed = {"steps_per_second": steps_per_second, "mfu": mfu, "memory": memory}
        counts = {"broken": broken or None, "skipped": skipped or None}
        sources = {"by_source": {name: dict(means) for name, means in (by_source or {}).items()} or None}
        later = {name: value for name, value in {**speed, **sources, **counts}.items() if value is not None}
        self._write({**line, **later, "seconds": round(self._clock() - self._start_time, 3)})

    def gradients(
        self, step: int, *, clips_consumed: int, norms: Mapping[str, float], cosines: Mapping[str, float]
    ) -> None:
        """Log the gradients of the targets on the encoder before `step`: norms by target, cosines by "one, other"."""
        line = {"kind": "gradients", "step": step, "seen": clips_consumed}
        self._write({**line, "norms": dict(norms), "cosines": dict(cosines)})

    def probe(
        self,
        step: int,
        *,
        clips_consumed: int,
        scores: Mapping[str, Score],
        effective_rank: float,
        token_std: float,
        similarity: Mapping[str, float] | None = None,
        axes: Mapping[str, str] | None = None,
        chance: Mapping[str, float] | None = None,
        order_free: Mapping[str, float] | None = None,
    ) -> None:
        """Log in-loop probing: `scores` in percent by "dataset probe"; `axes`, `chance` and `order_free` (percent)
        by the same names.

        An axis is "appearance" or "motion"; without one, the report goes by the dataset's name.
        """
        known = {"axis": axes, "chance": chance, "order_free": order_free}
        entries = {
            name: {**score._asdict(), **{k: v[name] for k, v in known.items() if v and name in v}}
            for name, score in scores.items()
        }
        line = {
            "kind": "probe",
            "step": step,
            "seen": clips_consumed,
            "scores": entries,
            "effective_rank": effective_rank,
        }
        self._write({**line, "token_std": token_std, "similarity": dict(similarity or {})}, True)

    def skipped(self, steps: Iterable[Step]) -> None:
        """Log the steps that the optimizers skipped because a loss or the gradient was not finite."""
        for step in steps:
            self._write({"kind": "skipped", "step": step.number, "why": step.problem}, True)

    def alarm(self, step: int, why: str = "") -> str:
        """Log that the run stops at `step`; `why` defaults to the monitor's reason. Returns the reason."""
        self._write({"kind": "alarm", "step": step, "why": why or self.why}, True)
        return why or self.why

    def done(self, step: int) -> None:
        """Log that the run is complete."""
        self._write({"kind": "done", "step": step}, True)

    def close(self) -> None:
        """Close the file, the display and the mirrors."""
        self._file.close()
        if self._display is not None:
            self._display.close()
        for mirror in self._mirrors:
            mirror.close()

    def _read_back(self) -> bool:
        """Restore monitor and clock from the existing lines; returns whether there are any."""
        self._file.seek(0)
        data = self._file.read()
        lines = recording.current_lines(recording.parse_lines(data, str(self.path)))
        self._line_truncated = bool(data) and not data.endswith(b"\n")
        self._monitor = reduce(update, lines, DivergenceMonitor())
        self._start_time = self._clock() - max((float(line.get("seconds") or 0.0) for line in lines), default=0.0)
        return bool(lines)

    def _write(self, line: Line, sync: bool = False) -> None:
        text = (json.dumps(_finite(line), allow_nan=False) + "\n").encode()
        if self._file.write(b"\n" + text if self._line_truncated else text) != len(text) + self._line_truncated:
            self._line_truncated = True
            raise StorageError(f"{self.path}: only part of a line could be written; free some space and resume the run")
        self._line_truncated = self._empty = False
        if sync:
            os.fsync(self._file.fileno())
        self._monitor = update(self._monitor, line)
        if self._display is not None:
            self._display.line(line)
        for mirror in self._mirrors:
            mirror.line(line)


def _finite(value: Any) -> Any:
    """Convert to JSON-serializable data; numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value
