"""The other way to decode: frames by TorchCodec (extra `torchcodec`), the same squares cut from them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import av
import numpy as np

from vitascope.types import Video
from vitascope.video.index import read_index


def frames(video: Video, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    """`(i, frame)` for each of `wanted`, already turned; ValueError where TorchCodec is missing or refuses the file."""
    try:
        decoders: Any = import_module("torchcodec.decoders")
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"backend torchcodec: {reason}; pip install 'vitascope[torchcodec]', and FFmpeg") from None
    index = read_index(video.path)
    ends = np.append(index.times[1:], index.duration)
    try:
        decoder = decoders.VideoDecoder(
            video.path, stream_index=index.stream, dimension_order="NHWC", num_ffmpeg_threads=1
        )
        begin = decoder.metadata.begin_stream_seconds_from_content or 0.0
        for i in wanted:
            middle = begin + (index.times[i] + max(ends[i], index.times[i])) / 2
            frame = decoder.get_frame_at(i) if index.counted else decoder.get_frame_played_at(middle)
            yield i, av.VideoFrame.from_ndarray(frame.data.numpy(), "rgb24")
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"{video.path}: TorchCodec: {str(error).strip().splitlines()[0]}") from None
