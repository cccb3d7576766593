"""Find the files that a list names, below the folder of the list or a stated folder of the videos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vitascope.core.addresses import is_url
from vitascope.core.errors import UserError
from vitascope.core.names import NameIndex, canonical
from vitascope.core.origins import origin


def _unlisted(root: str) -> bool:
    """Whether a folder stands for one at a server that lists nothing, so that anything may be there."""
    return is_url(url := origin(root)) and url.startswith("http") and len(os.listdir(root)) == 1


class PathFinder:
    """Finds listed paths below `roots`; a relative path belongs below the first of them where it exists.

    A path is found exactly, else folder by folder by its normal form, else regardless of capitals (`by_case`).
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = {str(root): os.path.abspath(root).rstrip(os.sep) + os.sep for root in roots}
        self.by_case: dict[str, str] = {}
        """Paths found regardless of capitals only, with those found."""
        self._folders: dict[str, NameIndex] = {}

    def inside(self, listed: str, where: str) -> list[tuple[str, str]]:
        """The roots that the path stays below, each with the path relative to it; `UserError` if there are none."""
        if "\0" in listed:
            raise UserError(f"{where}: {listed!r} is not a path")
        if is_url(listed):
            return [("", listed)]
        text = listed.replace("\\", "/") if "\\" in listed and not os.path.lexists(listed) else listed
        fitting = []
        for root, above in self.roots.items():
            full = os.path.normpath(os.path.join(above, text))
            if full.startswith(above):
                fitting.append((root, full[len(above) :].replace(os.sep, "/")))
        if fitting:
            return fitting
        first, last = next(iter(self.roots)), list(self.roots)[-1]
        stated = os.path.dirname(text) if os.path.isabs(text) else "FOLDER"
        raise UserError(
            f"{where}: {listed!r} is outside {first}; move or link the video into it, or state the folder of the "
            f"videos, as in {last}={stated}"
        )

    def exact(self, places: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
        """The first of some places that exists as it is spelled; a broken link exists, a URL may."""
        return next((p for p in places if is_url(p[1]) or os.path.lexists(os.path.join(*p)) or _unlisted(p[0])), None)

    def similar(self, places: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
        """The first of some places that exists in another spelling, with the spelling on disk."""
        for root, path in places:
            if (found := self._spelled(root, path)) is not None:
                if canonical(found) != canonical(path):
                    self.by_case[path] = found
                return root, found
        return None

    def _spelled(self, root: str, path: str) -> str | None:
        found: list[str] = []
        for part in path.split("/"):
            folder = os.path.join(root, *found)
            if folder not in self._folders:
                self._folders[folder] = NameIndex(sorted(os.listdir(folder)) if os.path.isdir(folder) else ())
            name = self._folders[folder].find(part, folder)
            if name is None:
                return None
            found.append(name)
        return "/".join(found)
