"""The duration that the header of a video file states: milliseconds of reading, where `inspect` reads every packet."""

from __future__ import annotations

import os

import av

from vitascope.core.addresses import is_folder_url
from vitascope.core.content import local_copy
from vitascope.core.errors import UserError
from vitascope.video.container import open_file


def stated_duration(path: str) -> float | None:
    """The duration in seconds; None for a folder, a file without one in its header, or one that cannot be opened."""
    if is_folder_url(path) or os.path.isdir(path):
        return None
    try:
        with local_copy(path) as local, open_file(local) as container:
            ticks = container.duration
    except (UserError, OSError, av.FFmpegError):
        return None
    return ticks / av.time_base if ticks and ticks > 0 else None
