"""Memory for decoded frames: no file system need have room for it, and one without room is not written to."""

import errno
import mmap
import os
from types import SimpleNamespace

import pytest

from vitascope.core import shared_memory
from vitascope.core.errors import UserError
from vitascope.core.shared_memory import memory_file, roomy_folder

SIZE = 1 << 20


def no_anonymous_files(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """A system without memory files, whose memory file system has `free` bytes."""

    def refuse(_: str) -> int:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096))


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memory files exist on Linux alone")
def test_a_small_memory_file_system_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))
    with memory_file(SIZE) as file, mmap.mmap(file, SIZE) as memory:
        memory[:] = b"x" * SIZE
        assert os.fstat(file).st_nlink == 0


def test_without_memory_files_the_bytes_are_there_before_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    no_anonymous_files(monkeypatch, free=SIZE)
    assert roomy_folder(SIZE) is None
    with memory_file(SIZE) as file, mmap.mmap(file, SIZE) as memory:
        memory[:] = b"x" * SIZE
        assert os.fstat(file).st_blocks * 512 >= SIZE


def test_no_room_at_all_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    no_anonymous_files(monkeypatch, free=0)

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shared_memory.os, "posix_fallocate", full, raising=False)
    with (
        pytest.raises(UserError, match=r"no room for 1 MB for decoded frames in .* give fewer --workers"),
        memory_file(SIZE),
    ):
        pass
