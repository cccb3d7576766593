"""Videos of numbered frames in every format: which frame a picture shows can be read from it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, BITS = 120, 64, 10


def numbered(number: int) -> np.ndarray:
    """A frame that carries its number as two rows of light and dark blocks, over a moving pattern."""
    bits = np.array([number >> b & 1 for b in range(BITS)]).reshape(2, BITS // 2)
    blocks = np.kron(bits * 120 + 60, np.ones((HEIGHT // 2, WIDTH // (BITS // 2))))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pattern = 25 * np.sin((x + 3 * number) / 7) * np.cos((y - 2 * number) / 5)
    return np.repeat((blocks + pattern)[..., None], 3, 2).astype(np.uint8)


def number_of(picture: np.ndarray) -> int:
    """The number that a decoded square of the whole frame carries."""
    side = picture.shape[0]
    centers = picture.astype(float).mean(2).reshape(2, side // 2, 5, side // 5).mean((1, 3))
    return sum(1 << b for b, light in enumerate(centers.ravel()) if light > 120)


def write(
    path: Path, codec: str, *, frames: int = 60, ticks: list[int] | None = None, rate: int = 25, **options: str
) -> Path:
    """A video of numbered frames; `ticks` are their times in hundredths of a second."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as file:
        stream = file.add_stream(codec, rate=100 if ticks else rate, options=options)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = {"mjpeg": "yuvj420p", "ffv1": "yuv444p"}.get(codec, "yuv420p")
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered(i), "rgb24")
            frame.pts = ticks[i] if ticks else i
            frame.time_base = Fraction(1, 100 if ticks else rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


FORMATS = {
    "h264-b-frames.mp4": ("libx264", {"g": "20", "bf": "3"}),
    "h264-one-key.mkv": ("libx264", {"g": "999"}),
    "h264-open-gop.ts": ("libx264", {"g": "15", "x264-params": "open-gop=1:bframes=3:b-pyramid=normal"}),
    "h264-open-gop.mp4": ("libx264", {"g": "15", "x264-params": "open-gop=1:bframes=3"}),
    "h264-refresh.ts": ("libx264", {"g": "15", "x264-params": "intra-refresh=1"}),
    "h264-tiny-gops.mp4": ("libx264", {"g": "3", "bf": "2", "b_strategy": "0"}),
    "h264-all-keys.mov": ("libx264", {"g": "1"}),
    "h264.flv": ("libx264", {"g": "20"}),
    "hevc-open-gop.mp4": ("libx265", {"x265-params": "log-level=none:keyint=15:open-gop=1"}),
    "hevc-open-gop.mkv": ("libx265", {"x265-params": "log-level=none:keyint=15:open-gop=1"}),
    "vp9-hidden.webm": ("libvpx-vp9", {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "20", "cpu-used": "5"}),
    "vp8-hidden.webm": ("libvpx", {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5"}),
    "mpeg4-b-frames.avi": ("mpeg4", {"g": "12", "bf": "2"}),
    "mpeg2.mpg": ("mpeg2video", {"g": "12", "bf": "2"}),
    "mjpeg.avi": ("mjpeg", {}),
    "ffv1.mkv": ("ffv1", {}),
}
