"""Atomic writes: files and folders appear complete or not at all."""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitascope.core.errors import DamagedFileError, UserError, reading
from vitascope.core.leftovers import remove_leftovers, temporary

HEADER_BYTES = 100_000_000
"""Largest header that the safetensors format allows."""

ENDLESS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What a path may be whose reading never ends."""


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


def read_json(path: Path, remedy: str) -> Any:
    """Return the content of the JSON file `path`; DamagedFileError, with the remedy, for what is none.

    Text that is no Unicode (a lone surrogate) is refused too, as it could never be written again.
    """
    with reading(path, remedy):
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if "\\u" in text:
            json.dumps(content, ensure_ascii=False).encode()
        return content


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
