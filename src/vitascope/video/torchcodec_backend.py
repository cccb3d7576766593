"""Optional decoders: frames from TorchCodec (extra `torchcodec`), decoded by the processor or by a GPU (NVDEC)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

import av
import numpy as np

from vitascope.core.content import local_copy
from vitascope.core.device import torch
from vitascope.core.errors import MissingPackageError, UserError, first_line
from vitascope.core.pixel_transform import Decoder
from vitascope.core.types import CLOCK, Video
from vitascope.video.orientation import STORED
from vitascope.video.packet_index import Index, read_index

PLACE = r"^.*\.cpp:\d+, "
"""Where an error comes from in TorchCodec's own files."""


class RefusedError(Exception):
    """A video that TorchCodec does not decode, or not as its packets say."""


def require(decoder: Decoder) -> None:
    """Raise UserError, with what to do, if this machine cannot run a decoder."""
    if decoder == "pyav":
        return
    _package(decoder)
    if decoder == "nvdec" and not torch.cuda.is_available():
        raise UserError("decoder nvdec needs an NVIDIA GPU, and torch finds none here; use torchcodec or pyav")


def _package(decoder: Decoder) -> Any:
    """The module with TorchCodec's decoders."""
    try:
        return import_module("torchcodec.decoders")
    except (ImportError, RuntimeError, OSError) as error:
        reason = first_line(error).rstrip(":.")
        raise MissingPackageError(
            f"decoder {decoder}: {reason}; pip install 'vitascope[torchcodec]', and FFmpeg"
        ) from None


def frames(video: Video, wanted: list[int], warnings: list[str], *, gpu: bool = False) -> Iterator[tuple[int, Any]]:
    """Yield `(i, frame)` for each index in `wanted`, already turned for display.

    Of several GPUs, processes take turns. What a GPU does not decode, the processor does, which is appended to
    `warnings`. Raises RefusedError where TorchCodec cannot go on, MissingPackageError if it is not installed, and
    MemoryError for what ails a GPU, which says nothing about the video: it is tried again.
    """
    decoders = _package("nvdec" if gpu else "torchcodec")
    with local_copy(video.path) as local:
        local_video = video if local == video.path else replace(video, path=local)
        yield from _frames(decoders, local_video, wanted, warnings, gpu=gpu)


def _frames(
    decoders: Any, video: Video, wanted: list[int], warnings: list[str], *, gpu: bool
) -> Iterator[tuple[int, Any]]:
    """Yield the frames of a video whose path is that of a file."""
    index = read_index(video.path)
    count, mirrored, sideways = len(index.times), index.orientation.mirrored, index.orientation.sideways
    try:
        decoder = decoders.VideoDecoder(
            video.path,
            stream_index=index.stream,
            dimension_order="NHWC",
            num_ffmpeg_threads=1,
            device=_device(index, gpu=gpu),
        )
        if decoder.metadata.num_frames != count:
            decoded = decoder.metadata.num_frames
            raise RefusedError(f"TorchCodec finds {decoded} frames instead of {count}")
        for i in wanted:
            frame = decoder.get_frame_at(i)
            time = frame.pts_seconds - decoder.metadata.begin_stream_seconds_from_content
            if abs(time - index.times[i]) > CLOCK:
                raise RefusedError(f"TorchCodec gives the frame at {time:.3f} s for that at {index.times[i]:.3f} s")
            picture = frame.data.cpu().numpy()
            # TorchCodec rotates as far as FFmpeg's angle says, to which a mirrored picture is turned over once more
            turned = np.flip(picture, 1 if sideways else 0) if mirrored else picture
            yield i, av.VideoFrame.from_ndarray(np.ascontiguousarray(turned), "rgb24")
        if gpu and (index.orientation != STORED or decoder.cpu_fallback):
            warnings.append("decoded by the processor: the GPU does not decode this video")
    except (RuntimeError, ValueError, IndexError) as error:
        if gpu and "CUDA" in str(error):
            raise MemoryError(first_line(error)) from error
        raise RefusedError(f"TorchCodec: {re.sub(PLACE, '', first_line(error))}") from None


def _device(index: Index, *, gpu: bool) -> str:
    """The device that decodes a video; not every version of TorchCodec turns frames on a GPU."""
    if not gpu or index.orientation != STORED:
        return "cpu"
    return f"cuda:{os.getpid() % torch.cuda.device_count()}"
