"""Files that are whole or not there: written aside, flushed, renamed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitascope.core.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; the file takes its place when the block ends well, and is gone if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # process numbers repeat between threads, and between containers that share a disk
    aside = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex[:12]}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def making(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its name when the block ends well, and is gone if it fails.

    ValueError where `out` exists already.
    """
    if out.exists():
        raise UserError(f"{out}: exists already; remove it, or give another folder with -o")
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        yield partial
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write(path: Path, data: bytes) -> None:
    """Write `data`, flushed to the disk before it takes its place: a reader sees all of it or nothing."""
    with replacing(path) as aside, open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def torn(line: bytes) -> bool:
    """Whether an object begins here and the line ends before it does: a killed run or a full disk cut it short."""
    depth, quoted, escaped = 0, False, False
    for byte in line if line.startswith(b"{") else b"":
        if quoted:
            quoted, escaped = escaped or byte != ord('"'), not escaped and byte == ord("\\")
        else:
            quoted = byte == ord('"')
            depth += (byte in b"{[") - (byte in b"}]")
    return quoted or depth > 0


def cache() -> Path:
    """Where embeddings are kept unless said otherwise: `$VITASCOPE_CACHE`, else `~/.cache/vitascope`."""
    return Path(os.environ.get("VITASCOPE_CACHE") or Path.home() / ".cache" / "vitascope")
