"""Claims on blocks of examples: which of several processes that fill one store encodes which block.

A claim is a lock that the system frees when its holder dies. A holder that was stopped keeps it, so each shows that it
runs by touching its locks; a claim that nobody has touched for long is passed over. Then two processes may encode one
block, which costs time and no more: they write equal vectors, and a store keeps one of each.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic

from filelock import FileLock, Timeout

from vitascope.core.log import log

TOUCH = 10.0
"""Seconds between two touches of the locks that are held."""
STOPPED = 300.0
"""Seconds without a touch after which the holder of a lock counts as stopped."""


class Claims:
    """The claims of this process; close it to give up all."""

    def __init__(self) -> None:
        self._held: dict[str, list[FileLock]] = {}
        self._watched: dict[str, tuple[list[int], float]] = {}
        """Touches of the locks of a block that another process holds, and when they were first seen, seconds."""
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, block: str, locks: Iterable[FileLock]) -> bool:
        """Claim a block by all its locks; False if another process that runs holds one of them."""
        wanted = list(locks)
        taken = [lock for lock in wanted if _is_free(lock)]
        if len(taken) < len(wanted) and not self._are_stopped(block, wanted):
            for lock in taken:
                lock.release()
            return False
        self._held[block] = taken
        if self._thread is None:
            self._thread = threading.Thread(target=self._touch, daemon=True)
            self._thread.start()
        return True

    def release(self, block: str) -> None:
        """Give up the claim on a block."""
        for lock in self._held.pop(block, ()):
            lock.release()

    def close(self) -> None:
        """Give up all claims."""
        self._closed.set()
        for block in list(self._held):
            self.release(block)

    def _are_stopped(self, block: str, locks: Iterable[FileLock]) -> bool:
        """Return whether the locks of a block have been watched for long without a touch."""
        touches, now = [_touched(lock) for lock in locks], monotonic()
        before, since = self._watched.get(block, (touches, now))
        self._watched[block] = touches, since if before == touches else now
        stopped = before == touches and now - since > STOPPED
        if stopped:
            log.warning("a process that claimed examples was stopped; they are embedded here, without waiting for it")
        return stopped

    def _touch(self) -> None:
        while not self._closed.wait(TOUCH):
            for lock in [lock for locks in list(self._held.values()) for lock in locks]:
                with suppress(OSError):
                    os.utime(lock.lock_file)


def _is_free(lock: FileLock) -> bool:
    """Return whether the lock could be taken, which it is then."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _touched(lock: FileLock) -> int:
    """Return the access time of a lock's file, which only a touch sets; trying to take it sets no more than others."""
    try:
        return os.stat(lock.lock_file).st_atime_ns
    except OSError:
        return 0
