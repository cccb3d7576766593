"""The frame rate that a video file states in its header, read without its packets."""

from __future__ import annotations

from vitascope.core.content import local_copy
from vitascope.core.errors import UserError
from vitascope.video.container import open_file, open_stream, video_streams


def stated_rate(path: str) -> float | None:
    """Frames per second of the video stream that is decoded; None if the file cannot be read or does not say."""
    try:
        with local_copy(path) as local, open_file(local) as container:
            stream = open_stream(container, video_streams(local, container)[0])
            rate = stream.average_rate or stream.base_rate
            return float(rate) if rate else None
    except (UserError, OSError):
        return None
