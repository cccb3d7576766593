"""Run chains of commands, several chains at a time, each command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitascope.core.text import clipped

POLL_SECONDS = 0.5
"""Seconds between two looks at the processes."""
STOP_SECONDS = 20.0
"""Seconds that an interrupted process has to write what it has to write, before it is killed."""
LONGEST = 300
"""Letters of an error that are repeated."""
ERROR = "error: "
"""What the command's line about an error begins with."""


@dataclass(frozen=True)
class Chain:
    """Commands of one run in order; each starts when the one before has succeeded."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    """Program and arguments of each."""
    log: Path
    """File to which the processes' output is appended."""


def run_chains(
    chains: Sequence[Chain], jobs: int, tick: Callable[[Sequence[str]], None], succeeded: Callable[[str], None]
) -> dict[str, str]:
    """Run all chains, at most `jobs` at a time, and return {name: reason} of those that failed.

    `tick` gets the names of the running chains twice a second, `succeeded` that of each when it has. If one raises, or
    on an interrupt, the running processes are asked to stop and waited for.
    """
    waiting, failed = list(reversed(chains)), dict[str, str]()
    running: dict[str, _Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                chain = waiting.pop()
                running[chain.name] = _Running(chain, jobs)
            tick(list(running))
            time.sleep(POLL_SECONDS)
            for name, one in list(running.items()):
                if (ended := one.ended()) is not None:
                    del running[name]
                    if ended:
                        failed[name] = ended
                    else:
                        succeeded(name)
    finally:
        _stop([one.process for one in running.values()])
    return failed


class _Running:
    """A chain whose commands are being run."""

    def __init__(self, chain: Chain, jobs: int) -> None:
        self.chain, self.environment = chain, _environment(jobs)
        self.left = list(reversed(chain.commands))
        self.process = self._start()

    def ended(self) -> str | None:
        """None while it runs, else why it failed, or empty text."""
        code = self.process.poll()
        if code is None:
            return None
        if code:
            return f"exit code {code}: {_last_error(self.chain.log)}"
        if not self.left:
            return ""
        self.process = self._start()
        return None

    def _start(self) -> subprocess.Popen[bytes]:
        self.chain.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.chain.log, "ab") as log:
            return subprocess.Popen(
                self.left.pop(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )


def _environment(jobs: int) -> Mapping[str, str]:
    """The environment of a process: its share of the cores, unless the user has set a number of threads."""
    threads = str(max((os.cpu_count() or 1) // jobs, 1))
    return {"OMP_NUM_THREADS": threads, **os.environ}


def _last_error(log: Path) -> str:
    """The last line that a command wrote."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return clipped(lines[-1].removeprefix(ERROR), LONGEST) if lines else "it wrote nothing"


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    until = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(until - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
