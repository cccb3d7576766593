"""Files in memory that processes share: nameless, and never larger than the place they lie in."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

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
    with contextlib.ExitStack() as opened:
        yield opened.enter_context(_reserved(size)).fileno()


def _anonymous(size: int) -> int | None:
    """Return a memory file that belongs to no file system, None where the system has no such thing."""
    try:
        descriptor = os.memfd_create("vitascope")
    except (AttributeError, OSError):
        return None
    os.ftruncate(descriptor, size)
    return descriptor


def _reserved(size: int) -> tempfile._TemporaryFileWrapper[bytes]:
    """Return a temporary file whose bytes are all there, in the first place with room for them."""
    problem: OSError | None = None
    for folder in filter(None, (roomy_folder(size), tempfile.gettempdir())):
        file = tempfile.TemporaryFile(dir=folder)
        try:
            _reserve(file.fileno(), size)
        except OSError as error:
            file.close()
            problem = error
        else:
            return file  # type: ignore[return-value]
    raise UserError(
        f"no room for {size / 1e6:.0f} MB of decoding buffers in {tempfile.gettempdir()} ({problem}); give fewer "
        "--workers, a smaller --batch, or a folder with room in $TMPDIR"
    )


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def roomy_folder(size: int) -> str | None:
    """Return the memory file system if `size` bytes fill at most half of what is free there, else None."""
    try:
        status = os.statvfs(MEMORY)
    except (AttributeError, OSError):
        return None
    return MEMORY if os.access(MEMORY, os.W_OK) and 2 * size <= status.f_bavail * status.f_frsize else None
