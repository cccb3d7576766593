"""Files in memory that processes share: nameless, and never larger than the place they lie in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from vitascope.core.errors import UserError

MEMORY = "/dev/shm"
"""The memory file system; containers often limit it to 64 MB, and a process that writes beyond dies by SIGBUS."""


@contextmanager
def memory_file(size: int) -> Iterator[int]:
    """Yield the descriptor of a nameless file of `size` bytes: in memory, else in the folder for temporary files.

    Linux has memory files outside any file system, limited by the memory of the machine alone. Elsewhere the bytes are
    reserved before anything is written. Raises UserError if there is no room anywhere.
    """
    if (descriptor := _anonymous(size)) is not None:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        return
    with _reserved(size) as file:
        yield file.fileno()


def _anonymous(size: int) -> int | None:
    """Return a memory file that belongs to no file system, None where the system has no such thing."""
    try:
        descriptor = os.memfd_create("vitascope")
    except (AttributeError, OSError):
        return None
    os.ftruncate(descriptor, size)
    return descriptor


@contextmanager
def _reserved(size: int) -> Iterator[IO[bytes]]:
    """Yield a temporary file all of whose bytes are there, so that no write to it can fail."""
    with tempfile.TemporaryFile(dir=roomy_folder(size)) as file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        except OSError as error:
            raise UserError(
                f"no room for {size / 1e6:.0f} MB for decoded frames in {tempfile.gettempdir()} ({error.strerror}); "
                "give fewer --workers, a smaller --batch, or a folder with room in $TMPDIR"
            ) from error
        yield file


def roomy_folder(size: int) -> str | None:
    """Return the memory file system if `size` bytes fill at most half of what is free there, else None."""
    try:
        status = os.statvfs(MEMORY)
    except (AttributeError, OSError):
        return None
    return MEMORY if os.access(MEMORY, os.W_OK) and 2 * size <= status.f_bavail * status.f_frsize else None
