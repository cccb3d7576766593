"""Identity of a video file or a folder of frames: whether what was computed from it still belongs to it.

The rule: while sizes, modification times and change times are the same, the content is taken to be the same, unread.
Where a time differs, the bytes decide: a digest of samples, or of all bytes if that was asked for when it was recorded.
A restored copy thus keeps its vectors; another file of the same name, size and even modification time does not.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from vitascope.core import content
from vitascope.core.addresses import is_address, is_folder_url
from vitascope.core.errors import UserError

PLACES = 16
"""Places of a file that are sampled, evenly spaced from the first byte to the last; a short file is read whole."""
PLACE_BYTES = 16 << 10
FOLDER_FILES = 64
"""Files of a folder that are sampled, evenly spaced in order of name, at `FOLDER_PLACES` places each."""
FOLDER_PLACES = 3
FOLDER_PLACE_BYTES = 4 << 10
YOUNG = 2_000_000_000
"""Age in nanoseconds from which on times tell a change: clocks of file systems are as coarse as two seconds."""
FULL = "full:"
"""Start of a digest of all bytes."""
BEFORE = "before:"
"""Start of a stamp that only gives a time (nanoseconds), which the file must not be younger than."""


class FileState(NamedTuple):
    """What the system says of a file, without reading it."""

    size: int
    """Bytes; 0 for a folder."""
    stamp: str
    """Digest of sizes, modification times and change times, of a folder with the names in it; empty for no file."""
    modified: int
    """Latest modification time, nanoseconds."""


class FileIdentity(NamedTuple):
    """What is recorded of a file beside whatever was computed from it."""

    size: int = 0
    stamp: str = ""
    content: str = ""
    """Digest of sampled bytes, or of all of them; empty if they could not be read."""


def state_of(path: str) -> FileState:
    """Return the state of a file, a folder and the files in it, or an address; without a stamp if there is none."""
    if is_address(path):
        found = content.state(path)
        return FileState(found.size, found.version and _digest(found.version.encode()), found.modified)
    try:
        status = os.stat(path)
        if not os.path.isdir(path):
            times = (status.st_mtime_ns, status.st_ctime_ns)
            return FileState(status.st_size, _digest(repr((status.st_size, times)).encode()), max(times[0], 0))
        files = [(name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in _files(path)]
    except OSError:
        return FileState(0, "", 0)
    return FileState(0, _digest(repr(files).encode(errors="surrogatepass")), max((f[2] for f in files), default=0))


def identify(path: str, *, full: bool = False) -> FileIdentity:
    """Return the identity of a file or a folder, with a digest of all bytes if `full`; OSError if it cannot be read.

    The last digest is remembered: the many examples of one long video read it once.
    """
    state = state_of(path)
    known = _last.get((path, state.stamp, full), "") if time.time_ns() - state.modified > YOUNG else ""
    found = known or content_digest(path, full=full)
    _last.clear()
    _last[path, state.stamp, full] = found
    return FileIdentity(state.size, state.stamp, found)


_last: dict[tuple[str, str, bool], str] = {}


def is_unchanged(path: str, state: FileState, stamp: str, recorded: str) -> bool:
    """Return whether the file at `path`, now in `state`, is the one that `stamp` and `recorded` content are of."""
    if stamp.startswith(BEFORE):
        return state.modified < int(stamp.removeprefix(BEFORE))
    if state.stamp == stamp:
        return True
    try:
        return bool(recorded) and recorded == content_digest(path, full=recorded.startswith(FULL), whole=False)
    except OSError:
        return False


def content_digest(path: str, *, full: bool = False, whole: bool = True) -> str:
    """Return a digest of the bytes of a file, or of names, sizes and bytes of the files in a folder.

    Of samples of them, unless `full`; OSError if they cannot be read. The digest of content at an address is that of a
    file with its bytes; without `whole`, no more than the samples is fetched, where that is possible.
    """
    found = hashlib.sha256()
    if is_folder_url(path):
        with _copied(path) as folder:
            _add_folder(found, folder, full=full)
    elif is_address(path):
        with content.ranges(path, whole=whole or full) as (size, read):
            found.update(repr(size).encode())
            for offset, length in _offsets(size, PLACES, PLACE_BYTES, full=full):
                found.update(read(offset, length))
    elif os.path.isdir(path):
        _add_folder(found, path, full=full)
    else:
        size = _size(path)
        found.update(repr(size).encode())
        _add(found, path, _offsets(size, PLACES, PLACE_BYTES, full=full))
    return FULL * full + found.hexdigest()[:16]


@contextmanager
def _copied(url: str) -> Iterator[str]:
    """Yield a copy of a folder; OSError if there is none."""
    try:
        with content.local_copy(url) as folder:
            yield folder
    except UserError as error:
        raise OSError(errno.ENOENT, str(error)) from error


def _add_folder(found: hashlib._Hash, path: str, *, full: bool) -> None:
    files = [(name, status.st_size) for name, status in _files(path)]
    found.update(repr(files).encode(errors="surrogatepass"))
    count = len(files) if full else min(len(files), FOLDER_FILES)
    for i in range(count):
        name, size = files[i * (len(files) - 1) // max(count - 1, 1)]
        _add(found, os.path.join(path, name), _offsets(size, FOLDER_PLACES, FOLDER_PLACE_BYTES, full=full))


def _size(path: str) -> int:
    """Return the bytes of a regular file; OSError for anything else, which might never end."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no regular file", path)
    return status.st_size


def _files(path: str) -> list[tuple[str, os.stat_result]]:
    """Return the visible files of a folder in order of name."""
    with os.scandir(path) as entries:
        return sorted((e.name, e.stat()) for e in entries if not e.name.startswith(".") and e.is_file())


def _offsets(size: int, places: int, length: int, *, full: bool) -> Iterator[tuple[int, int]]:
    """Yield (offset, bytes) to read of a file of `size` bytes."""
    if full or size <= places * length:
        yield from ((start, 1 << 20) for start in range(0, size, 1 << 20))
    else:
        yield from (((size - length) * i // (places - 1), length) for i in range(places))


def _add(found: hashlib._Hash, path: str, places: Iterator[tuple[int, int]]) -> None:
    with open(path, "rb", buffering=0) as file:
        for offset, length in places:
            found.update(os.pread(file.fileno(), length, offset))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
