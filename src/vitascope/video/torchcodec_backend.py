"""The other way to decode: frames by TorchCodec (extra `torchcodec`), the same squares cut from them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import av

from vitascope.core.errors import UserError
from vitascope.core.types import Video
from vitascope.video.packet_index import read_index


def frames(video: Video, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    """`(i, frame)` for each of `wanted`, already turned; ValueError where TorchCodec is missing or refuses the file."""
    try:
        decoders: Any = import_module("torchcodec.decoders")
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"backend torchcodec: {reason}; pip install 'vitascope[torchcodec]', and FFmpeg") from None
    index = read_index(video.path)
    count = len(index.times)
    try:
        decoder = decoders.VideoDecoder(
            video.path, stream_index=index.stream, dimension_order="NHWC", num_ffmpeg_threads=1
        )
        if decoder.metadata.num_frames != count:
            found = decoder.metadata.num_frames
            raise UserError(f"{video.path}: TorchCodec counts {found} frames where {count} are shown; use pyav")
        for i in wanted:
            yield i, av.VideoFrame.from_ndarray(decoder.get_frame_at(i).data.numpy(), "rgb24")
    except (RuntimeError, IndexError) as error:
        raise UserError(f"{video.path}: TorchCodec: {str(error).strip().splitlines()[0]}") from None
