"""Freshness: whether what the store has of an example still belongs to the file that is there now."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vitascope.core.addresses import is_address
from vitascope.core.file_identity import FULL, FileIdentity, FileState, identify, is_unchanged, state_of
from vitascope.core.types import Example, digest
from vitascope.features.store_lookup import StoredEntry

if TYPE_CHECKING:
    from vitascope.features.decode_job import DecodeJob

Known = Mapping[str, StoredEntry]
FILES = "files:"
"""Start of a digest of the files that live features are computed from."""


def file_size(path: str) -> int:
    """Return the size of a file in bytes; 0 for a folder or a missing file, or if it is not known without reading."""
    if is_address(path):
        return state_of(path).size
    try:
        return os.stat(path).st_size if os.path.isfile(path) else 0
    except OSError:
        return 0


def source_digest(example: Example[Any] | DecodeJob, size: int) -> str:
    """Return a digest of file name, size (bytes), span and frame rate: whether an example id still means the same."""
    return digest([os.path.basename(example.path.rstrip("/")), size, example.span, example.fps])


def files_digest(examples: Sequence[Example[Any]], *, full: bool) -> str:
    """Return a digest of the content of all files of `examples`, by samples or in full, for which no store speaks."""
    found = {path: _content(path, full=full) for path in dict.fromkeys(e.path for e in examples)}
    return FILES + FULL * full + digest([[e.id, e.span, e.fps, found[e.path]] for e in examples])


def _content(path: str, *, full: bool) -> str:
    try:
        return identify(path, full=full).content
    except OSError:
        return FileIdentity().content


class Freshness:
    """Tells which examples are stored, with one look at every file."""

    def __init__(self, *, retry_failed: bool = False) -> None:
        """`retry_failed`: count examples that failed as not stored."""
        self.retry_failed = retry_failed
        self._states: dict[str, FileState] = {}

    def missing(self, examples: Sequence[Example[Any]], known: Sequence[Known]) -> list[Example[Any]]:
        """Return those of `examples` that one of several stores lacks."""
        return [e for e in examples if not all(self.holds(e, k) for k in known)]

    def holds(self, example: Example[Any], known: Known) -> bool:
        """Return whether `example` is stored and its file, if it still exists, is unchanged."""
        entry = known.get(example.id)
        if entry is None or (self.retry_failed and entry.status != "ok"):
            return False
        remote = is_address(example.path)
        if not remote and not os.path.lexists(example.path):
            return True
        if example.path not in self._states:
            self._states[example.path] = state_of(example.path)
        state = self._states[example.path]
        if remote and not state.stamp:  # gone, or the server does not answer
            return True
        same_name = entry.source == source_digest(example, state.size)
        return same_name and is_unchanged(example.path, state, entry.stamp, entry.content)


def inputs_digest(examples: Sequence[Example[Any]], known: Sequence[Known]) -> str:
    """Return a digest of the files that the vectors of `examples` were computed from, or that failed.

    Empty if a store lacks an example, or has it as failed by what befell the machine: next time may be different.
    """
    entries = [k.get(e.id) for e in examples for k in known]
    if not all(entry and (entry.stamp or entry.status == "ok") for entry in entries):
        return ""
    return digest([[entry.status == "ok", entry.source, entry.content] for entry in entries if entry])
