"""Open containers and choose a video stream: the way to FFmpeg, with its refusals turned into UserError."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from vitascope.core.errors import UserError
from vitascope.core.files import require_regular_file
from vitascope.video import signature

HIDDEN = Disposition.attached_pic | Disposition.timed_thumbnails
"""Dispositions of streams that hold cover art or thumbnails, not video."""
REFUSED = frozenset({"hls", "concat", "dash", "tty", "cdg", "bin", "xbin", "adf", "idf"})
"""FFmpeg formats that refer to other files, render text, or accept arbitrary bytes."""
NAMELESS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
"""Errors of the system that mean that a name leads to no file."""
LARGEST = 1 << 27
"""Largest frame that is decoded, pixels: four times 8K."""


def require_file(path: str) -> None:
    """Raise UserError unless `path` is a regular file, or a link to one; OSError if the system denies access."""
    try:
        require_regular_file(path)
    except OSError as error:
        if error.errno not in NAMELESS:
            raise
        cause = "symbolic links in a circle" if error.errno == errno.ELOOP else "no such file"
        raise UserError(
            f"{path}: {'broken symbolic link' if error.errno == errno.ENOENT and os.path.islink(path) else cause}"
        ) from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path!r}: no name of a file ({error})") from None


def open_file(path: str) -> Any:
    """Open a container; raises UserError with the file and the cause if it cannot be read."""
    require_file(path)
    refusal = signature.not_a_video(path)
    if refusal:
        raise UserError(f"{path}: {refusal}")
    # "file:" keeps names like "-x.mp4" and "a:b.mp4" from being parsed as options and URLs; images are passed as bytes,
    # because FFmpeg interprets "%03d" in a name as a pattern and trusts the file extension.
    source = io.BytesIO(Path(path).read_bytes()) if signature.is_image(path) else f"file:{path}"
    try:
        container = av.open(source, options={"protocol_whitelist": "file"})
    except (av.FFmpegError, UnicodeError) as error:
        raise UserError(f"{path}: {signature.likely_fault(path)} ({_reason(error)})") from None
    if container.format.name in REFUSED:
        container.close()
        raise UserError(f"{path}: not a video (FFmpeg detects {container.format.name})")
    return container


def open_stream(container: Any, number: int, *, strict: bool = False) -> Any:
    """Stream `number` of an open container, set to decode in one thread: there is one worker process per core.

    A `strict` decoder fails where another would conceal damage. Raises UserError if a damaged file has other streams
    than when it was opened before.
    """
    stream = next((s for s in container.streams if s.index == number and s.codec_context is not None), None)
    if stream is None:
        path = str(container.name).removeprefix("file:")
        raise UserError(f"{path}: damaged: FFmpeg finds its video stream at one opening and not at the next")
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(LARGEST)} | ({"err_detect": "explode"} if strict else {})
    return stream


def read_packets(container: Any, *streams: Any) -> Iterator[Any]:
    """Packets of streams, by default of all, and an empty one at the end of each.

    If a damaged file adds streams on the way, PyAV looks for packets of streams that it does not know, at the end.
    """
    with contextlib.suppress(IndexError):
        yield from container.demux(*streams)


def video_streams(path: str, container: Any) -> list[int]:
    """Indices of the video streams, default streams first, then by size."""
    streams = [s for s in container.streams.video if not s.disposition & HIDDEN]
    if not streams:
        cover = ", only cover art" if container.streams.video else ""
        raise UserError(f"{path}: no video stream{cover}")
    decodable = [s for s in streams if s.codec_context is not None]
    if not decodable:
        raise UserError(f"{path}: this FFmpeg has no decoder for the video stream")
    if any(s.codec_tag in ("encv", "drmi") for s in decodable):
        raise UserError(f"{path}: encrypted (DRM)")
    decodable = [s for s in decodable if s.width * s.height <= LARGEST]
    if not decodable:
        raise UserError(f"{path}: frames of {streams[0].width} x {streams[0].height} exceed {LARGEST} pixels")

    def rank(stream: Any) -> tuple[bool, int]:
        return bool(stream.disposition & Disposition.default), stream.width * stream.height

    return [s.index for s in sorted(decodable, key=rank, reverse=True)]


def _reason(error: Exception) -> str:
    """FFmpeg's error message without the repeated file name."""
    return str(getattr(error, "strerror", None) or error).split(": '")[0]
