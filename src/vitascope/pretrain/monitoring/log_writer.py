"""Recorder: what a pretraining run writes down of itself while it runs, one line of JSON at a time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from vitascope.core.errors import UserError
from vitascope.core.types import Score, plain
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.monitoring.display import Display
from vitascope.pretrain.monitoring.divergence import DivergenceMonitor, follow
from vitascope.pretrain.monitoring.log import RECORDER, Line
from vitascope.pretrain.monitoring.loggers import Mirror


class LogWriter:
    """Appends to `recorder.jsonl` of a run folder, shows the lines as they come, and watches over them.

    One process of a run records. A line is with the operating system when the call returns: a killed run loses none.
    After every step and probe `why` tells whether the run must stop. A recorder that is opened on a run goes on with
    it: call `resumed` with the step of the checkpoint, and what was recorded beyond is overtaken.
    """

    def __init__(
        self,
        run: str | Path,
        *,
        display: Display | None = None,
        mirrors: Sequence[Mirror] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the file of `run`; `clock` gives seconds. ValueError where what is there is no recording."""
        self.path = Path(run) / RECORDER
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._display, self._mirrors, self._clock = display, tuple(mirrors), clock
        self._file: IO[bytes] = open(self.path, "ab+", buffering=0)  # noqa: SIM115 - held until `close`
        self._watch, self._began, self._torn = DivergenceMonitor(), 0.0, False
        self._empty = not self._take_up()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def why(self) -> str:
        """Why the run must stop, with the evidence; nothing while all is well."""
        return self._watch.why

    @property
    def doubt(self) -> bool:
        """Whether the last probe found a collapse, though one alone is no reason to stop."""
        return bool(self._watch.collapsed)

    def start(self, recipe: Any, *, params: int, total: int = 0) -> None:
        """Begin: the recipe (plain data or frozen dataclasses), parameters, and steps in all (0: not known).

        ValueError where the folder holds a recording already.
        """
        if not self._empty:
            raise UserError(f"{self.path}: a run was recorded there already; resume it, or name another folder with -o")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._write({"kind": "start", "recipe": plain(recipe), "time": now, "params": params, "total": total}, True)

    def resumed(self, step: int) -> None:
        """Go on after `step`: lines beyond it are overtaken, and so is an alarm or the end of the run."""
        self._write({"kind": "resumed", "step": step}, True)
        self._take_up()

    def step(
        self,
        step: int,
        *,
        seen: int,
        losses: Mapping[str, float],
        loss: float,
        lr: float,
        grad_norm: float,
        clips_per_second: float,
        waiting: float,
        by_source: Mapping[str, Mapping[str, float]] | None = None,
        broken: int = 0,
    ) -> None:
        """The optimizer steps since the last line: clips `seen` so far, mean unweighted `losses` by target.

        `loss` is their weighted sum; `by_source` has those of each source's steps, `broken` counts unreadable files.
        `waiting` is the share of the time spent waiting for data, 0 to 1.
        """
        self._write(
            {
                "kind": "step",
                "step": step,
                "seen": seen,
                "losses": dict(losses),
                "loss": loss,
                "lr": lr,
                "grad_norm": grad_norm,
                "clips_per_second": clips_per_second,
                "waiting": waiting,
                **({"by_source": {name: dict(of) for name, of in by_source.items()}} if by_source else {}),
                **({"broken": broken} if broken else {}),
                "seconds": round(self._clock() - self._began, 3),
            }
        )

    def probe(
        self,
        step: int,
        *,
        seen: int,
        scores: Mapping[str, Score],
        effective_rank: float,
        token_std: float,
        similarity: Mapping[str, float] | None = None,
        axes: Mapping[str, str] | None = None,
        chance: Mapping[str, float] | None = None,
    ) -> None:
        """What probes found: `scores` by "dataset probe", percent; by the same names `axes` and `chance` where known.

        `axes` says `appearance` or `motion`; the report else goes by the name of the data set.
        """
        told = {
            name: {**score._asdict(), **_given("axis", axes, name), **_given("chance", chance, name)}
            for name, score in scores.items()
        }
        line = {"kind": "probe", "step": step, "seen": seen, "scores": told, "effective_rank": effective_rank}
        self._write({**line, "token_std": token_std, "similarity": dict(similarity or {})}, True)

    def alarm(self, step: int, why: str = "") -> str:
        """Note that the run stops at `step`, and `why`: as given, else as seen. Returns the reason."""
        self._write({"kind": "alarm", "step": step, "why": why or self.why}, True)
        return why or self.why

    def done(self, step: int) -> None:
        """Note that the run is complete."""
        self._write({"kind": "done", "step": step}, True)

    def close(self) -> None:
        """Close the file, the display and the mirrors."""
        self._file.close()
        if self._display is not None:
            self._display.close()
        for mirror in self._mirrors:
            mirror.close()

    def _take_up(self) -> bool:
        """Watch and clock as of the lines that stand; whether there are any. They are read, not held: a run is long."""
        self._file.seek(0)
        data = self._file.read()
        lines = recording.kept(recording.parsed(data, str(self.path)))
        self._torn = bool(data) and not data.endswith(b"\n")
        self._watch = reduce(follow, lines, DivergenceMonitor())
        self._began = self._clock() - max((float(line.get("seconds") or 0.0) for line in lines), default=0.0)
        return bool(lines)

    def _write(self, line: Line, sync: bool = False) -> None:
        text = (json.dumps(_finite(line), allow_nan=False) + "\n").encode()
        if self._file.write(b"\n" + text if self._torn else text) != len(text) + self._torn:
            self._torn = True
            raise OSError(f"{self.path}: the disk took only a part of a line; free some space and resume the run")
        self._torn = self._empty = False
        if sync:
            os.fsync(self._file.fileno())
        self._watch = follow(self._watch, line)
        if self._display is not None:
            self._display.line(line)
        for mirror in self._mirrors:
            mirror.line(line)


def _given(key: str, known: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    return {key: known[name]} if known and name in known else {}


def _finite(value: Any) -> Any:
    """`value` as JSON can hold it: a number that is none becomes null."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value
