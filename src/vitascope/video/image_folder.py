"""Videos that are folders of numbered pictures."""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import av

from vitascope.core.errors import UserError
from vitascope.video import signature
from vitascope.video.packet_index import open_file, open_stream

RATE = 30.0
"""Frames per second of a folder when nobody says."""


class FrameFolder(NamedTuple):
    """The readable pictures of a folder, in order, and the number of steps each is after the first."""

    files: tuple[str, ...]
    steps: tuple[int, ...]
    warnings: tuple[str, ...]


def read_folder(path: str) -> FrameFolder:
    """What the folder at `path` holds, remembered while it stays as it is; ValueError where it holds no picture."""
    return _read(path, os.stat(path).st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: str, _version: int) -> FrameFolder:
    names = [n for n in os.listdir(path) if os.path.splitext(n)[1].lower() in signature.EXTENSIONS and n[0] != "."]
    names.sort(key=lambda n: [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", n)])
    good = [n for n in names if _readable(os.path.join(path, n))]
    if not good:
        held = "no readable picture among its files" if names else "a folder without pictures"
        raise UserError(f"{path}: {held}; a folder of frames holds {', '.join(sorted(signature.EXTENSIONS))}")
    bad = [n for n in names if n not in set(good)]
    warnings = [f"unreadable frames: {len(bad)}, the first {bad[0]}"] if bad else []
    steps = _steps(names)
    missing = steps[-1] + 1 - len(names)
    if missing > 0:
        warnings.append(f"frames missing in the numbering: {missing}; the frame before is shown longer")
    kept = [(os.path.join(path, n), s) for n, s in zip(names, steps, strict=True) if n in set(good)]
    first = kept[0][1]
    return FrameFolder(tuple(f for f, _ in kept), tuple(s - first for _, s in kept), tuple(warnings))


def _steps(names: list[str]) -> list[int]:
    """Steps from the first name to each, by their last numbers; by order where those do not tell."""
    numbers = [int(found[-1]) if (found := re.findall(r"\d+", os.path.splitext(n)[0])) else 0 for n in names]
    gaps = [b - a for a, b in pairwise(numbers)]
    if not gaps:
        return [0]
    usual = Counter(gaps).most_common(1)[0][0]
    if min(gaps) <= 0 or any(g % usual for g in gaps):
        return list(range(len(names)))
    return [(n - numbers[0]) // usual for n in numbers]


def _readable(path: str) -> bool:
    """Whether a file begins as a picture does; whether it can be decoded shows when it is."""
    try:
        return signature.is_image(path)
    except OSError:
        return False


def picture(path: str) -> Any | None:
    """The frame in one picture file; None where it cannot be decoded."""
    try:
        with open_file(path) as container:
            return next(container.decode(open_stream(container, container.streams.video[0].index)), None)
    except (ValueError, OSError, IndexError, av.FFmpegError):
        return None
