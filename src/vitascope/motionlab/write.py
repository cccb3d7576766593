"""Frames to files: H.264 video and PNG pictures, each whole or not there."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from vitascope.core.files import replacing

QUALITY = {"preset": "ultrafast", "qp": "21", "bf": "0", "x264-params": "keyint=1:aud=0:sliced-threads=0"}
"""Every frame is coded by itself at one fixed quality: what compression does to a frame cannot depend on the frames
before it, so a clip played backwards is the reversed clip in the decoded files too, to the last bit."""


def write_video(path: Path, frames: UInt8[np.ndarray, "t y x 3"], fps: float) -> None:
    """An MP4 file of H.264 (4:2:0) frames; height and width must be even. OSError when the disk refuses."""
    options = {"fflags": "+bitexact"}
    with (
        replacing(path) as temporary,
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
    """A PNG file."""
    codec = av.CodecContext.create("png", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.height, codec.width = picture.shape[:2]
    codec.pix_fmt, codec.time_base = "rgb24", Fraction(1)
    packets = codec.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))) + codec.encode(None)
    with replacing(path) as temporary:
        temporary.write_bytes(b"".join(bytes(packet) for packet in packets))
