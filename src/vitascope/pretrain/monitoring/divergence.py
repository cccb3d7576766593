"""Detect divergence and collapse from the lines of a training log, and describe the evidence; pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from vitascope.pretrain.monitoring.log import Line

SMOOTHING = 0.9
"""Decay of the exponential moving average of a loss, per line, so that one bad batch does not count as divergence."""
WARMUP_LINES = 10
"""First lines of a loss, which only set its initial level (their mean)."""
DIVERGENCE_FACTOR = 3.0
"""A smoothed loss has diverged at this multiple of its minimum, if it also exceeds its initial level."""
MIN_RANK = 1.5
"""Effective rank below which clip features have collapsed to one dimension."""
MIN_TOKEN_STD = 0.01
"""`token_std` below which tokens count as identical for all clips."""
PATIENCE = 2
"""Consecutive probings that must show a collapse, since the first of a run comes early."""


@dataclass(frozen=True)
class LossHistory:
    """Smoothed course of one loss: number of lines, initial level, current value, minimum and its step."""

    lines: int = 0
    start: float = 0.0
    current: float = 0.0
    best: float = float("inf")
    best_step: int = 0

    def append(self, value: float, step: int) -> LossHistory:
        """Return the history with one more value; the first ones only set the initial level."""
        lines = self.lines + 1
        if lines <= WARMUP_LINES:
            start = self.start + (value - self.start) / lines
            return LossHistory(lines, start, start, start, step)
        current = SMOOTHING * self.current + (1 - SMOOTHING) * value
        best, best_step = (current, step) if current < self.best else (self.best, self.best_step)
        return LossHistory(lines, self.start, current, best, best_step)

    @property
    def diverged(self) -> bool:
        """Whether the loss, which may be negative, has risen far above its minimum and above its initial level."""
        risen = self.current - self.best > (DIVERGENCE_FACTOR - 1) * abs(self.best)
        return self.lines > WARMUP_LINES and risen and self.current > self.start


@dataclass(frozen=True)
class DivergenceMonitor:
    """State of the monitor after the lines so far; `why` is the reason to stop, empty while training is sound."""

    histories: Mapping[str, LossHistory] = field(default_factory=dict)
    collapsed: tuple[str, ...] = ()
    """Descriptions of the last consecutive probings that showed a collapse."""
    why: str = ""


def update(monitor: DivergenceMonitor, line: Line) -> DivergenceMonitor:
    """Update the monitor with one more line; the first reason to stop stays."""
    if monitor.why:
        return monitor
    if line["kind"] == "step":
        return _after_step(monitor, line)
    if line["kind"] == "probe":
        return _after_probe(monitor, line)
    return monitor


def _after_step(monitor: DivergenceMonitor, line: Line) -> DivergenceMonitor:
    if why := _not_finite(line):
        return replace(monitor, why=why)
    values = {"": line.get("loss", 0.0), **line["losses"]}
    histories = {name: monitor.histories.get(name, LossHistory()).append(v, line["step"]) for name, v in values.items()}
    why = _diverged(histories, line["step"]) if histories[""].diverged else ""
    return replace(monitor, histories=histories, why=why)


def _not_finite(line: Line) -> str:
    """Describe which loss or gradient is not finite; empty if all are."""
    bad = {name: value for name, value in line["losses"].items() if not _finite(value)}
    step = line["step"]
    if bad:
        listed = ", ".join(f"{name} ({_text(value)})" for name, value in bad.items())
        return f"diverged: at step {step} the loss of {listed} is not finite"
    if not _finite(line.get("loss", 0.0)):
        return f"diverged: at step {step} the loss is {_text(line['loss'])}, although every target's loss is finite"
    if not _finite(line.get("grad_norm", 0.0)):
        return (
            f"diverged: at step {step} the gradient norm is {_text(line['grad_norm'])}, although every loss is finite"
        )
    return ""


def _finite(value: Any) -> bool:
    return value is not None and isfinite(value)


def _text(value: Any) -> str:
    """Format a number; NaN and null (as the log stores numbers that are not finite) read "not a number"."""
    return "not a number" if value is None or value != value else f"{value:.4g}"


def _diverged(histories: Mapping[str, LossHistory], step: int) -> str:
    total = histories[""]
    times = f"{total.current / total.best:.1f} times" if total.best > 0 else "far above"
    text = (
        f"diverged: at step {step} the loss is {total.current:.4g}, {times} its best of {total.best:.4g} at step "
        f"{total.best_step} and above its initial {total.start:.4g}"
    )
    by_target = {name: history for name, history in histories.items() if name and history.best > 0}
    if not by_target:
        return text
    worst = max(by_target, key=lambda name: by_target[name].current / by_target[name].best)
    return f"{text}; {worst} has risen most, from {by_target[worst].best:.4g} to {by_target[worst].current:.4g}"


def _after_probe(monitor: DivergenceMonitor, line: Line) -> DivergenceMonitor:
    collapse = _collapse(line)
    if not collapse:
        return replace(monitor, collapsed=())
    collapsed = (*monitor.collapsed, f"{collapse} at step {line['step']}")[-PATIENCE:]
    why = (
        f"collapsed: {PATIENCE} consecutive probings found {'; '.join(collapsed)}" if len(collapsed) == PATIENCE else ""
    )
    return replace(monitor, collapsed=collapsed, why=why)


def _collapse(line: Line) -> str:
    """Describe signs of collapse in the features of a probing; measures that are absent are ignored."""
    signs = []
    for name, label, minimum in (
        ("effective_rank", "effective rank", MIN_RANK),
        ("token_std", "token deviation", MIN_TOKEN_STD),
    ):
        if name in line and not _finite(line[name]):
            signs.append(f"{label} not a number")
        elif name in line and line[name] < minimum:
            signs.append(f"{label} {line[name]:.3g} (below {minimum:g})")
    return " and ".join(signs)
