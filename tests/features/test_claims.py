"""No writer waits for ever for another one: not for one that died, and not for one that was stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from vitascope.core import locks as lock_files
from vitascope.core.errors import UserError
from vitascope.features import claims
from vitascope.features import store as storing
from vitascope.features.claims import Claims

HOLD = """
import sys, filelock
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds a lock and does not touch it, as one that was stopped."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "parts").mkdir()
    command = [sys.executable, "-c", HOLD, str(tmp_path / "locks" / "seal.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def locks(folder: Path) -> list[FileLock]:
    return [FileLock(folder / "locks" / name) for name in ("free.lock", "seal.lock")]


@pytest.mark.usefixtures("holder")
def test_a_claim_is_passed_over_once_it_was_not_touched_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(claims, "monotonic", lambda: now[0])
    mine = Claims()

    def claimed(at: float, *, touched: bool = False) -> bool:
        now[0] = at
        if touched:
            os.utime(tmp_path / "locks" / "seal.lock", (at, at))
        return mine.acquire("b", locks(tmp_path))

    assert not claimed(0)
    assert not claimed(200)
    assert not claimed(350, touched=True)
    assert not claimed(600)
    other = Claims()
    assert other.acquire("c", locks(tmp_path)[:1]), "what was free is free again"
    other.close()
    assert claimed(700)
    mine.close()
    assert not mine._held


def test_the_claim_of_a_dead_process_is_free(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    assert Claims().acquire("b", locks(tmp_path))


def test_a_claim_is_touched_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "TOUCH", 0.001)
    mine, lock = Claims(), FileLock(tmp_path / "b.lock")
    assert mine.acquire("b", [lock])
    os.utime(lock.lock_file, (1, 1))
    while claims._touched(lock) == 1_000_000_000:
        os.sched_yield()
    mine.close()
    assert not lock.is_locked


@pytest.mark.usefixtures("holder")
def test_a_lock_whose_holder_writes_nothing_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_files, "PATIENCE", 0.01)
    monkeypatch.setattr(lock_files, "STOPPED", 0.05)
    with pytest.raises(UserError, match="without writing; end or resume that process"), storing.write_lock(tmp_path):
        pass


def test_a_slow_writer_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: subprocess.Popen[bytes]
) -> None:
    monkeypatch.setattr(lock_files, "PATIENCE", 0.01)
    monkeypatch.setattr(lock_files, "STOPPED", 0.05)
    states = iter(range(4))

    def written(folder: Path) -> list[tuple[str, int, int]]:
        if (number := next(states)) == 3:
            holder.kill()
            holder.wait()
        return [(str(folder), number, 0)]

    monkeypatch.setattr(lock_files, "_state", written)
    with storing.write_lock(tmp_path):
        pass
    assert next(states, None) is None
