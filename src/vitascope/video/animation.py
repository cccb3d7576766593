"""Animated WebP files, which FFmpeg does not read: times from the file, pictures from Pillow."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from PIL import Image

from vitascope.core.errors import UserError
from vitascope.video.container import LARGEST

FRAMES = 1 << 16
"""Largest number of frames that are read."""


def is_animation(path: str) -> bool:
    """True if the file is a WebP image with the flag of an animation."""
    with open(path, "rb") as file:
        head = file.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 21 and bool(head[20] & 2)


def read_animation(path: str) -> tuple[list[int], tuple[int, int]]:
    """Lengths of the frames in milliseconds, width and height; UserError if there are none or they are too large."""
    lengths: list[int] = []
    with open(path, "rb") as file:
        head = file.read(30)
        width, height = (1 + int.from_bytes(head[k : k + 3], "little") for k in (24, 27))
        position = file.seek(12)
        while len(lengths) < FRAMES and len(chunk := file.read(8)) == 8:
            content = file.read(16) if chunk[:4] == b"ANMF" else b""
            if len(content) == 16:
                lengths.append(int.from_bytes(content[12:15], "little"))
            size = int.from_bytes(chunk[4:], "little")
            position += 8 + size + size % 2
            file.seek(position)
    if not lengths:
        raise UserError(f"{path}: an animated WebP image without frames")
    if width * height > LARGEST:
        raise UserError(f"{path}: frames of {width} x {height} exceed {LARGEST} pixels")
    return lengths, (width, height)


class Animation:
    """Frames of an animated WebP file by number, ascending."""

    problems: tuple[str, ...] = ()
    steady = True

    def __init__(self, path: str, count: int) -> None:
        self.count = count
        try:
            self.image = Image.open(path, formats=["WEBP"])
        except Exception as error:  # a bomb, by Pillow's own limit, is neither OSError nor ValueError
            raise UserError(f"{path}: no frame can be decoded ({' '.join(str(error).split())})") from None

    def frame(self, i: int) -> Any | None:
        """Frame `i`, alpha dropped, or None if it cannot be decoded."""
        try:
            self.image.seek(i)
            return av.VideoFrame.from_ndarray(np.asarray(self.image.convert("RGB")), "rgb24")
        except (OSError, EOFError, ValueError, SyntaxError):
            return None

    def near(self, i: int) -> Any | None:
        """The nearest earlier frame that can be decoded, or else the nearest later one."""
        order = [*range(i - 1, -1, -1), *range(i + 1, self.count)]
        return next((frame for k in order if (frame := self.frame(k)) is not None), None)

    def close(self) -> None:
        """Close the file."""
        self.image.close()
