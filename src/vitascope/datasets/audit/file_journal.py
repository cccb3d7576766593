"""Probe every distinct file of a dataset once, in worker processes, and keep the reports in a journal.

The journal has one JSON object per line, keyed by path, size and times, so an interrupted run resumes and a later one
reads only new and changed files. A folder of frames is keyed by those of every frame.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.file_identity import state_of
from vitascope.core.files import is_truncated, read_bytes, require_regular_file
from vitascope.core.log import log
from vitascope.core.progress import ProgressLine, ReadingProgress
from vitascope.core.schema import conform, parse
from vitascope.core.types import Example, Span, digest
from vitascope.core.worker_pool import Failed, Pool
from vitascope.datasets.audit.file_probe import FileReport, FileRequest, probe
from vitascope.datasets.audit.fingerprints import is_fingerprint

VERSION = 3
"""Version of `FileReport`; increment when the same file would give a different report."""
AHEAD = 4
"""Files queued per worker beside the one being read: a small file takes less time than a message."""


@dataclass
class FileJournal:
    """The reports of all files, and the work done in this run."""

    reports: dict[str, FileReport] = field(default_factory=dict)
    """The report of each file, by path."""
    visible_frames: dict[tuple[str, Span], int] = field(default_factory=dict)
    """Number of frames displayed within each span, by (path, span)."""
    read: int = 0
    """Files read in this run; the others were in the journal."""
    bytes: int = 0
    """Bytes read in this run."""
    seconds: float = 0.0
    """Duration of this run, seconds."""

    def add(self, request: FileRequest, report: FileReport) -> None:
        """Add the report of one file."""
        self.reports[request.path] = report
        if not report.seen:  # of a file that cannot be read; of any other there is one count a span
            return
        counts = zip(request.spans, report.seen, strict=True)
        self.visible_frames |= {(request.path, span): count for span, count in counts}


def file_requests(examples: Sequence[Example[Any]]) -> list[FileRequest]:
    """One request per distinct file, in order of path, with the spans of all its examples."""
    spans: dict[str, set[Span]] = {}
    rates: dict[str, float | None] = {}
    for e in examples:
        spans.setdefault(e.path, set()).update([e.span] if e.span else [])
        rates.setdefault(e.path, e.fps)
    return [FileRequest(path, rates[path], tuple(sorted(spans[path]))) for path in sorted(spans)]


def probe_files(
    examples: Sequence[Example[Any]], *, journal: Path, workers: int, timeout: float, label: str, quiet: bool = False
) -> FileJournal:
    """Probe every file of `examples` that is new or changed since the journal was written; all files must exist."""
    files, requests = FileJournal(), file_requests(examples)
    progress = ReadingProgress(label, len(requests))
    recorded = _read_journal(journal)
    end_last_line(journal)
    with (
        Pool(probe, workers=workers, slots=1, slot_bytes=1, timeout=timeout, ahead=AHEAD) as pool,
        ProgressLine(progress, quiet=quiet) as live,
        open(journal, "ab", buffering=0) as file,
    ):

        def unread() -> Iterator[FileRequest]:
            for request in requests:
                key = journal_key(request)  # taken before reading, so that a file that changes meanwhile is read again
                report = recorded.get(key)
                if report is None or len(report.seen) not in (0, len(request.spans)):
                    yield request._replace(key=key)
                    continue
                files.add(request, report)
                progress.done += 1
                progress.reused += 1

        for request, message, _ in pool.run(unread()):
            # a crash or a timeout may not happen again, so it is not recorded
            report = FileReport(why=message.cause, lasting=False) if isinstance(message, Failed) else message
            if request.path in files.reports:
                continue  # the process died after its report was complete
            files.add(request, report)
            if report.lasting:
                file.write(json.dumps({"key": request.key, **asdict(report)}).encode() + b"\n")
            files.read += 1
            files.bytes += report.bytes
            progress.done, progress.failed = progress.done + 1, progress.failed + bool(report.why)
            progress.bytes = files.bytes
            live.tick()
    files.seconds = progress.seconds
    return files


def journal_key(request: FileRequest) -> str:
    """Key of a file in its present state and of the spans requested; empty if the file cannot be accessed."""
    stamp = state_of(request.path).stamp
    if not stamp:
        return ""  # the error will be reported when the file is read, and is not recorded
    return digest([VERSION, os.path.abspath(request.path), stamp, request.fps, request.spans])


def end_last_line(journal: Path) -> None:
    """Prepare the journal for appending: end the partial line that an interrupted run may have left."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    if journal.exists():
        require_regular_file(journal)
    with open(journal, "ab+", buffering=0) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def _read_journal(journal: Path) -> dict[str, FileReport]:
    """The recorded reports by key; incomplete lines are skipped."""
    reports: dict[str, FileReport] = {}
    if not journal.is_file():
        return reports
    damaged = 0
    for line in filter(bytes.strip, read_bytes(journal).split(b"\n")):
        try:
            record = parse(line)
            report = conform(record, FileReport)
            if not is_fingerprint(report.fingerprint):
                raise UserError("no fingerprint")
            reports[str(record["key"])] = report
        except (UserError, KeyError):
            damaged += not is_truncated(line)
    if damaged:
        log.warning("%s: %d lines are damaged and left out; their files are read again", journal, damaged)
    return reports
