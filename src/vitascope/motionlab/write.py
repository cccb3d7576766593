"""Write frames atomically as H.264 videos and PNG images."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from vitascope.core.files import atomic_file

QUALITY = {"preset": "ultrafast", "qp": "21", "bf": "0", "x264-params": "keyint=1:aud=0:sliced-threads=0"}
"""Encoder options: intra-only with a fixed quantizer, so that compression of a frame does not depend on other frames
and the decoded reversed clip is bit-identical to the reversed decoded clip."""


def write_video(path: Path, frames: UInt8[np.ndarray, "t y x 3"], fps: float) -> None:
    """Write frames as an H.264 MP4 file (4:2:0); height and width must be even. Raises OSError if the disk is full."""
    options = {"fflags": "+bitexact"}
    with (
        atomic_file(path) as temporary,
        av.open(str(temporary), "w", format="mp4", container_options=options) as container,
    ):
        stream = container.add_stream("libx264", rate=Fraction(fps), options=QUALITY)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame))))
        container.mux(stream.encode(None))


def write_picture(path: Path, picture: UInt8[np.ndarray, "y x 3"]) -> None:
    """Write an image as a PNG file."""
    codec = av.CodecContext.create("png", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.height, codec.width = picture.shape[:2]
    codec.pix_fmt, codec.time_base = "rgb24", Fraction(1)
    packets = codec.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))) + codec.encode(None)
    with atomic_file(path) as temporary:
        temporary.write_bytes(b"".join(bytes(packet) for packet in packets))
