"""What is met below a folder of data and not used: counted by reason, with the first of each, to be printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vitascope.core.media import is_clutter, suffix

NAMED = 3
"""Folders that are named one by one."""


@dataclass
class Ignored:
    """Counts and first examples of what is ignored."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    """Folders without anything that is used, each with the reason."""

    def add(self, reason: str, path: str) -> None:
        """Count one file; `reason` is a noun."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.first.setdefault(reason, path)

    def add_files(self, folder: str, names: Iterable[str]) -> None:
        """Count files of one folder by ending; hidden files and those of the system are one kind."""
        for name in names:
            self.add(_kind(name), f"{folder}/{name}" if folder else name)

    def add_folder(self, path: str, why: str) -> None:
        """Name a folder."""
        self.folders.append(f"{path}/ ({why})")

    def __bool__(self) -> bool:
        return bool(self.counts or self.folders)

    def __str__(self) -> str:
        folders = self.folders[:NAMED]
        if len(self.folders) > NAMED:
            folders.append(f"{len(self.folders) - NAMED} more such folders")
        reasons = sorted(self.counts, key=lambda reason: -self.counts[reason])
        return ", ".join([*folders, *map(self._counted, reasons)])

    def _counted(self, reason: str) -> str:
        count, first = self.counts[reason], self.first[reason]
        if count == 1:
            return f"1 {reason} ({first})"
        plural = reason.replace("file", "files", 1) if "file" in reason else f"{reason}s"
        return f"{count} {plural} ({first} ...)"


def _kind(name: str) -> str:
    if is_clutter(name):
        return "hidden or system file"
    return f"{suffix(name)} file" if suffix(name) else "file without ending"
