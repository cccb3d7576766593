"""Locks of folders that several processes write to: a wait is announced, and ends where the holder does not go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vitascope.core.errors import UserError
from vitascope.core.log import log

SUFFIX = ".lock"
PATIENCE = 20.0
"""Seconds after which a writer that waits for another one says so."""
STOPPED = 900.0
"""Seconds without a change in the folder after which the writer that holds its lock counts as stopped."""


@contextmanager
def writer_lock(path: Path, folder: Path) -> Iterator[None]:
    """Hold the lock file `path` (`*.lock`) while writing to `folder`; say so if another writer has it long.

    The system frees the lock of a writer that dies. One that was stopped keeps it until it goes on: UserError after
    `STOPPED` seconds in which nothing changed in the folder.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        log.warning("%s: waiting for another process that writes to it; if you suspended one, end or resume it", folder)
        _acquire_from_slow_writer(lock, folder)
    try:
        yield
    finally:
        lock.release()


def _acquire_from_slow_writer(lock: FileLock, folder: Path) -> None:
    seen = _state(folder)
    while True:
        try:
            lock.acquire(timeout=STOPPED)
            return
        except Timeout:
            before, seen = seen, _state(folder)
            if before == seen:
                raise UserError(
                    f"{folder}: another process has held its lock for {STOPPED / 60:.0f} minutes without writing; end "
                    "or resume that process and run this again, which goes on where it was"
                ) from None


def _state(folder: Path) -> list[tuple[str, int, int]]:
    """Return what changes whenever a writer writes: names, sizes and times of the files, other than locks."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix != SUFFIX):
        with suppress(FileNotFoundError):
            status = path.stat()
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return found
