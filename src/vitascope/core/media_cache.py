"""Local copies of content that is not on disk as a file: bounded in size, the least recently used are removed first.

The folder is `media` in the cache, the bound `$VITASCOPE_MEDIA_CACHE` (as 50GB; 20GB without). Copies are written under
a temporary name and renamed. Whoever reads one holds a shared lock on it, which ends with its process, and no copy is
removed that somebody holds. A copy is a file, or a folder of files whose name tells how many bytes they have.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vitascope.core.errors import UserError
from vitascope.core.files import atomic_file, atomic_folder, cache
from vitascope.core.leftovers import temporary
from vitascope.core.worker_process import report_alive

try:
    import fcntl
except ImportError:  # Windows refuses to remove a file that is open
    fcntl = None  # type: ignore[assignment]

VARIABLE = "VITASCOPE_MEDIA_CACHE"
DEFAULT = 20 * 10**9
FOLDER = ".frames"
"""Ending of the name of a copy that is a folder, after a dot and the bytes of its files."""
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
LOWER = 0.9
"""Share of the bound down to which copies are removed."""
UNSEEN = 0.02
"""Share of the bound that a process may add before it looks at the folder again."""
MOST_TRIES = 20
"""Times that a copy is made again which others remove before it is held: the bound is far too small."""

_added: dict[Path, int] = {}
"""Bytes added by this process since it last looked at the folder."""


def bound() -> int:
    """The bytes that the copies may take together; UserError if the variable is no size."""
    text = os.environ.get(VARIABLE, "").strip()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text, re.IGNORECASE)
    if text and not match:
        raise UserError(f"${VARIABLE}: {text!r} is no size; write it as 50GB")
    return int(float(match[1]) * UNITS[match[2].upper()]) if match else DEFAULT


def folder() -> Path:
    """The folder of the copies."""
    return cache() / "media"


def copy_path(key: str, ending: str) -> Path:
    """The path of the copy under `key` (a hexadecimal digest), whether it is there or not."""
    return folder() / key[:2] / f"{key}{ending}"


def folder_path(key: str, size: int) -> Path:
    """The path of the copy of a folder whose files have `size` bytes."""
    return copy_path(key, f".{size}{FOLDER}")


def _written(path: Path) -> AbstractContextManager[Path]:
    """What gives the copy at `path`, file or folder, its name when it is complete."""
    return atomic_folder(path) if path.suffix == FOLDER else atomic_file(path)


def _bytes(path: Path, status: os.stat_result) -> int:
    """Bytes of a copy."""
    return int(path.suffixes[-2][1:]) if path.suffix == FOLDER else status.st_size


@contextmanager
def held(path: Path, fill: Callable[[Path], None]) -> Iterator[Path]:
    """Yield the copy at `path`, made by `fill(temporary path)` if it is not there; it stays while the block runs."""
    descriptor = _held_descriptor(path, fill)
    try:
        yield path
    finally:
        os.close(descriptor)


def _held_descriptor(path: Path, fill: Callable[[Path], None]) -> int:
    """Return a descriptor of the copy that holds its lock."""
    for _ in range(MOST_TRIES):
        if (descriptor := _hold(path)) is not None:
            return descriptor
        with _filling(path):
            if path.exists():
                continue
            with _written(path) as aside:
                fill(aside)
            descriptor = _hold(path)
        make_room(_bytes(path, path.stat()) if path.exists() else 0)
        if descriptor is not None:
            return descriptor
    raise UserError(f"{folder()}: copies are removed as soon as they are made; set ${VARIABLE} larger than {bound():,}")


def add(path: Path, fill: Callable[[Path], None]) -> None:
    """Make the copy at `path` unless it is there, without holding it."""
    if not path.exists():
        with atomic_file(path) as aside:
            fill(aside)
        make_room(path.stat().st_size)


@contextmanager
def _filling(path: Path) -> Iterator[None]:
    """Hold the lock by which one process makes the copy at `path` while others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=1)
            break
        except Timeout:
            report_alive()
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def _hold(path: Path) -> int | None:
    """Open the copy and lock it, and note the time of its use; None if it is not there (any more)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    if fcntl:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    status = os.fstat(descriptor)
    if status.st_nlink == 0:  # removed between the two
        os.close(descriptor)
        return None
    with suppress(OSError):  # the time of modification stays: an index of the content is kept by it
        os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
    return descriptor


def make_room(added: int) -> None:
    """Remove the copies used longest ago, if all together exceed the bound; `added` bytes have just come."""
    root, most = folder(), bound()
    _added[root] = _added.get(root, most) + added
    if _added[root] <= UNSEEN * most:
        return
    _added[root] = 0
    copies = sorted(_copies(root))
    total = sum(size for _, size, _ in copies)
    if total <= most:
        return
    for _, size, path in copies:
        if total <= LOWER * most:
            break
        total -= size * _remove(path)


def _copies(root: Path) -> Iterator[tuple[int, int, str]]:
    """Yield time of use, bytes and path of every copy."""
    for part in os.scandir(root) if root.is_dir() else ():
        for entry in os.scandir(part) if part.is_dir() else ():
            if not entry.name.startswith("."):
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    yield status.st_atime_ns, _bytes(Path(entry.path), status), entry.path


def _remove(path: str) -> bool:
    """Remove a copy unless somebody holds it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.endswith(FOLDER):
            aside = temporary(Path(path))
            os.rename(path, aside)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.unlink(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
