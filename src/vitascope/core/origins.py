"""Folders on disk that stand for folders at URLs: what was listed or copied there, and the URLs of what is in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vitascope.core.errors import UserError

_origins: dict[str, str] = {}
_MANGLED = re.compile(r"(s3a?|gcs|gs|hf|https?|memory|abfss?|az):/(?!/)")


def stand_for(folder: str, url: str) -> None:
    """Note that `folder` stands for the folder at `url`, in this process."""
    _origins[folder.rstrip("/")] = url.rstrip("/")


def origin(path: str) -> str:
    """The URL that a path stands for; the path itself if it is none in such a folder."""
    for folder, url in _origins.items():
        if path == folder or path.startswith(folder + "/"):
            return url + path[len(folder) :]
    return path


def content_origin(path: str) -> str:
    """The address of the content that a path stands for: of a folder of frames, its URL with a slash at the end."""
    found = origin(path)
    return f"{found}/" if found != path and os.path.isdir(path) else found


def origin_text(text: str) -> str:
    """A message with the URLs that paths in it stand for."""
    for folder, url in _origins.items():
        text = text.replace(folder, url)
    return text


@contextmanager
def at_origins() -> Iterator[None]:
    """Within it errors of the user name the URLs that paths stand for."""
    try:
        yield
    except UserError as error:
        kind: Any = type(error)
        raise kind(origin_text(str(error))) from None


def unmangled(path: str) -> str:
    """The URL that became `path` when it was taken for a path: `s3:/bucket/x` was `s3://bucket/x`."""
    return _MANGLED.sub(r"\1://", path, count=1) if _MANGLED.match(path) else path
