"""Suites on disk: rendering the files that are not there yet, and a marker that says when a suite is whole."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from vitascope.core import files
from vitascope.motionlab.scene import VERSION


@dataclass(frozen=True)
class RenderJob:
    """Files of a suite that are made together, by their names in its folder, and what makes them."""

    names: tuple[str, ...]
    shoot: Callable[[], None]


def make(folder: Path, jobs: Sequence[RenderJob], seed: int, *, marker: str, quiet: bool = False) -> None:
    """Render what is not in `folder` yet: nothing when the suite is whole, the rest when a run was cut short.

    Two processes at once are safe: the second waits for the first. OSError when the folder cannot be written.
    """
    path = folder / marker
    known = _read(path, seed)
    if known and all(_there(folder, name, known) for name in known):
        return
    try:
        places = [folder / place for place in {name.rpartition("/")[0] for job in jobs for name in job.names}]
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for torn in (path for place in places for path in place.glob(".*")):
                torn.unlink()
            _fill(folder, jobs, known or _read(path, seed), quiet)
            _mark(path, jobs, seed)
    except OSError as error:
        raise OSError(
            f"{folder}: cannot write MotionLab there ({error.strerror or error}); "
            "free some space or set VITASCOPE_CACHE to another folder, then run again"
        ) from error


def _fill(folder: Path, jobs: Sequence[RenderJob], known: Mapping[str, int], quiet: bool) -> None:
    """Render in threads (numpy and the codec let go of the interpreter), stopping at the first failure or Ctrl-C."""
    todo = [job for job in jobs if not all(_there(folder, name, known) for name in job.names)]
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))
    try:
        work = pool.map(lambda job: job.shoot(), todo)
        if quiet or not sys.stderr.isatty():
            if todo and not quiet:
                print(f"MotionLab: rendering {len(todo)} of {len(jobs)} clips into {folder}", file=sys.stderr)
            list(work)
        else:
            from rich.console import Console
            from rich.progress import track

            list(track(work, "MotionLab: rendering clips", len(todo), console=Console(stderr=True), transient=True))
    finally:
        pool.shutdown(cancel_futures=True)


def _there(folder: Path, name: str, known: Mapping[str, int]) -> bool:
    """Whether a file is there, whole as far as its size tells."""
    try:
        size = (folder / name).stat().st_size
    except FileNotFoundError:
        return False
    return size == known.get(name, size) and size > 0


def _read(marker: Path, seed: int) -> dict[str, int]:
    """File sizes of a suite that was once whole; nothing if the marker is absent, broken or another suite's."""
    try:
        data = json.loads(marker.read_text(encoding="utf-8"))
        return dict(data["files"]) if (data["version"], data["seed"]) == (VERSION, seed) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _mark(marker: Path, jobs: Sequence[RenderJob], seed: int) -> None:
    """Say that the suite is whole: version, seed, a digest of all bytes, and each file's size."""
    total, sizes = hashlib.blake2b(digest_size=16), {}
    for name in (name for job in jobs for name in job.names):
        content = (marker.parent / name).read_bytes()
        sizes[name] = len(content)
        total.update(content)
    data = {"version": VERSION, "seed": seed, "digest": total.hexdigest(), "files": sizes}
    files.write(marker, json.dumps(data).encode())
