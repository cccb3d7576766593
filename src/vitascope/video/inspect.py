"""Read the metadata of a video: frame times, size, rotation and warnings."""

from __future__ import annotations

import os
from dataclasses import replace

from vitascope.core.content import local_copy
from vitascope.core.errors import UserError
from vitascope.core.types import Video
from vitascope.video.image_folder import RATE, picture, read_folder
from vitascope.video.orientation import oriented
from vitascope.video.packet_index import displayed_size, read_index
from vitascope.video.segment_folder import list_segments, read_segments


def inspect(path: str | os.PathLike[str], *, fps: float | None = None) -> Video:
    """The `Video` at `path`: a video file, an image, or a folder of frames or of files called after seconds.

    A file or folder may be at an address: a URL, or in a tar or Parquet file, see `core.addresses`.

    Reads all packets and decodes one frame, or all frames if the packets have no usable time stamps. `fps` is the frame
    rate of a folder of frames (default 30) and of a stream without time stamps. Raises UserError with the cause if
    nothing can be decoded, and OSError if the file cannot be opened.
    """
    path = os.fspath(path)
    if fps is not None and not fps > 0:
        raise UserError(f"{path}: the frame rate must be above 0, not {fps}")
    with local_copy(path) as local:
        if not os.path.isdir(local):
            return replace(_file(local, fps), path=path)
        return replace(_segments(local) if list_segments(local) else _folder(local, fps or RATE), path=path)


def _file(path: str, fps: float | None) -> Video:
    index = read_index(path)
    times, duration = index.times, index.duration
    if index.untimed and fps and not index.still:
        times, duration = tuple(i / fps for i in range(len(times))), len(times) / fps
    return Video(
        path=path,
        times=times,
        duration=duration,
        width=index.size[0],
        height=index.size[1],
        rotation=index.orientation.rotation,
        mirrored=index.orientation.mirrored,
        kind="image" if index.still else "file",
        warnings=index.warnings,
    )


def _folder(path: str, fps: float) -> Video:
    folder = read_folder(path)
    first = next((frame for file in folder.files if (frame := picture(file))), None)
    if first is None:
        raise UserError(f"{path}: none of its {len(folder.files)} images can be decoded")
    width, height = displayed_size(first)
    return Video(
        path=path,
        times=tuple(step / fps for step in folder.steps),
        duration=(folder.steps[-1] + 1) / fps,
        width=width,
        height=height,
        rotation=oriented(first).rotation,
        mirrored=oriented(first).mirrored,
        kind="frames",
        warnings=folder.warnings,
    )


def _segments(path: str) -> Video:
    folder = read_segments(path)
    return Video(
        path=path,
        times=folder.times,
        duration=folder.duration,
        width=folder.size[0],
        height=folder.size[1],
        rotation=folder.orientation.rotation,
        mirrored=folder.orientation.mirrored,
        kind="segments",
        warnings=folder.warnings,
    )
