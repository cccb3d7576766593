"""What one file of a data set is: its bytes, their digest, whether frames come out; for a worker, without torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from vitascope.core.types import Clip, Span, Video
from vitascope.core.worker_pool import alive
from vitascope.video import decode, inspect

CHUNK = 1 << 20
"""Bytes read at once."""
SIDE = 32
"""Pixels of the side of the frames that are decoded on trial."""


class FileRequest(NamedTuple):
    """One file, or folder of frames, to look at, and the spans of it that examples speak of."""

    path: str
    fps: float | None
    spans: tuple[Span, ...]
    key: str = ""
    """Stands for the file as it was when it was ordered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """What was found at a path; without `why` it is a video whose first, middle and last frame can be shown."""

    bytes: int = 0
    digest: str = ""
    """BLAKE2b of the content, 128 bits as hex digits: equal for equal files whatever their names."""
    kind: str = ""
    """`file`, `frames` or `image`."""
    duration: float = 0.0
    frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    seen: tuple[int, ...] = ()
    """Frames on display within each span asked for; 0 where it lies outside the video."""
    warnings: tuple[str, ...] = ()
    why: str = ""
    """Why it cannot be read."""
    lasting: bool = True
    """Whether the same bytes would give the same again; not so where a disk or a time limit had a part in it."""


def read(order: FileRequest) -> Iterator[tuple[FileReport, None]]:
    """Read every byte for the digest, every packet for the times, and decode three frames. Yields one `FileReport`."""
    found = FileReport()
    try:
        size, digest = content(order.path)
        found = FileReport(bytes=size, digest=digest)
        yield _shown(inspect(order.path, fps=order.fps), order.spans, found), None
    except (ValueError, OSError) as error:
        # what OSError tells may be of the disk and the rights to read, which the content knows nothing of
        lasting = isinstance(error, ValueError) and bool(found.digest)
        yield replace(found, why=_reason(error, order.path), lasting=lasting), None


def _shown(video: Video, spans: tuple[Span, ...], found: FileReport) -> FileReport:
    """`found` with what `video` is, once its first, middle and last frame have been decoded."""
    warnings = list(video.warnings)
    times = video.times
    trial = Clip(tuple(dict.fromkeys((times[0], times[len(times) // 2], times[-1]))), (0.0, video.duration))
    for _ in decode(video, [trial], SIDE, warnings=warnings):
        alive()
    return replace(
        found,
        kind=video.kind,
        duration=video.duration,
        frames=len(times),
        fps=video.fps,
        width=video.width,
        height=video.height,
        seen=tuple(_within(video, span) for span in spans),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _within(video: Video, span: Span) -> int:
    """Frames on display within `span`."""
    if span[1] <= span[0] or span[0] >= video.duration:
        return 0
    return len(video.within(span).visible())


def content(path: str) -> tuple[int, str]:
    """Size and digest of a file; of a folder those of the files in it, names included, in the order of the names."""
    found = hashlib.blake2b(digest_size=16)
    if not os.path.isdir(path):
        return _add(path, found), found.hexdigest()
    size = 0
    with os.scandir(path) as entries:
        files = sorted((e.name, e.stat().st_size) for e in entries if e.is_file())
    for name, length in files:
        found.update(f"{name}\0{length}\0".encode(errors="surrogateescape"))
        size += _add(os.path.join(path, name), found)
    return size, found.hexdigest()


def _add(path: str, found: Any) -> int:
    """Feed the bytes of a file to a digest; how many there were."""
    size = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
            size += len(chunk)
            alive()
    return size


def _reason(error: Exception, path: str) -> str:
    """An error in one line, without the path it begins with."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(said.removeprefix(f"{path}: ").split())
