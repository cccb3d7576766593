"""One training at a time in a run folder, and none that has lost its launcher."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.torchrun import launched
from vitascope.pretrain.distributed import Ranks

LOCK = ".lock"
SECONDS = 60.0
"""How long a training waits for another one in its folder to end, as the processes of a killed `torchrun` do."""


class LauncherEndedError(UserError):
    """The `torchrun` that started this process is no more."""


@contextmanager
def exclusive_run(run: Path, ranks: Ranks, seconds: float = SECONDS) -> Iterator[None]:
    """Hold the run folder; UserError in all processes if another training still holds it after `seconds`."""
    lock, existed = FileLock(run / LOCK), run.exists()
    if problem := ranks.gather(_acquire(lock, run, seconds) if ranks.first else "")[0]:
        raise UserError(problem)
    try:
        yield
    finally:
        lock.release()
        if ranks.first and not existed and [p.name for p in run.iterdir()] == [LOCK]:  # refused before its first file
            shutil.rmtree(run, ignore_errors=True)


def _acquire(lock: FileLock, run: Path, seconds: float) -> str:
    """Acquire the lock; return what is wrong, if anything."""
    run.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("%s: another training runs in this folder; waiting for it to end", run)
    else:
        return ""
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        return f"{run}: another training runs in this folder; wait for it, stop it, or choose another folder with -o"
    return ""


class Launcher:
    """The process that started this one."""

    def __init__(self) -> None:
        self.pid = os.getppid() if launched() else 0

    def check(self, run: Path) -> None:
        """Raise LauncherEndedError if `torchrun` started this process and has ended, as when it was killed.

        Its processes would otherwise go on, and train beside those that a new `torchrun` starts in the same folder.
        """
        if self.pid and os.getppid() != self.pid:
            raise LauncherEndedError(f"{run}: torchrun has ended, so its processes end too; rerun to resume")
