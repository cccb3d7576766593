"""Damaged videos through inspection and decoding in workers: in `tests`, `python -m endurance.video 2000 FILES`.

Each file ends in pictures or in one line; a hang, a traceback or a death of the worker is a fault, and is kept.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from endurance.mutate import mutate
from vitascope.core.types import Clip
from vitascope.core.worker_pool import Failed, Pool
from vitascope.core.worker_process import report_alive
from vitascope.video import UNREADABLE, decode, inspect

LIMIT = 20.0
"""Seconds after which a file hangs."""
LONGEST = 100 * 3600.0
"""Seconds that no small file lasts."""


class Ending(NamedTuple):
    """How a file ended: `decoded`, `refused` in one line, `absurd` in length without a warning, or `unclean`."""

    kind: str
    line: str = ""


def ending(path: str) -> Ending:
    """Inspect a file and decode frames spread over it."""
    try:
        video = inspect(path)
        times = tuple(video.duration * (i + 0.5) / 16 for i in range(16))
        warnings = list(video.warnings)
        for _ in decode(video, [Clip(times, (0.0, 1.0)), Clip(video.times[-1:], (0.0, 1.0))], 32, warnings=warnings):
            report_alive()
    except UNREADABLE as error:
        line = str(error)
        return Ending("refused" if len(line.splitlines()) == 1 else "unclean", line)
    except Exception as error:
        return Ending("unclean", f"{type(error).__name__}: {error}")
    if video.duration > LONGEST or len(video.times) > 1_000_000:
        return Ending("absurd", f"{len(video.times)} frames, {video.duration:.0f} s, {warnings}")
    return Ending("decoded", "; ".join(warnings))


def work(path: str) -> Iterator[tuple[Ending, None]]:
    """A job of a worker process."""
    yield ending(path), None


def mutants(originals: list[Path], folder: Path, count: int, first: int = 0) -> Iterator[str]:
    """Write damaged copies of files, one at a time."""
    for number in range(first, first + count):
        original = originals[number % len(originals)]
        path = folder / f"{number:05d}-{original.name}"
        path.write_bytes(mutate(original.read_bytes(), number))
        yield str(path)


def run(originals: list[Path], folder: Path, count: int, *, first: int = 0, workers: int = 1) -> Counter[str]:
    """Count the endings of damaged copies, print every fault and keep its file; delete the others."""
    counts: Counter[str] = Counter()
    began: dict[str, float] = {}

    def jobs() -> Iterator[str]:
        for path in mutants(originals, folder, count, first):
            began[path] = time.monotonic()
            yield path

    with Pool(work, workers=workers, slots=1, slot_bytes=1, timeout=LIMIT) as pool:
        for path, message, _ in pool.run(jobs()):
            if isinstance(message, Failed):
                message = Ending("hung" if "no progress" in message.cause else "died", message.cause)
            counts[message.kind] += 1
            if message.kind in ("decoded", "refused"):
                Path(path).unlink()
            else:
                print(f"{message.kind}: {path}: {message.line}", flush=True)
            if (seconds := time.monotonic() - began[path]) > LIMIT / 2:
                print(f"slow: {path}: {seconds:.0f} s", flush=True)
    return counts


if __name__ == "__main__":
    from endurance import video  # workers import their function by the name of its module

    files = [Path(a) for a in sys.argv[2:]]
    print(video.run(files, Path(tempfile.mkdtemp(prefix="mutants-")), int(sys.argv[1])))
