"""Frames of videos as small JPEG files, of bounded number and size, for the page and picture files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.text import escaped
from vitascope.report.charts.keyframe_selection import Source

SIDE = 360
"""Length of the longer side, pixels."""
QUALITY = 72
"""Of the JPEG files, out of 100."""
MAX_PICTURES = 80
"""Number of pictures of a report."""
MAX_BYTES = 1_500_000
"""Size of all pictures of a report together, before they are written as text, which takes a third more."""
BLANK = (SIDE, SIDE * 3 // 4)
"""Width and height of the field shown in place of a picture."""


class Thumbnail(NamedTuple):
    """A small picture, or the reason why there is none."""

    width: int
    height: int
    jpeg: bytes
    reason: str = ""


def thumbnails(sources: Iterable[Source]) -> dict[Source, Thumbnail]:
    """Decode the frame of each source; those that cannot be read, or are too many, have a reason in its place."""
    made: dict[Source, Thumbnail] = {}
    left = MAX_BYTES
    for (path, rate), of_video in groupby(sorted(set(sources)), key=lambda source: (source.path, source.frame_rate)):
        own = list(of_video)
        for source, picture in zip(own, _of_video(path, rate, [s.time for s in own]), strict=True):
            left -= len(picture.jpeg)
            too_many = left < 0 or len(made) >= MAX_PICTURES
            made[source] = _none("left out to keep this page small") if too_many else picture
    return made


def _none(reason: str) -> Thumbnail:
    return Thumbnail(*BLANK, b"", reason)


def _of_video(path: str, rate: float, times: Sequence[float]) -> list[Thumbnail]:
    from vitascope.video import UNREADABLE

    if not path:
        return [_none("the results do not tell its file; evaluate again with --overwrite")] * len(times)
    try:
        return list(_decoded(path, rate, times))
    except UNREADABLE as error:
        return [_none(escaped(reason_of(path, error)))] * len(times)


def reason_of(path: str, error: Exception) -> str:
    """Why a video cannot be read, in words."""
    if isinstance(error, FileNotFoundError):
        return f"{path}: no such file"
    return str(error) if isinstance(error, UserError) else f"{path}: {error}"


def _decoded(path: str, rate: float, times: Sequence[float]) -> Iterator[Thumbnail]:
    """The frames displayed at `times`, reduced without a change of their shape."""
    from vitascope.core.types import Clip
    from vitascope.video import decode, inspect

    video = inspect(path, fps=rate or None)
    clips = [Clip((min(time, video.duration),), (time, time)) for time in times]
    scale = SIDE / max(video.width, video.height)
    size = max(round(video.width * scale), 1), max(round(video.height * scale), 1)
    squares = dict(decode(video, clips, SIDE, "square"))
    for number, time in enumerate(times):
        late = time > video.duration
        yield _none(f"{time:g} s is past the end of the video") if late else _jpeg(squares[number][0], size)


def _jpeg(square: Any, size: tuple[int, int]) -> Thumbnail:
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(square).resize(size, Image.Resampling.BOX)
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return Thumbnail(*size, buffer.getvalue())
