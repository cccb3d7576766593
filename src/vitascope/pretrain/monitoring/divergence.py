"""Alarms: from what a run recorded, whether it has diverged or collapsed, with the evidence in words; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from math import isfinite
from typing import Any

from vitascope.pretrain.monitoring.log import Line

SMOOTHING = 0.9
"""Of a loss, line by line: one bad batch is no divergence."""
FIRST = 10
"""Lines whose mean is the level a loss started from, before any of them is judged."""
FAR = 3.0
"""Times its best at which a smoothed loss has diverged, if that is above its start too."""
RANK = 1.5
"""Effective rank below which clip features have collapsed to a line."""
SPREAD = 0.01
"""`token_std` below which tokens are the same for every clip."""
PATIENCE = 2
"""Probes in a row that must find a collapse: the first of a run comes early."""


@dataclass(frozen=True)
class LossHistory:
    """One loss so far: how many lines, its level at the start, now (smoothed), and at its best, when that was."""

    lines: int = 0
    start: float = 0.0
    now: float = 0.0
    best: float = float("inf")
    at: int = 0

    def then(self, value: float, step: int) -> LossHistory:
        """With one more value; the first few only set the level."""
        lines = self.lines + 1
        if lines <= FIRST:
            start = self.start + (value - self.start) / lines
            return LossHistory(lines, start, start, start, step)
        now = SMOOTHING * self.now + (1 - SMOOTHING) * value
        best, at = (now, step) if now < self.best else (self.best, self.at)
        return LossHistory(lines, self.start, now, best, at)

    @property
    def far(self) -> bool:
        """Whether it has left what it had learned, and what it began with; losses below zero count by their size."""
        risen = self.now - self.best > (FAR - 1) * abs(self.best)
        return self.lines > FIRST and risen and self.now > self.start


@dataclass(frozen=True)
class DivergenceMonitor:
    """What has to be known of a run to judge its next line; `why` is the reason to stop, or nothing."""

    courses: Mapping[str, LossHistory] = field(default_factory=dict)
    collapsed: tuple[str, ...] = ()
    """What the last probes said, while they said so in a row."""
    why: str = ""


def judge(history: Iterable[Line]) -> str:
    """Why a run with these lines must stop, or nothing."""
    return reduce(follow, history, DivergenceMonitor()).why


def follow(watch: DivergenceMonitor, line: Line) -> DivergenceMonitor:
    """The watch after one more line; the first reason to stop stays."""
    if watch.why:
        return watch
    if line["kind"] == "step":
        return _stepped(watch, line)
    if line["kind"] == "probe":
        return _probed(watch, line)
    return watch


def _stepped(watch: DivergenceMonitor, line: Line) -> DivergenceMonitor:
    if why := _not_finite(line):
        return replace(watch, why=why)
    values = {"": line.get("loss", 0.0), **line["losses"]}
    courses = {name: watch.courses.get(name, LossHistory()).then(v, line["step"]) for name, v in values.items()}
    why = _diverged(courses, line["step"]) if courses[""].far else ""
    return replace(watch, courses=courses, why=why)


def _not_finite(line: Line) -> str:
    """Which loss is no number any more; a gradient can be the first to go."""
    bad = {name: value for name, value in line["losses"].items() if not _finite(value)}
    step = line["step"]
    if bad:
        named = ", ".join(f"{name} ({_text(value)})" for name, value in bad.items())
        return f"diverged: at step {step} the loss of {named} is not finite"
    if not _finite(line.get("loss", 0.0)):
        return f"diverged: at step {step} the loss is {_text(line['loss'])} though that of every target is finite"
    if not _finite(line.get("grad_norm", 0.0)):
        return f"diverged: at step {step} the gradient norm is {_text(line['grad_norm'])} though every loss is finite"
    return ""


def _finite(value: Any) -> bool:
    return value is not None and isfinite(value)


def _text(value: Any) -> str:
    """A number, or what became of it: on record a number that is none is null."""
    return "not a number" if value is None or value != value else f"{value:.4g}"


def _diverged(courses: Mapping[str, LossHistory], step: int) -> str:
    whole = courses[""]
    times = f"{whole.now / whole.best:.1f} times" if whole.best > 0 else "far above"
    said = (
        f"diverged: at step {step} the loss is {whole.now:.4g}, {times} its best of {whole.best:.4g} at step "
        f"{whole.at} and above the {whole.start:.4g} it began with"
    )
    named = {name: course for name, course in courses.items() if name and course.best > 0}
    if not named:
        return said
    worst = max(named, key=lambda name: named[name].now / named[name].best)
    return f"{said}; {worst} has grown most, from {named[worst].best:.4g} to {named[worst].now:.4g}"


def _probed(watch: DivergenceMonitor, line: Line) -> DivergenceMonitor:
    said = _collapse(line)
    if not said:
        return replace(watch, collapsed=())
    row = (*watch.collapsed, f"{said} at step {line['step']}")[-PATIENCE:]
    why = f"collapsed: {PATIENCE} probes in a row found {'; '.join(row)}" if len(row) == PATIENCE else ""
    return replace(watch, collapsed=row, why=why)


def _collapse(line: Line) -> str:
    """What is wrong with the features of a probe; a measure that was not taken says nothing."""
    signs = []
    for name, words, least in (("effective_rank", "effective rank", RANK), ("token_std", "token deviation", SPREAD)):
        if name in line and not _finite(line[name]):
            signs.append(f"{words} not a number")
        elif name in line and line[name] < least:
            signs.append(f"{words} {line[name]:.3g} (below {least:g})")
    return " and ".join(signs)
