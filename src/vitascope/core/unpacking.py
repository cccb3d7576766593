"""Compressed archives (`.tar.gz`, `.tgz`), in which nothing is found without unpacking all that stands before it.

They are therefore unpacked whole, once, into the bounded cache, a piece at a time.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitascope.core.errors import DamagedFileError
from vitascope.core.files import SWOLLEN
from vitascope.core.worker_process import report_alive

ENDINGS = (".tar.gz", ".tgz")
PIECE = 1 << 20
"""Bytes unpacked at a time."""
ALLOWED = 1 << 30
"""Bytes that any archive may unpack to; a larger one only to `SWOLLEN` times its size: videos hardly compress."""


def is_compressed(container: str) -> bool:
    """Return whether a path or URL is that of a compressed archive."""
    return container.lower().endswith(ENDINGS)


def unpack(source: Any, size: int, container: str, aside: Path) -> None:
    """Write what a gzip file of `size` bytes holds to `aside`, of one that is cut or damaged all that comes before.

    Raises DamagedFileError if nothing comes, or far more than videos can be.
    """
    written, most = 0, max(ALLOWED, SWOLLEN * size)
    with open(aside, "wb") as target:
        for data in _pieces(source):
            written += target.write(data)
            report_alive()
            if written > most:
                raise DamagedFileError(
                    f"{container}: refused: it unpacks to far more than videos can, over {most:,} bytes"
                )
    if not written:
        raise DamagedFileError(f"{container}: not a whole gzip file; take a whole copy of it")


def _pieces(source: Any) -> Iterator[bytes]:
    file = gzip.GzipFile(fileobj=source)
    while True:
        try:
            data = file.read1(PIECE)
        except (EOFError, gzip.BadGzipFile, zlib.error):  # the reader of the archive says where it ends
            return
        if not data:
            return
        yield data
