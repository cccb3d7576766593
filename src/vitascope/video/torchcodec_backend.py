"""Optional decoding backend: frames from TorchCodec (extra `torchcodec`)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import av

from vitascope.core.errors import MissingPackageError, UserError
from vitascope.core.types import Video
from vitascope.video.packet_index import read_index


def frames(video: Video, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    """Yield `(i, frame)` for each index in `wanted`, already rotated.

    Raises UserError if TorchCodec is not installed or cannot read the file.
    """
    try:
        decoders: Any = import_module("torchcodec.decoders")
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise MissingPackageError(
            f"backend torchcodec: {reason}; pip install 'vitascope[torchcodec]', and FFmpeg"
        ) from None
    index = read_index(video.path)
    count = len(index.times)
    try:
        decoder = decoders.VideoDecoder(
            video.path, stream_index=index.stream, dimension_order="NHWC", num_ffmpeg_threads=1
        )
        if decoder.metadata.num_frames != count:
            decoded = decoder.metadata.num_frames
            raise UserError(f"{video.path}: TorchCodec finds {decoded} frames instead of {count}; use backend 'pyav'")
        for i in wanted:
            yield i, av.VideoFrame.from_ndarray(decoder.get_frame_at(i).data.numpy(), "rgb24")
    except (RuntimeError, IndexError) as error:
        raise UserError(f"{video.path}: TorchCodec: {str(error).strip().splitlines()[0]}") from None
