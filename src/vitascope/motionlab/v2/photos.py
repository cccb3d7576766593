"""Photos for backgrounds and surfaces: from a folder, or the two that come with scikit-learn."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from vitascope.core.errors import UserError
from vitascope.core.media import IMAGE_SUFFIXES, suffix
from vitascope.video.image_folder import picture
from vitascope.video.resample import resize, shorter

SHORT = 192
"""Shorter side of a photo in memory, pixels."""
MOST = 1000
"""Photos of a folder that are used, the first by name."""
PART = (0.6, 1.0)
"""Least and most side of the part that is shown, shorter sides."""
PATCH = 64
"""Side of the texture of a surface, pixels."""
Pixels = UInt8[np.ndarray, "y x 3"]


class Photos(NamedTuple):
    """Photos in the order of their file names."""

    pictures: tuple[Pixels, ...]
    digest: str
    """Of all pixels, 12 hexadecimal digits."""

    def part(self, where: tuple[float, float, float, float], side: int) -> Float32[np.ndarray, "s s 3"]:
        """A square part of a photo as `side` x `side` colors of 0 to 1; `where` is as in `Scene.photo`."""
        which, right, down, size = where
        whole = self.pictures[int(which * len(self.pictures))]
        height, width = whole.shape[:2]
        length = int(min(height, width) * (PART[0] + (PART[1] - PART[0]) * size))
        left, top = int(right * (width - length + 1)), int(down * (height - length + 1))
        square = np.ascontiguousarray(whole[top : top + length, left : left + length])
        return resize(square, side, side).astype(np.float32) / 255


def read_photos(folder: Path) -> Photos:
    """The photos of a folder; UserError where there is none, or one cannot be decoded."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder of photos")
    files = sorted(p for p in folder.iterdir() if suffix(p.name) in IMAGE_SUFFIXES and not p.name.startswith("."))
    if not files:
        raise UserError(f"{folder}: no photos in it; give a folder of {', '.join(sorted(IMAGE_SUFFIXES))} files")
    pictures = tuple(_read(path) for path in files[:MOST])
    total = hashlib.blake2b(digest_size=6)
    for pixels in pictures:
        total.update(repr(pixels.shape).encode() + pixels.tobytes())
    return Photos(pictures, total.hexdigest())


def _read(path: Path) -> Pixels:
    frame = picture(str(path))
    if frame is None:
        raise UserError(f"{path}: cannot be decoded as an image; remove it, or give another folder of photos")
    pixels = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
    return resize(pixels, *shorter(frame.width, frame.height, SHORT))


def sample_folder() -> Path:
    """The folder of the two photos that come with scikit-learn (CC BY 2.0, by danielbuechele and vultilion)."""
    spec = find_spec("sklearn")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent / "datasets" / "images"
