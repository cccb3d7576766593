"""Probe one file of a dataset in a worker process: its size, its digest, whether its frames decode. Free of torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from vitascope.core.content import local_copy
from vitascope.core.files import require_regular_file
from vitascope.core.types import Span, Video
from vitascope.core.worker_process import report_alive
from vitascope.datasets.audit.fingerprints import RESIZE, SIDE, fingerprint, key_frames
from vitascope.video import UNREADABLE, decode, inspect

CHUNK = 1 << 20
"""Bytes per read."""


class FileRequest(NamedTuple):
    """A file or a folder of frames to probe."""

    path: str
    fps: float | None
    """Frame rate of a folder of frames, frames per second."""
    spans: tuple[Span, ...]
    """The spans of its examples, seconds."""
    key: str = ""
    """Key of the file in the journal, taken before reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """The result of probing a path. If `why` is empty, it is a video whose first, middle and last frames decode."""

    bytes: int = 0
    """Size of the content, bytes."""
    digest: str = ""
    """BLAKE2b digest of the content, 128 bits in hex: equal for identical files, whatever their names."""
    kind: str = ""
    """`file`, `frames` or `image`."""
    duration: float = 0.0
    """Duration, seconds."""
    frames: int = 0
    """Number of frames."""
    fps: float = 0.0
    """Mean frame rate, frames per second."""
    width: int = 0
    """Width, pixels."""
    height: int = 0
    """Height, pixels."""
    seen: tuple[int, ...] = ()
    """Number of frames displayed within each requested span; 0 for a span outside the video."""
    fingerprint: str = ""
    """Fingerprint of the first, middle and last frames; empty if they show too little."""
    warnings: tuple[str, ...] = ()
    """Peculiarities of a readable file."""
    why: str = ""
    """Reason that the file cannot be read."""
    lasting: bool = True
    """The report depends on the content alone; False if a disk error or a timeout contributed."""


def probe(request: FileRequest) -> Iterator[tuple[FileReport, None]]:
    """Read every byte for the digest and every packet for the times, decode three frames; yields one `FileReport`."""
    report = FileReport()
    try:
        size, digest = content_digest(request.path)
        report = FileReport(bytes=size, digest=digest)
        yield _describe(inspect(request.path, fps=request.fps), request.spans, report), None
    except UNREADABLE as error:
        # an OSError may be due to the disk or to permissions, not to the content
        lasting = not isinstance(error, OSError) and bool(report.digest)
        yield replace(report, why=_reason(error, request.path), lasting=lasting), None


def _describe(video: Video, spans: tuple[Span, ...], report: FileReport) -> FileReport:
    """`report` with the properties of `video`, after decoding its first, middle and last frames."""
    warnings = list(video.warnings)
    frames = np.zeros((0, SIDE, SIDE, 3), np.uint8)
    for _, pixels in decode(video, [key_frames(video)], SIDE, RESIZE, warnings=warnings):
        frames = pixels
        report_alive()
    return replace(
        report,
        kind=video.kind,
        duration=video.duration,
        frames=len(video.times),
        fps=video.fps,
        width=video.width,
        height=video.height,
        seen=tuple(_visible_frames(video, span) for span in spans),
        fingerprint=fingerprint(frames),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _visible_frames(video: Video, span: Span) -> int:
    """Number of frames displayed within `span`."""
    if span[1] <= span[0] or span[0] >= video.duration:
        return 0
    return len(video.within(span).visible())


def content_digest(path: str) -> tuple[int, str]:
    """Size in bytes and digest of a file, or of all files of a folder (names included), in order of name."""
    state = hashlib.blake2b(digest_size=16)
    with local_copy(path) as local:
        size = _hash_folder(local, state) if os.path.isdir(local) else _hash_file(local, state)
    return size, state.hexdigest()


def _hash_folder(path: str, state: Any) -> int:
    """Feed names, sizes and bytes of the files of a folder to a hash state; the number of bytes."""
    size = 0
    with os.scandir(path) as entries:
        files = sorted((e.name, e.stat().st_size) for e in entries if e.is_file())
    for name, length in files:
        state.update(f"{name}\0{length}\0".encode(errors="surrogateescape"))
        size += _hash_file(os.path.join(path, name), state)
    return size


def _hash_file(path: str, state: Any) -> int:
    """Feed the bytes of a file to a hash state; the number of bytes."""
    size = 0
    require_regular_file(path)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
            size += len(chunk)
            report_alive()
    return size


def _reason(error: Exception, path: str) -> str:
    """An error in one line, without the leading path."""
    message = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(message.removeprefix(f"{path}: ").split())
