"""Read damaged files of every kind and count how it ends: `python tests/endurance/harness.py --count 500`.

The right ends are two: the file is read, or refused by a `UserError` of one line. All else is a bug: another exception,
a reader that does not come back within seconds or takes memory that the file cannot fill, and values that are not those
that were written where that is known.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from endurance.kinds import KINDS, Kind
from endurance.mutations import MUTATORS
from vitascope.core.errors import UserError

LIMIT = 5.0
"""Seconds of processor time that reading one small file may take; it may wait for much longer on a busy machine."""
WAITING = 10
"""Times that limit in all: a reader that waits takes no processor time."""
MEMORY = 512.0
"""MiB by which reading all files of a kind may raise the most memory that this process ever had, imports included."""
ENDS = ("read", "refused", "traceback", "hang", "wrong")


class HangError(BaseException):
    """Nothing came back within the limit."""


@dataclass
class Count:
    """The ends of one kind of file, and what went wrong."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """Seconds of the file that took longest."""
    memory: float = 0.0
    """MiB by which the most memory of this process rose."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise HangError after so many seconds; code that never returns to Python ends the process a little later."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise HangError

    before = {number: signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WAITING * seconds)
    if sys.stderr is sys.__stderr__:
        faulthandler.dump_traceback_later(2 * WAITING * seconds, exit=True)
    try:
        yield
    finally:
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        faulthandler.cancel_dump_traceback_later()


def outcome(kind: Kind, path: Path, right: Any) -> tuple[str, str]:
    """How reading the file at `path` ends, and the fault in words."""
    try:
        with limited(LIMIT), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = kind.read(path)
    except UserError as error:
        return (
            ("traceback", f"{len(str(error).splitlines())} lines: {error}") if "\n" in str(error) else ("refused", "")
        )
    except HangError:
        return "hang", f"after {LIMIT} s"
    except Exception:
        return "traceback", traceback.format_exc(limit=-4)
    if kind.same and not kind.same(content, right):
        return "wrong", "read, but not what was written"
    return "read", ""


def attack(name: str, count: int, *, seed: int = 0, keep: Path | None = None) -> Count:
    """Read `count` mutations of the files of a kind; those that end wrong are kept in the folder `keep`."""
    kind, counted, before = KINDS[name], Count(), peak()
    with tempfile.TemporaryDirectory(prefix=f"endurance-{name}-") as folder:
        path = kind.make(Path(folder))
        data, right = path.read_bytes(), kind.read(path)
        for number in range(count):
            draw = random.Random(f"{name} {seed} {number}")
            path.write_bytes(MUTATORS[kind.form](data, draw))
            began = time.monotonic()
            end, fault = outcome(kind, path, right)
            counted.slowest = max(counted.slowest, time.monotonic() - began)
            counted.ends[end] += 1
            if fault:
                counted.faults.append(f"{name} seed {seed} number {number}: {end}: {fault}")
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, keep / f"{name}-{seed}-{number}-{end}-{path.name}")
    counted.memory = peak() - before
    if counted.memory > MEMORY:
        counted.faults.append(f"{name} seed {seed}: {counted.memory:.0f} MiB more memory")
    return counted


def peak() -> float:
    """The most memory that this process ever had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def line(name: str, counted: Count) -> str:
    """The counts of a kind as a row of a table."""
    return (
        f"{name:<24}"
        + "".join(f"{counted.ends[end]:>11}" for end in ENDS)
        + f"{counted.slowest:>9.2f} s{counted.memory:>8.0f} MiB"
    )


def main() -> int:
    """Attack the kinds named, or all; the exit code tells whether any file ended wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=[], help=f"of {', '.join(KINDS)}")
    parser.add_argument("--count", type=int, default=200, help="files of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that ended wrong")
    options = parser.parse_args()
    wrong = 0
    print(f"{'kind':<24}" + "".join(f"{end:>11}" for end in ENDS) + f"{'slowest':>11}{'memory':>12}")
    for name in options.kinds or KINDS:
        counted = attack(name, options.count, seed=options.seed, keep=options.keep)
        print(line(name, counted), flush=True)
        for fault in counted.faults[:5]:
            print(fault, file=sys.stderr, flush=True)
        wrong += len(counted.faults)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
