"""Processes to be killed or to work side by side: forks of one that has imported everything, which saves seconds each.

What they run must be importable by name: a function of the package, or of a module beside this one.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pkgutil
import signal
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from helpers import vitascope

KILLED = -signal.SIGKILL
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "pytest",
        "torch.distributed.checkpoint.format_utils",
        "vitascope.cli.main",
        "vitascope.evaluation.evaluate",
        "vitascope.pretrain.train",
    ]
)


def start(function: Callable[..., object], *given: object) -> ForkServerProcess:
    """Begin `function(*given)` in a process of its own."""
    process = CONTEXT.Process(target=function, args=given, daemon=True)
    process.start()
    return process


def ended(process: ForkServerProcess, seconds: float = 120) -> int | None:
    """The exit code of a process, negative for a signal; None if it still runs after so many seconds."""
    process.join(seconds)
    return process.exitcode


def dying(place: str, number: int, function: Callable[..., object], *given: object) -> None:
    """Do `function(*given)`, but kill this process when it calls what the dotted name `place` says for that time."""
    signaled(signal.SIGKILL, place, number, function, *given)


def signaled(
    number_of_signal: signal.Signals, place: str, number: int, function: Callable[..., object], *given: object
) -> None:
    """Do `function(*given)`, but send this process a signal when it calls `place` for that time, from 1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, _signaling(number_of_signal, pkgutil.resolve_name(place), number))
        function(*given)


def killing(function: Callable[..., Any], number: int) -> Callable[..., Any]:
    """The function, which kills its process in place of its call of that number, from 1."""
    return _signaling(signal.SIGKILL, function, number)


def _signaling(number_of_signal: signal.Signals, function: Callable[..., Any], number: int) -> Callable[..., Any]:
    calls = itertools.count(1)

    def instead(*given: Any, **named: Any) -> Any:
        if next(calls) == number:
            os.kill(os.getpid(), number_of_signal)
        return function(*given, **named)

    return instead


def command(out: Path, changes: Mapping[str, object], *arguments: object) -> None:
    """Run a command after `changes` of attributes by dotted name; what it prints goes to `out`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setattr(name, value)
        out.write_text(vitascope(*arguments).stdout)
