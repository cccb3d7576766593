"""Fingerprints of many videos, taken in worker processes and kept in a journal by the state of each file.

The journal has one JSON object per line, in the cache folder, one file a dataset: a later run takes only those of new
and changed files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.file_identity import state_of
from vitascope.core.files import cache, read_bytes
from vitascope.core.progress import ProgressLine, ReadingProgress
from vitascope.core.schema import parse
from vitascope.core.types import digest
from vitascope.core.worker_pool import Failed, Pool
from vitascope.datasets.audit.file_journal import AHEAD, end_last_line
from vitascope.datasets.audit.fingerprints import PrintRequest, is_fingerprint, take_fingerprint

VERSION = 1
"""Version of the fingerprints; increment when the same file would give another one."""


def journal_of(dataset: str) -> Path:
    """The journal of a dataset, by its key in the store."""
    return cache() / "fingerprints" / f"{digest(dataset)}.jsonl"


def take_fingerprints(
    requests: Iterable[PrintRequest], *, journal: Path, workers: int, timeout: float, label: str, quiet: bool
) -> dict[PrintRequest, str]:
    """The fingerprint of each video; empty if it cannot be read or shows too little."""
    keys = {request: _key(request) for request in requests}
    known = _read(journal)
    new = [request for request, key in keys.items() if key not in known]
    if new:
        known |= _take(
            new,
            keys,
            journal,
            Pool(take_fingerprint, workers=min(workers, len(new)), slots=1, slot_bytes=1, timeout=timeout, ahead=AHEAD),
            ProgressLine(ReadingProgress(label, len(new)), quiet=quiet),
        )
    return {request: known.get(key, "") for request, key in keys.items()}


def _take(
    new: Iterable[PrintRequest],
    keys: dict[PrintRequest, str],
    journal: Path,
    workers: Pool[PrintRequest],
    progress: ProgressLine,
) -> dict[str, str]:
    """The new fingerprints by key, which the journal records unless the machine failed."""
    taken: dict[str, str] = {}
    end_last_line(journal)
    with workers as pool, progress as line, open(journal, "ab", buffering=0) as file:
        for request, message, _ in pool.run(new):
            if not isinstance(message, Failed):
                taken[keys[request]] = message
                file.write(json.dumps({"key": keys[request], "fingerprint": message}).encode() + b"\n")
            line.step()
    return taken


def _key(request: PrintRequest) -> str:
    """Key of a video in its present state."""
    stamp = state_of(request.path).stamp
    return digest([VERSION, os.path.abspath(request.path), stamp, request.span, request.fps])


def _read(journal: Path) -> dict[str, str]:
    """The recorded fingerprints by key; damaged lines are skipped, and their videos decoded again."""
    known: dict[str, str] = {}
    for line in read_bytes(journal).split(b"\n") if journal.is_file() else ():
        try:
            record = parse(line)
            if is_fingerprint(record["fingerprint"]):
                known[str(record["key"])] = record["fingerprint"]
        except (UserError, KeyError, TypeError):
            continue
    return known
