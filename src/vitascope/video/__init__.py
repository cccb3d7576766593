"""Video files, folders of frames and images: `inspect` says what is there, `decode` makes clips of pixels.

Conventions, the same for every file. Times are those of the presentation, from the first frame shown. The picture is
turned as its display matrix says; mirroring is not applied, nor are non-square pixels stretched, nor interlaced
pictures taken apart, nor HDR tone-mapped, and alpha is dropped. YUV becomes RGB by the matrix and range that the file
states (BT.601 and limited range where it is silent, as FFmpeg reads it), with chroma interpolated to full resolution.
This package alone touches a codec.
"""

from __future__ import annotations

from vitascope.video.decode import decode
from vitascope.video.inspect import inspect

__all__ = ["decode", "inspect"]
