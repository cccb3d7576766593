"""Videos stored as folders of numbered images."""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import av

from vitascope.core.errors import UserError
from vitascope.core.files import require_regular_file
from vitascope.core.media import FRAME_SUFFIXES
from vitascope.video import signature
from vitascope.video.container import open_file, open_stream
from vitascope.video.frame_series import choose_frames

RATE = 30.0
"""Default frame rate of a folder, frames per second."""


class FrameFolder(NamedTuple):
    """The readable images of a folder in order, with the frame number of each, counted from the first."""

    files: tuple[str, ...]
    steps: tuple[int, ...]
    warnings: tuple[str, ...]


def read_folder(path: str) -> FrameFolder:
    """The images in the folder at `path`, cached until it changes; raises UserError if there are none."""
    return _read(path, os.stat(path).st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: str, _version: int) -> FrameFolder:
    names = [n for n in os.listdir(path) if os.path.splitext(n)[1].lower() in FRAME_SUFFIXES and n[0] != "."]
    names, ignored = choose_frames(path, names)
    good = [n for n in names if _readable(os.path.join(path, n))]
    if not good:
        cause = "no readable images" if names else "a folder without images"
        raise UserError(f"{path}: {cause}; a folder of frames contains {', '.join(sorted(FRAME_SUFFIXES))}")
    bad = [n for n in names if n not in set(good)]
    warnings = [ignored] if ignored else []
    if bad:
        warnings.append(f"unreadable frames: {len(bad)}, the first is {bad[0]}")
    steps = _steps(names)
    missing = steps[-1] + 1 - len(names)
    if missing > 0:
        warnings.append(f"frame numbers missing: {missing}; the previous frame is displayed longer")
    frames = [(os.path.join(path, n), s) for n, s in zip(names, steps, strict=True) if n in set(good)]
    first = frames[0][1]
    return FrameFolder(tuple(f for f, _ in frames), tuple(s - first for _, s in frames), tuple(warnings))


def _steps(names: list[str]) -> list[int]:
    """Frame numbers relative to the first file, by the last number in each name, or by order if irregular."""
    numbers = [int(digits[-1]) if (digits := re.findall(r"\d+", os.path.splitext(n)[0])) else 0 for n in names]
    gaps = [b - a for a, b in pairwise(numbers)]
    if not gaps:
        return [0]
    usual = Counter(gaps).most_common(1)[0][0]
    if min(gaps) <= 0 or any(g % usual for g in gaps):
        return list(range(len(names)))
    return [(n - numbers[0]) // usual for n in numbers]


def _readable(path: str) -> bool:
    """True if the file has the signature of an image."""
    try:
        require_regular_file(path)
        return signature.is_image(path)
    except (OSError, UserError):
        return False


def picture(path: str) -> Any | None:
    """The frame in an image file, or None if it cannot be decoded."""
    try:
        with open_file(path) as container:
            return next(container.decode(open_stream(container, container.streams.video[0].index)), None)
    except (ValueError, OSError, IndexError, av.FFmpegError):
        return None
