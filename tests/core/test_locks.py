"""A lock that another process holds is waited for while that process writes, and no longer."""

from pathlib import Path

import pytest
from filelock import FileLock

from vitascope.core import locks
from vitascope.core.errors import UserError
from vitascope.core.locks import writer_lock


def test_the_lock_keeps_others_out(tmp_path: Path) -> None:
    with writer_lock(tmp_path / "a.lock", tmp_path):
        assert not _is_free(tmp_path / "a.lock")
    assert _is_free(tmp_path / "a.lock")


def test_a_holder_that_writes_nothing_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.01)
    monkeypatch.setattr(locks, "STOPPED", 0.02)
    with (
        FileLock(tmp_path / "a.lock"),
        pytest.raises(UserError) as error,
        writer_lock(tmp_path / "a.lock", tmp_path),
    ):
        pytest.fail("two hold one lock")
    assert str(error.value).startswith(f"{tmp_path}: another process has held its lock for")
    assert [r.getMessage().partition(": ")[2] for r in caplog.records if r.name == "vitascope"] == [
        "waiting for another process that writes to it; if you suspended one, end or resume it"
    ]


def test_progress_is_any_file_below_the_folder_but_no_lock(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    before = locks._state(tmp_path)
    (tmp_path / "b.lock").touch()
    assert locks._state(tmp_path) == before
    (tmp_path / "train" / ".partial").write_bytes(b"1")
    assert locks._state(tmp_path) != before


def _is_free(path: Path) -> bool:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except TimeoutError:
        return False
    lock.release()
    return True
