"""Addresses of content that is no file of its own: URLs, and parts of tar and Parquet files; plain text, nothing read.

A part is named as if its container were a folder, with its place in brackets: `shard.tar[512:90112]/clip.mp4` are bytes
512 to 90112 of an archive, `train.parquet[video:17]/clip.mp4` the bytes in row 17 of the column `video`. Either may be
of a container at a URL.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
PART = re.compile(r"(.+\.(?:tar|tar\.gz|tgz|parquet))\[([^\[\]/]+)\]/(.+)", re.IGNORECASE | re.DOTALL)


class Part(NamedTuple):
    """A part of a container."""

    container: str
    """Path or URL of the container."""
    place: str
    name: str
    """Name of the part, with the ending of its kind."""

    @property
    def window(self) -> tuple[int, int] | None:
        """The first byte in the container and the byte after the last; None for a cell of a table."""
        start, _, end = self.place.partition(":")
        return (int(start), int(end)) if start.isdecimal() and end.isdecimal() else None

    @property
    def cell(self) -> tuple[str, int]:
        """The column and the row of a cell of a table."""
        column, _, row = self.place.rpartition(":")
        return column, int(row)


def is_url(text: str) -> bool:
    """Return whether `text` is a URL, such as `s3://bucket/x`."""
    return URL.match(text) is not None


def is_folder_url(path: str) -> bool:
    """Return whether `path` is the URL of a folder of frames, which ends with a slash."""
    return path.endswith("/") and is_url(path)


def part_of(path: str) -> Part | None:
    """The part of a container that `path` is the address of; None if it is none."""
    match = PART.fullmatch(path) if "]/" in path else None
    return Part(*match.groups()) if match else None


def is_address(path: str) -> bool:
    """Return whether `path` is a URL or part of a container, which `core.content` makes a file of."""
    return is_url(path) or part_of(path) is not None


def absolute(path: str) -> str:
    """The path without what depends on the current folder; an address and an empty path stay as they are."""
    return path if not path or is_address(path) else os.path.abspath(path)


def part_path(container: str, place: str, name: str) -> str:
    """The address of a part of a container."""
    return f"{container}[{place}]/{name}"
