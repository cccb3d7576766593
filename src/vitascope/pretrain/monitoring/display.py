"""Show the training log: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vitascope.core.text import escaped, with_interval
from vitascope.core.types import Score
from vitascope.pretrain.monitoring.log import Line

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

PLAIN_SECONDS = 15.0
"""Minimum seconds between two plain lines about steps; other lines are printed at once."""
STARVED = 0.2
"""Share of the time spent waiting for data from which the data are reported as the bottleneck."""


class Display:
    """Progress of a run: redrawn in place on a terminal, plain lines elsewhere."""

    def __init__(self, name: str, *, total: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """Show the run `name` of `total` steps (0: unknown) on standard error; `clock` returns seconds."""
        self.total = total
        self.name, self._stream, self._clock = escaped(name), sys.stderr, clock
        self._last: dict[str, Line] = {}
        self._previous_probe: Line = {}
        self._last_print = float("-inf")
        self._live: Live | None = self._open() if self._stream.isatty() else None

    def line(self, line: Line) -> None:
        """Show one line of the training log."""
        kind = line["kind"]
        if kind == "probe":
            self._previous_probe = self._last.get("probe", {})
        self._last[kind] = line
        if self._live is not None:
            self._live.update(self.table())
        elif kind != "step" or self._clock() - self._last_print >= PLAIN_SECONDS:
            self._last_print = self._clock() if kind == "step" else self._last_print
            print(f"{self.name} · {self.text(line)}", file=self._stream, flush=True)

    def close(self) -> None:
        """Stop updating; the last state stays on the screen."""
        if self._live is not None:
            self._live.stop()

    def _open(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        live = Live(self.table(), console=Console(file=self._stream), auto_refresh=False)
        live.start()
        return live

    def text(self, line: Line) -> str:
        """Format a line of the training log as text."""
        kind = line["kind"]
        if kind == "step":
            return " · ".join([self._progress(line), *(f"{k} {v}" for k, v in _training(line)), *_losses_text(line)])
        if kind == "probe":
            scores = [f"{name} {value}" for name, value, _ in _probe_rows(line, {})]
            return " · ".join([f"probe at step {line['step']:,}", *scores])
        if kind == "start":
            init = f" · from {escaped(line['init'])}" if line.get("init") else ""
            return f"start · {line['params'] / 1e6:.2f} M parameters{init}"
        templates = {"alarm": "STOPPED at step {step}: {why}", "resumed": "resumed after step {step}", "done": "done"}
        return templates[kind].format(**{**line, "why": escaped(str(line.get("why", "")))})

    def table(self) -> Group:
        """The current state as tables: throughput, losses by target, and the last probing results."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        step, probe = self._last.get("step", {}), self._last.get("probe", {})
        title = f"{self.name} · {self._progress(step)}" if step else self.name
        parts: list[Any] = [Text(title, style="bold")]
        train = Table("training", "", "loss", "", box=None, header_style="dim", pad_edge=False)
        left = list(_training(step)) if step else []
        right = [("weighted sum", _small(step.get("loss"))), *_losses(step)] if step else []
        for place in range(max(len(left), len(right))):
            pair = [*(left[place] if place < len(left) else ("", "")), *(right[place : place + 1] or [("", "")])[0]]
            train.add_row(*map(Text, pair))
        parts += [train] if step else []
        if probe:
            headers = (f"probe at step {probe['step']:,}", "", "since the last")
            results = Table(*headers, box=None, header_style="dim", pad_edge=False)
            for cells in _probe_rows(probe, self._previous_probe):
                results.add_row(*map(Text, cells))
            parts.append(results)
        if "alarm" in self._last:
            parts.append(Text(self.text(self._last["alarm"]), style="bold red"))
        return Group(*parts)

    def _progress(self, step: Line) -> str:
        """Steps and clips so far, and the time remaining at the current speed."""
        total = self._last.get("start", {}).get("total") or self.total
        text = f"step {step['step']:,}{f' of {total:,}' if total else ''} · {step['seen']:,} clips"
        if total and step["step"] and step.get("clips_per_second"):
            seconds_left = (total - step["step"]) * step["seen"] / step["step"] / step["clips_per_second"]
            text += f" · {_clock(seconds_left)} to go"
        return text


def _training(step: Line) -> Iterator[tuple[str, str]]:
    yield "speed", f"{step['clips_per_second']:,.0f} clips/s"
    starved = ": data-bound" if step["waiting"] >= STARVED else ""
    yield "waiting", f"{step['waiting']:.0%}{starved}"
    if broken := step.get("broken"):
        yield "unreadable", f"{broken:,}"
    yield "lr", f"{step['lr']:.2e}"
    yield "gradient", _small(step["grad_norm"])


def _losses(step: Line) -> list[tuple[str, str]]:
    return [(escaped(name), _small(value)) for name, value in step["losses"].items()]


def _losses_text(step: Line) -> list[str]:
    parts = ", ".join(f"{name} {value}" for name, value in _losses(step))
    return [f"loss {_small(step['loss'])} ({parts})"]


def _probe_rows(probe: Line, previous: Line) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and change since the previous probing."""
    old_scores: Mapping[str, Any] = previous.get("scores", {})
    for name, score in probe["scores"].items():
        change = f"{score['value'] - old_scores[name]['value']:+.1f}" if name in old_scores else ""
        yield escaped(name), with_interval(Score(score["value"], score.get("low"), score.get("high"))), change
    for name, label in (("effective_rank", "effective rank"), ("token_std", "token deviation")):
        change = f"{probe[name] - previous[name]:+.2f}" if name in previous else ""
        yield label, _small(probe[name]), change
    for name, value in probe.get("similarity", {}).items():
        yield f"similarity of {escaped(name)}", _small(value), ""


def _small(value: float | None) -> str:
    return "not a number" if value is None or value != value else f"{value:.3g}"


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
