"""Render suites to disk, resuming incomplete ones; a marker file records complete suites."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vitascope.core import files
from vitascope.core.errors import StorageError, UserError
from vitascope.core.locks import writer_lock
from vitascope.core.log import log
from vitascope.motionlab.scene import VERSION


@dataclass(frozen=True)
class RenderJob:
    """Files of a suite that are rendered together."""

    names: tuple[str, ...]
    """Paths within the folder of the suite."""
    shoot: Callable[[], None]
    """Renders and writes the files."""


def make(folder: Path, jobs: Sequence[RenderJob], seed: int, *, marker: str, quiet: bool = False) -> None:
    """Render the missing files of a suite; does nothing if it is complete.

    Concurrent processes are safe: the second waits for the first. StorageError when the folder cannot be written.
    """
    path = folder / marker
    sizes = _read(path, seed)
    if sizes and all(_is_complete(folder, name, sizes) for name in sizes):
        return
    try:
        places = [folder / place for place in {name.rpartition("/")[0] for job in jobs for name in job.names}]
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
        with writer_lock(folder / ".lock", folder):
            for partial in (path for place in places for path in place.glob(".*")):
                partial.unlink()
            _fill(folder, jobs, sizes or _read(path, seed), quiet)
            _mark(path, jobs, seed)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot write MotionLab ({error.strerror or error}); "
            "free some space or set VITASCOPE_CACHE to another folder, then run again"
        ) from error


def _fill(folder: Path, jobs: Sequence[RenderJob], sizes: Mapping[str, int], quiet: bool) -> None:
    """Render in threads (NumPy and the codec release the GIL), stopping at the first error or Ctrl-C."""
    todo = [job for job in jobs if not all(_is_complete(folder, name, sizes) for name in job.names)]
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))
    try:
        work = pool.map(lambda job: job.shoot(), todo)
        if quiet or not sys.stderr.isatty():
            if todo and not quiet:
                log.info("MotionLab: rendering %d of %d clips into %s", len(todo), len(jobs), folder)
            list(work)
        else:
            from rich.console import Console
            from rich.progress import track

            list(track(work, "MotionLab: rendering clips", len(todo), console=Console(stderr=True), transient=True))
    finally:
        pool.shutdown(cancel_futures=True)


def _is_complete(folder: Path, name: str, sizes: Mapping[str, int]) -> bool:
    """True if the file exists with its recorded size, if any."""
    try:
        size = (folder / name).stat().st_size
    except FileNotFoundError:
        return False
    return size == sizes.get(name, size) and size > 0


@dataclass(frozen=True)
class _Marker:
    """The marker of a complete suite."""

    version: int
    seed: int
    digest: str
    files: dict[str, int]


def _read(marker: Path, seed: int) -> dict[str, int]:
    """File sizes of a complete suite; empty if the marker is missing, broken or of another suite."""
    try:
        suite = files.read_json(marker, "render it again", _Marker)
        return suite.files if (suite.version, suite.seed) == (VERSION, seed) else {}
    except (OSError, UserError):
        return {}


def _mark(marker: Path, jobs: Sequence[RenderJob], seed: int) -> None:
    """Write the marker of a complete suite: version, seed, a digest of all bytes, and the size of each file."""
    total, sizes = hashlib.blake2b(digest_size=16), {}
    for name in (name for job in jobs for name in job.names):
        content = (marker.parent / name).read_bytes()
        sizes[name] = len(content)
        total.update(content)
    data = {"version": VERSION, "seed": seed, "digest": total.hexdigest(), "files": sizes}
    files.write(marker, json.dumps(data).encode())
