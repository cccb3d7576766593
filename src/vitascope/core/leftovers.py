"""Temporary files that tell who writes them, so that those of dead writers can be removed and no others."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from contextlib import suppress
from functools import cache
from glob import escape
from pathlib import Path

STALE_SECONDS = 3600.0
"""Age from which a temporary file counts as left over if its writer belongs to another machine."""
NAME = re.compile(r"\..+\.(?:([0-9a-f]{8})-(\d{1,9})-)?[0-9a-f]{12}")
"""Hidden name of a temporary file: machine and process of its writer (not in earlier versions), and a random part."""


def temporary(path: Path) -> Path:
    """Return a hidden name beside `path` that tells its writer, unlike any other."""
    return path.with_name(f".{path.name[:100]}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:12]}")


@cache
def _machine() -> str:
    """Return a digest of all that a process number is unique in: host, start of the system, process namespace."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=4).hexdigest()


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove temporary files and folders of dead writers in `folder`, with `name` only those that stand for that file.

    A writer of this machine is dead if its process has ended; of another one, if it wrote nothing for an hour.
    """
    for path in folder.glob(f".{escape(name[:100]) or '*'}.*"):
        match = NAME.fullmatch(path.name)
        with suppress(OSError):
            if match and (_has_ended(match) or time.time() - path.stat().st_mtime > STALE_SECONDS):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _has_ended(match: re.Match[str]) -> bool:
    """Return whether the writer is known to be dead: a process of this machine that is no more."""
    if match[1] != _machine():
        return False
    try:
        os.kill(int(match[2]), 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False
