"""Short loops of videos as strips of small frames in one WebP picture, of bounded number and size."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from vitascope.core.text import escaped
from vitascope.report.analysis.failures import Part
from vitascope.report.charts.thumbnails import reason_of

FRAMES = 8
"""Frames of a loop."""
SIDE = 128
"""Longer side of a frame, pixels."""
QUALITY = 45
"""Of the WebP pictures, out of 100."""
MAX_BYTES = 1_100_000
"""Size of all loops of a page together, before they are written as text, which takes a third more."""


class Loop(NamedTuple):
    """Frames of a video side by side, or the reason why there are none; width and height are those of a frame."""

    width: int
    height: int
    webp: bytes
    reason: str = ""


UNTOLD = Loop(0, 0, b"")
"""In place of a loop whose file the results do not tell."""
LEFT_OUT = Loop(SIDE, SIDE * 3 // 4, b"", "left out to keep this page small")


def loops(parts: Iterable[Part]) -> dict[Part, Loop]:
    """Decode a loop of each part, in order, until the page has as much as it should; given twice, it is there twice."""
    made: dict[Part, Loop] = {}
    left = MAX_BYTES
    for part, times in Counter(parts).items():
        loop = LEFT_OUT if left <= 0 else _loop(part)
        size = times * len(loop.webp)
        made[part] = loop if size <= left else LEFT_OUT
        left -= size
    return made


def _loop(part: Part) -> Loop:
    from vitascope.video import UNREADABLE

    if not part.path:
        return UNTOLD
    try:
        return _decoded(part)
    except UNREADABLE as error:
        return Loop(SIDE, SIDE * 3 // 4, b"", escaped(reason_of(part.path, error)))


def _decoded(part: Part) -> Loop:
    from PIL import Image

    from vitascope.core.types import Clip
    from vitascope.video import decode, inspect

    video = inspect(part.path, fps=part.frame_rate if part.frame_rate > 0 else None)
    start = min(max(part.start, 0.0), video.duration) if math.isfinite(part.start) else 0.0
    end = max(min(part.end, video.duration), start) if math.isfinite(part.end) else video.duration
    times = tuple(start + (i + 0.5) * (end - start) / FRAMES for i in range(FRAMES))
    _, frames = next(iter(decode(video, [Clip(times, (start, end))], SIDE, "square")))
    scale = SIDE / max(video.width, video.height)
    size = max(round(video.width * scale), 1), max(round(video.height * scale), 1)
    strip = Image.new("RGB", (FRAMES * size[0], size[1]))
    for i, frame in enumerate(frames):
        strip.paste(Image.fromarray(frame).resize(size, Image.Resampling.BOX), (i * size[0], 0))
    buffer = io.BytesIO()
    strip.save(buffer, "WEBP", quality=QUALITY, method=4)
    return Loop(*size, buffer.getvalue())
