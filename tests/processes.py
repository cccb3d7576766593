"""Processes to be killed or to work side by side: forks of one that has imported everything, which saves seconds each.

What they run must be importable by name: a function of the package, or of a module beside this one.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

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


def kill(process: ForkServerProcess, when: Callable[[], bool]) -> None:
    """Kill a process as soon as `when()`, which must be well before it ends."""
    while not when():
        assert process.is_alive(), f"it ended by itself: {process.exitcode}"
        time.sleep(0.002)
    process.kill()
    assert ended(process) == KILLED


def die_at_rename(number: int) -> None:
    """Kill this process when it is about to rename its file of that number, from 1, which then is there as a leftover."""
    rename, made = os.replace, itertools.count(1)

    def replace(source: object, target: object) -> None:
        if next(made) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)  # type: ignore[arg-type]

    os.replace = replace  # type: ignore[assignment]


def command(out: Path, changes: Mapping[str, object], killed_at: int, *arguments: object) -> None:
    """Run a command after `changes` of attributes by dotted name; what it prints goes to `out`.

    `killed_at`: the rename at which it is killed, from 1; 0: none.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setattr(name, value)
        if killed_at:
            die_at_rename(killed_at)
        out.write_text(vitascope(*arguments).stdout)
