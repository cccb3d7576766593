"""Video files, folders of frames and images: `inspect` reads their metadata, `decode` the pixels of clips.

The same conventions hold for every file. Times are presentation times, from the first displayed frame. Frames are
turned by their display matrix; non-square pixels, interlacing and HDR tone mapping are ignored, and alpha is dropped.
YUV is converted to RGB with the matrix and range given in the file (by default BT.601 and limited range, as in FFmpeg),
with chroma interpolated to full resolution. Only this package accesses codecs.
"""

from __future__ import annotations

import av

from vitascope.core.errors import UserError
from vitascope.video.decode import decode
from vitascope.video.inspect import inspect

__all__ = ["UNREADABLE", "decode", "inspect"]

UNREADABLE = (UserError, OSError, av.FFmpegError)
"""Errors raised by files that cannot be read or decoded; anything else is a bug."""
