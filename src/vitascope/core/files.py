"""Files: written completely or not at all, and read only if they end and are of a size that can be read."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import struct
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from vitascope.core import schema
from vitascope.core.errors import DamagedFileError, UserError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file replaces `path` on success and is deleted on failure.

    What a killed process left behind of its own attempt is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _aside(path) as aside:
        yield aside
        os.replace(aside, path)


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `out` on success and deleted on failure.

    Raises UserError if `out` already exists. What a killed process left behind of its own attempt is removed.
    """
    if out.exists():
        raise UserError(f"{out} already exists; remove it or choose another folder with -o")
    out.parent.mkdir(parents=True, exist_ok=True)
    with _aside(out) as partial:
        partial.mkdir()
        yield partial
        os.replace(partial, out)


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in a hidden folder beside `path` that is this writer's alone.

    The writer holds a lock on the folder, which the system releases when the process dies, whatever its number and on
    whichever machine: a folder without a lock is a dead writer's, and removed.
    """
    name = os.fsencode(path.name)[:100].decode(errors="ignore")  # at most 255 bytes are allowed
    places = (path.with_name(f".{name}.{number}") for number in count())
    place, lock = next(claimed for place in places if (claimed := _claim(place)))
    try:
        _remove_leftovers(path, name)
        yield place / path.name
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _claim(place: Path) -> tuple[Path, int | None] | None:
    """Make an empty folder and lock it, or take over that of a dead writer; None if a living one has it."""
    try:
        place.mkdir(exist_ok=True)
        lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:  # something else, another user's, or its owner has just removed it
        if os.path.lexists(place) or (isinstance(error, FileNotFoundError) and place.parent.is_dir()):
            return None
        raise
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.stat(place, follow_symlinks=False)):
            _empty(place)
            return place, lock
    except (BlockingIOError, FileNotFoundError):  # a living writer's, or removed between opening and locking
        pass
    except OSError:  # no locks here: a name that nobody else uses
        os.close(lock)
        own = place.with_name(f"{place.name}.{uuid.uuid4().hex[:12]}")
        own.mkdir()
        return own, None
    os.close(lock)
    return None


def _empty(folder: Path) -> None:
    for inner in folder.iterdir():
        if inner.is_dir() and not inner.is_symlink():
            shutil.rmtree(inner)
        else:
            inner.unlink()


def _remove_leftovers(path: Path, name: str) -> None:
    """Remove the folders of dead writers of `path`, which are numbered one after the other."""
    for number in count():
        place = path.with_name(f".{name}.{number}")
        if not os.path.lexists(place):
            return
        if claimed := _claim(place):
            shutil.rmtree(place, ignore_errors=True)
            if claimed[1] is not None:
                os.close(claimed[1])


def write(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically and durably: it is flushed to disk before the rename."""
    with atomic_file(path) as aside, open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


MAX_TEXT = 1 << 30
"""Largest text that is read into memory, bytes."""
MAX_HEADER = 100_000_000
"""Largest header of a safetensors file, bytes; also the limit of its library."""
SWOLLEN = 50
"""Largest ratio of unpacked to packed size of an archive; weights hardly compress."""
ENDLESS = {stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def require_regular_file(path: str | os.PathLike[str]) -> None:
    """Raise UserError for what is no regular file: a pipe, a device or a socket may never end to be read.

    OSError where there is nothing, or it cannot be accessed.
    """
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind == stat.S_IFDIR:
        raise UserError(f"{os.fspath(path)}: a folder, not a file; name a file in it")
    if kind != stat.S_IFREG:
        what = ENDLESS.get(kind, "not a regular file")
        raise UserError(f"{os.fspath(path)}: {what}, not a regular file, so it may never end; give a file on disk")


def read_bytes(path: Path, limit: int = MAX_TEXT) -> bytes:
    """Return the content of a regular file of at most `limit` bytes; UserError for any other."""
    require_regular_file(path)
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UserError(f"{path}: larger than {limit / 1e9:.1f} GB, which no file of this kind is; give the right file")
    return data


def read_json(path: Path, remedy: str, kind: Any = Any) -> Any:
    """Return the content of the JSON file `path` as a `kind`, see `schema.conform`.

    Raises DamagedFileError, with the remedy, for what is no JSON or of another kind.
    """
    content = schema.parse(read_bytes(path), str(path), remedy)
    return content if kind is Any else schema.conform(content, kind, str(path), remedy)


def check_safetensors_header(path: str | os.PathLike[str]) -> None:
    """Raise UserError for a file that cannot be safetensors: not regular, or with a header longer than it can be."""
    require_regular_file(path)
    name, size = os.fspath(path), os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(9)
    length = struct.unpack("<Q", head[:8])[0] if len(head) == 9 else 0
    if size < 10 or head[8:] != b"{":
        raise DamagedFileError(f"{name}: not a safetensors file; write or download it again")
    if length > min(size - 8, MAX_HEADER):
        raise DamagedFileError(
            f"{name}: incomplete or damaged: its list of tensors is of {length:,} bytes in a file of {size:,}; "
            "write or download it again"
        )


def check_archive(path: Path, remedy: str, *, allowed: int = 0) -> list[zipfile.ZipInfo]:
    """Return the entries of a zip file; DamagedFileError if it is none or unpacks to far more than weights can.

    So many `allowed` bytes may be compressed at will.
    """
    require_regular_file(path)
    try:
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
    except Exception as error:  # zipfile raises many kinds of errors for damaged files
        raise DamagedFileError(f"{path}: incomplete or damaged ({error}); {remedy}") from error
    much = sum(entry.file_size for entry in entries)
    if much > max(SWOLLEN * os.path.getsize(path), allowed):
        raise DamagedFileError(
            f"{path}: refused: its {much / 1e9:.1f} GB are compressed far more than weights can be; {remedy}"
        )
    return entries


def is_truncated(line: bytes) -> bool:
    """True if the line starts a JSON object that it does not finish: the writer was killed or the disk was full."""
    depth, quoted, escaped = 0, False, False
    for byte in line if line.startswith(b"{") else b"":
        if quoted:
            quoted, escaped = escaped or byte != ord('"'), not escaped and byte == ord("\\")
        else:
            quoted = byte == ord('"')
            depth += (byte in b"{[") - (byte in b"}]")
    return quoted or depth > 0


def cache() -> Path:
    """The default folder of the feature store: `$VITASCOPE_CACHE`, else `~/.cache/vitascope`."""
    return Path(os.environ.get("VITASCOPE_CACHE") or Path.home() / ".cache" / "vitascope")
