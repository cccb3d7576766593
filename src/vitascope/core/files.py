"""Files: written completely or not at all, and read only if they end and are of a size that can be read."""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitascope.core import schema
from vitascope.core.errors import DamagedFileError, UserError, reading
from vitascope.core.leftovers import remove_leftovers, temporary

HEADER_BYTES = 100_000_000
"""Largest header that the safetensors format allows."""
ZIP_END = 22 + 65535
"""Bytes at the end of a zip file among which its last record begins: the record, and a comment."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file replaces `path` on success and is deleted on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    aside = temporary(path)
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `out` on success and deleted on failure.

    Raises UserError if `out` already exists.
    """
    if out.exists():
        raise UserError(f"{out} already exists; remove it or choose another folder with -o")
    remove_leftovers(out.parent, out.name)
    partial = temporary(out)
    try:
        partial.mkdir(parents=True)
        yield partial
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically and durably: it is flushed to disk before the rename."""
    with atomic_file(path) as aside, open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


MAX_TEXT = 1 << 30
"""Largest text that is read into memory, bytes."""
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


def check_archive(path: Path, remedy: str, *, allowed: int = 0) -> list[zipfile.ZipInfo]:
    """Return the entries of a zip file; DamagedFileError if it is none or unpacks to far more than weights can.

    So many `allowed` bytes may be compressed at will.
    """
    require_regular_file(path)
    try:
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
            _check_listing(path, len(entries))
    except Exception as error:  # zipfile raises many kinds of errors for damaged files
        raise DamagedFileError(f"{path}: incomplete or damaged ({error}); {remedy}") from error
    much = sum(entry.file_size for entry in entries)
    if much > max(SWOLLEN * os.path.getsize(path), allowed):
        raise DamagedFileError(
            f"{path}: refused: its {much / 1e9:.1f} GB are compressed far more than weights can be; {remedy}"
        )
    return entries


def _check_listing(path: Path, found: int) -> None:
    """Raise an error if the directory of a zip file, read to its end, has fewer entries than it states.

    Python goes by the size of the directory alone, and a damaged length makes one entry part of another.
    """
    with open(path, "rb") as file:
        file.seek(max(os.path.getsize(path) - ZIP_END, 0))
        last = file.read()
    stated = int.from_bytes(last[(at := last.rfind(b"PK\5\6") + 10) : at + 2], "little")
    if stated not in (found, 0xFFFF):  # the latter stands for the number of a larger format
        raise zipfile.BadZipFile(f"{found} of {stated} files are listed")


def check_safetensors_header(path: Path, remedy: str = "take a whole copy of it") -> None:
    """Raise DamagedFileError unless `path` is a regular file with a safetensors header that describes what follows.

    The length of the header is checked before anything is read, so that no file makes a parser take for ever. The
    message ends with `remedy`.
    """
    if not path.is_file() and path.exists():
        raise DamagedFileError(f"{path}: no regular file; {remedy}")
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(HEADER_BYTES, size - 8):
            what = f"no safetensors file, or cut short: a header of {length} bytes in {size}"
            raise DamagedFileError(f"{path}: {what}; {remedy}")
        _check_tensors(path, file.read(length), size - 8 - length, remedy)


def _check_tensors(path: Path, text: bytes, size: int, remedy: str) -> None:
    """Raise DamagedFileError unless the tensors of a safetensors header fill `size` bytes."""
    with reading(path, remedy):
        header = json.loads(text)
        places = sorted(entry["data_offsets"] for name, entry in header.items() if name != "__metadata__")
        starts, ends = [a for a, _ in places], [b for _, b in places]
        if [0, *ends] != [*starts, size] or any(a > b for a, b in places):
            raise DamagedFileError(f"cut short or damaged: its tensors do not fill the {size} bytes after the header")


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
