"""Excerpts of videos as files, re-encoded, cropped or letterboxed: what befalls videos on their way through the web."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from vitascope.core.errors import UserError
from vitascope.core.types import Span, Video
from vitascope.video.frame_reader import frames
from vitascope.video.orientation import Orientation

SECONDS = 4.0
"""Length of an excerpt, from the middle of a video."""
CODEC = "libx264"
GOOD, POOR = 10, 38
"""Quality of H.264 (crf): where something else is altered, and where the encoding is the alteration."""
CROP = 0.9
"""Share of width and height that a crop keeps."""
BARS = 4 / 3
"""Height with black bars above and below, in heights of the picture: 16:9 in 4:3."""
MAX_SIDE = 720
"""Longest side of a written picture, pixels: larger ones are reduced."""
CLOCK = 90_000
"""Ticks a second."""
Picture = UInt8[ndarray, "y x 3"]
Altered = UInt8[ndarray, "rows columns 3"]


def _cropped(picture: Picture) -> Altered:
    rows, columns = (round(size * (1 - CROP) / 2) for size in picture.shape[:2])
    return picture[rows : len(picture) - rows, columns : picture.shape[1] - columns]


def _letterboxed(picture: Picture) -> Altered:
    bar = round(len(picture) * (BARS - 1) / 2)
    return np.pad(picture, ((bar, bar), (0, 0), (0, 0)))


ALTERATIONS: Mapping[str, tuple[str, Callable[[Picture], Altered], int]] = {
    "re-encoded": (f"crf {POOR}", lambda picture: picture, POOR),
    "cropped": (f"middle {CROP:.0%}", _cropped, GOOD),
    "letterboxed": ("16:9 in 4:3", _letterboxed, GOOD),
}
"""What is done to an excerpt by name: in words, to each picture, and the quality of the file."""


def excerpt(video: Video) -> Span:
    """The span of the frames displayed around the middle of a video, `SECONDS` long or a little longer."""
    middle = (video.start + video.end) / 2
    shown = video.within((middle - SECONDS / 2, middle + SECONDS / 2)).visible()
    end = shown[-1] + 1
    return video.times[shown[0]], video.times[end] if end < len(video.times) else video.duration


def write_excerpts(video: Video, span: Span, targets: Mapping[str, Path]) -> None:
    """Write the frames of `span` once for each target, {name of an alteration: file}.

    UserError if a frame cannot be decoded or this build of PyAV cannot encode H.264.
    """
    if CODEC not in av.codecs_available:
        raise UserError(
            f"PyAV was built without {CODEC}, which re-encoding needs; install PyAV's own wheel: pip install av"
        )
    wanted = list(video.within(span).visible())
    orientation = Orientation(video.rotation, video.mirrored)
    files = {name: _File(path, name) for name, path in targets.items()}
    try:
        for i, frame in frames(video, wanted, []):
            picture = np.ascontiguousarray(orientation.turn(_reduced(frame)))
            for file in files.values():
                file.add(picture, video.times[i] - span[0])
    finally:
        for file in files.values():
            file.close()


def _reduced(frame: av.VideoFrame) -> Picture:
    """The pixels of a frame, with the longest side reduced to `MAX_SIDE`."""
    scale = min(MAX_SIDE / max(frame.width, frame.height), 1.0)
    size = (max(round(frame.width * scale), 1), max(round(frame.height * scale), 1))
    pixels: Picture = frame.reformat(*size, "rgb24").to_ndarray()
    return pixels


class _File:
    """A video file to which pictures are added."""

    def __init__(self, path: Path, alteration: str) -> None:
        self.container = av.open(str(path), "w")
        _, self.alter, quality = ALTERATIONS[alteration]
        self.stream = _stream(self.container, quality)
        self.begun = False

    def add(self, picture: Picture, time: float) -> None:
        """Add a picture, altered, which is displayed from `time` on, seconds."""
        altered = self.alter(picture)
        height, width = (size // 2 * 2 for size in altered.shape[:2])
        if min(height, width) < 2:
            raise UserError(f"frames of {picture.shape[1]} x {picture.shape[0]} pixels cannot be altered")
        if not self.begun:
            self.stream.width, self.stream.height = width, height
            self.begun = True
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(altered[:height, :width]), "rgb24")
        frame.pts, frame.time_base = round(time * CLOCK), Fraction(1, CLOCK)
        self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        """Write what is left, and close the file."""
        if self.begun:
            self.container.mux(self.stream.encode())
        self.container.close()


def _stream(container: Any, quality: int) -> Any:
    """A new video stream of a file, whose times are in ticks of `CLOCK`."""
    stream = container.add_stream(CODEC, rate=30, options={"crf": str(quality), "preset": "veryfast"})
    stream.codec_context.time_base = Fraction(1, CLOCK)
    stream.codec_context.thread_count = 1
    stream.pix_fmt = "yuv420p"
    return stream
