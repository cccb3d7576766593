"""Inventory: every distinct file of a data set read once, in worker processes, and what was read of it kept.

The journal has one JSON object a line, under a key of path, size and time of change. So a killed run goes on where it
was, and a later one reads only what is new. Of a folder of frames the key has the time of change and the number of
entries: a frame that is overwritten in place is not noticed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vitascope.core.progress import ProgressLine, ReadingProgress
from vitascope.core.types import Example, Span, digest
from vitascope.core.worker_pool import Failed, Pool
from vitascope.datasets.audit.file_probe import FileReport, FileRequest, read

VERSION = 1
"""Of what is read of a file; counts up when the same file would give something else."""
AHEAD = 4
"""Files in hand of a worker beside the one it reads: small ones take less time than a message."""


@dataclass
class FileJournal:
    """What was found, and what it took."""

    found: dict[str, FileReport] = field(default_factory=dict)
    """By path."""
    seen: dict[tuple[str, Span], int] = field(default_factory=dict)
    """Frames on display in each span of each path."""
    read: int = 0
    """Files read now; the others were known."""
    bytes: int = 0
    """Read now."""
    seconds: float = 0.0

    def keep(self, order: FileRequest, found: FileReport) -> None:
        """Take in what was found of one file."""
        self.found[order.path] = found
        self.seen |= {(order.path, span): n for span, n in zip(order.spans, found.seen, strict=False)}


def orders(examples: Sequence[Example[Any]]) -> list[FileRequest]:
    """Each file that is there once, by path, with all the spans asked of it."""
    spans: dict[str, set[Span]] = {}
    rates: dict[str, float | None] = {}
    for e in examples:
        spans.setdefault(e.path, set()).update([e.span] if e.span else [])
        rates.setdefault(e.path, e.fps)
    return [FileRequest(path, rates[path], tuple(sorted(spans[path]))) for path in sorted(spans)]


def take(
    examples: Sequence[Example[Any]], *, journal: Path, workers: int, timeout: float, label: str, quiet: bool = False
) -> FileJournal:
    """Read every file of `examples` that the journal does not know as it is now; all examples' files must be there."""
    inventory, asked = FileJournal(), orders(examples)
    pace = ReadingProgress(label, len(asked))
    before = _read_journal(journal)
    _close_off(journal)
    with (
        Pool(read, workers=workers, slots=1, slot_bytes=1, timeout=timeout, ahead=AHEAD) as pool,
        ProgressLine(pace, quiet=quiet) as live,
        open(journal, "ab", buffering=0) as file,
    ):

        def unknown() -> Iterator[FileRequest]:
            for order in asked:
                key = key_of(order)  # before it is read: a file that changes meanwhile is read again next time
                if (known := before.get(key)) is None:
                    yield order._replace(key=key)
                    continue
                inventory.keep(order, known)
                pace.done += 1
                pace.known += 1

        for order, message, _ in pool.run(unknown()):
            # what died or hung may do better another time, and is not kept
            found = FileReport(why=message.cause, lasting=False) if isinstance(message, Failed) else message
            if order.path in inventory.found:
                continue  # the process died after it had said all
            inventory.keep(order, found)
            if found.lasting:
                file.write(json.dumps({"key": order.key, **asdict(found)}).encode() + b"\n")
            inventory.read += 1
            inventory.bytes += found.bytes
            pace.done, pace.failed, pace.bytes = pace.done + 1, pace.failed + bool(found.why), inventory.bytes
            live.tick()
    inventory.seconds = pace.seconds
    return inventory


def key_of(order: FileRequest) -> str:
    """Stands for a file as it is now and for what is asked of it."""
    try:
        about = os.stat(order.path)
        size = len(os.listdir(order.path)) if os.path.isdir(order.path) else about.st_size
    except OSError:
        return ""  # gone or closed to us: reading it will say so, which is not kept
    return digest([VERSION, os.path.abspath(order.path), size, about.st_mtime_ns, order.fps, order.spans])


def _close_off(journal: Path) -> None:
    """Make the journal ready to be added to: a line that a killed run left half gets its end."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    with open(journal, "ab+", buffering=0) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def _read_journal(journal: Path) -> dict[str, FileReport]:
    """What is known from before, by key; lines that are no longer whole are passed over."""
    known: dict[str, FileReport] = {}
    if not journal.is_file():
        return known
    with open(journal, "rb") as file:
        for line in file:
            try:
                said = json.loads(line)
                key = said.pop("key")
                said["seen"], said["warnings"] = tuple(said["seen"]), tuple(said["warnings"])
                known[key] = FileReport(**said)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
    return known
