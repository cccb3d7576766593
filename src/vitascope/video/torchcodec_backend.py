"""Optional decoding backend: frames from TorchCodec (extra `torchcodec`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

import av
import numpy as np

from vitascope.core.content import local_copy
from vitascope.core.errors import MissingPackageError, UserError, first_line
from vitascope.core.types import Video
from vitascope.video.packet_index import read_index


def frames(video: Video, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    """Yield `(i, frame)` for each index in `wanted`, already turned for display.

    Raises UserError if TorchCodec is not installed or cannot read the file.
    """
    try:
        decoders: Any = import_module("torchcodec.decoders")
    except (ImportError, RuntimeError, OSError) as error:
        reason = first_line(error)
        raise MissingPackageError(
            f"backend torchcodec: {reason}; pip install 'vitascope[torchcodec]', and FFmpeg"
        ) from None
    with local_copy(video.path) as local:
        yield from _frames(decoders, video if local == video.path else replace(video, path=local), wanted)


def _frames(decoders: Any, video: Video, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    """Yield the frames of a video whose path is that of a file."""
    index = read_index(video.path)
    count, mirrored, sideways = len(index.times), index.orientation.mirrored, index.orientation.sideways
    try:
        decoder = decoders.VideoDecoder(
            video.path, stream_index=index.stream, dimension_order="NHWC", num_ffmpeg_threads=1
        )
        if decoder.metadata.num_frames != count:
            decoded = decoder.metadata.num_frames
            raise UserError(f"{video.path}: TorchCodec finds {decoded} frames instead of {count}; use backend 'pyav'")
        for i in wanted:
            picture = decoder.get_frame_at(i).data.numpy()
            # TorchCodec rotates as far as FFmpeg's angle says, to which a mirrored picture is turned over once more
            turned = np.flip(picture, 1 if sideways else 0) if mirrored else picture
            yield i, av.VideoFrame.from_ndarray(np.ascontiguousarray(turned), "rgb24")
    except (RuntimeError, IndexError) as error:
        raise UserError(f"{video.path}: TorchCodec: {first_line(error)}") from None
