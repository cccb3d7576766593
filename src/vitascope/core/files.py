"""Atomic writes: files and folders appear complete or not at all."""

from __future__ import annotations

import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError, reading


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file replaces `path` on success and is deleted on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # process numbers repeat between threads, and between containers that share a disk
    aside = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex[:12]}")
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
    partial = out.with_name(f".{out.name}.{os.getpid()}")
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
