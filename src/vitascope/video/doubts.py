"""Reports on files that are not what they claim to be: cut short, shorter or longer than promised, oddly named."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import av

from vitascope.core.media import FRAME_SUFFIXES
from vitascope.core.worker_process import report_alive
from vitascope.video.claims import read_claim
from vitascope.video.container import open_file, read_packets

UNSTATED = frozenset({"mpegts", "mpeg"})
"""FFmpeg formats without a header that states a duration."""
FORMATS = {".gif", ".webp"}
"""Extensions of both images and videos."""


class Promise(NamedTuple):
    """How long a file lasts by its header, seconds; 0 if it does not say."""

    stream: float = 0.0
    """The video stream."""
    file: float = 0.0
    """The longest of all streams."""
    shared: bool = False
    """Whether there are streams besides the video that may be the longest."""


NOTHING = Promise()


def promise(path: str, container: Any, stream: Any) -> Promise:
    """What the header of an open file says about the duration of its video stream."""
    if container.format.name in UNSTATED:
        return NOTHING
    return Promise(
        (stream.duration or 0) * float(stream.time_base or 0),
        read_claim(path).seconds,
        any(s.index != stream.index and s.type in ("audio", "video", "subtitle") for s in container.streams),
    )


def unkept(path: str, promised: Promise, found: float, end: float) -> str:
    """A message if the duration found is not the one promised; `end` is the last time of the video on the file's clock.

    All are in seconds. A file may be longer than its video because its sound is.
    """
    longest = max(found, end)
    short = _exceeds(promised.stream, longest) or (
        _exceeds(promised.file, longest) and not (promised.shared and not _exceeds(promised.file, _end(path)))
    )
    if not short and not (promised.file > 0 and _exceeds(found, promised.file)):
        return ""
    declared = promised.file if not _exceeds(promised.stream, longest) else promised.stream
    return f"the header declares {declared:.1f} s, but the video has {found:.1f} s"


def _exceeds(promised: float, found: float) -> bool:
    """Whether a duration exceeds another by more than rounding, padding and the length of a frame explain."""
    return promised > 1.1 * found + 1


def _end(path: str) -> float:
    """The end of the last packet of any stream, seconds."""
    end = 0.0
    with open_file(path) as container:
        try:
            for packet in read_packets(container):
                report_alive()
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except av.FFmpegError:
            pass
    return end


def still_doubts(path: str) -> list[str]:
    """Messages about a still image whose name promises a video, or that is the first page of several."""
    named = Path(path).suffix.lower() in FRAME_SUFFIXES | FORMATS
    several = _has_pages(path)
    return ["a still image, despite its file name"] * (not named) + ["only the first page is used"] * several


def _has_pages(path: str) -> bool:
    """Whether a file is a TIFF image with more than one page."""
    with open(path, "rb") as file:
        head = file.read(8)
        if head[:4] not in (b"II*\0", b"MM\0*"):
            return False
        order: Literal["little", "big"] = "little" if head[:1] == b"I" else "big"
        page = int.from_bytes(head[4:], order)
        file.seek(page)
        file.seek(page + 2 + 12 * int.from_bytes(file.read(2), order))
        return any(file.read(4))
