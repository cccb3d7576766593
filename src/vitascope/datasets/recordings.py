"""Recordings: which examples of a user's folder come from one source, so that no fold may divide them."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from vitascope.core.addresses import is_address, is_folder_url, is_url
from vitascope.core.content import state
from vitascope.core.media import MEDIA_SUFFIXES
from vitascope.core.remote_listing import folder_state
from vitascope.core.types import Example

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Hashable)
MIN_BYTES = 1024
"""Smallest file that counts as a twin: videos are larger; placeholders and broken downloads may be smaller."""
BLOCK = 4096
"""Bytes read at the start, in the middle and at the end of files of equal size before they are compared as a whole."""
ENCODING = re.compile(
    r"([ ._-]+(thumb(nail)?s?|poster|preview|proxy|\d{3,4}p|[hx]\.?26[45]|hevc|avc|vp[89]|av1))+$", re.IGNORECASE
)
"""End of a file name that tells an encoding or a thumbnail from others of the same content."""


def with_recordings(examples: Sequence[Example[T]], root: Path) -> tuple[Example[T], ...]:
    """The examples with their recording as group; one that shares its recording with no other keeps its own group.

    Of one recording are the examples of one file, whatever links lead to it, of files with equal bytes, of files in one
    folder whose names differ only in the format, encoding or as a thumbnail, and those given the same group. A given
    group therefore joins and never divides. A recording is named after its first group, or else its first path.
    """
    return _grouped(examples, _keys(examples), root)


def with_copies(examples: Sequence[Example[T]], first: Mapping[str, str], root: str) -> tuple[Example[T], ...]:
    """The examples with copies of a video as one recording, where `first` is the first copy by the path of each."""
    keys: list[list[Hashable]] = [
        [("video", first.get(e.path, e.path)), *([("group", e.group)] if e.group is not None else [])] for e in examples
    ]
    return _grouped(examples, keys, Path(root))


def _grouped(examples: Sequence[Example[T]], keys: Sequence[Sequence[Hashable]], root: Path) -> tuple[Example[T], ...]:
    """The examples, those connected by common keys with one group."""
    members: dict[int, list[Example[T]]] = defaultdict(list)
    numbers = _components(keys)
    for number, example in zip(numbers, examples, strict=True):
        members[number].append(example)
    names = {number: _name(of_one, root) for number, of_one in members.items()}
    named = [(example, names[number]) for number, example in zip(numbers, examples, strict=True)]
    return tuple(example if name == example.group else replace(example, group=name) for example, name in named)


def with_array_recordings(
    examples: Sequence[Example[T]], arrays: Mapping[str, Path], root: Path
) -> tuple[Example[T], ...]:
    """The examples, without paths, with their recording as group, where only arrays computed from videos are at hand.

    Of one recording are those given the same group, those with one array or equal ones, and those whose ids differ only
    in the encoding or as a thumbnail. `arrays`: the array of an example by id.
    """
    of_arrays = [replace(e, path=str(arrays.get(e.id, root / e.id))) for e in examples]
    joined = with_recordings(of_arrays, root)
    joined = with_recordings([replace(e, path=str(root / e.id)) for e in joined], root)
    return tuple(replace(e, path="") for e in joined)


def _name(members: Sequence[Example[T]], root: Path) -> str | None:
    """The name of a recording; None if it is a single example without a group."""
    groups = [e.group for e in members if e.group is not None]
    if groups or len(members) == 1:
        return min(groups, default=None)
    return min(os.path.relpath(e.path, root).replace(os.sep, "/") for e in members)


def _components(keys: Sequence[Sequence[Hashable]]) -> list[int]:
    """The number of the connected component of each item, where items are connected by a common key."""
    parents = list(range(len(keys)))

    def find(item: int) -> int:
        while parents[item] != item:
            parents[item] = item = parents[parents[item]]
        return item

    first: dict[Hashable, int] = {}
    for item, own in enumerate(keys):
        for key in own:
            one, other = find(item), find(first.setdefault(key, item))
            parents[max(one, other)] = min(one, other)
    return [find(item) for item in range(len(keys))]


def _keys(examples: Sequence[Example[T]]) -> list[list[Hashable]]:
    """What each example has in common with the others of its recording."""
    files = {path: _file(path) for path in dict.fromkeys(e.path for e in examples)}
    twins = _twins({file: path for path, file in files.items()})
    keys: list[list[Hashable]] = []
    for e in examples:
        file = files[e.path]
        given = [("group", e.group)] if e.group is not None else []
        keys.append([file, _content_name(e.path), *given, *([twins[file]] if file in twins else [])])
    return keys


def _file(path: str) -> Hashable:
    """What all names of a file have in common, through symbolic and hard links."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.abspath(path)
    return (status.st_dev, status.st_ino, status.st_size) if status.st_ino else os.path.realpath(path)


def _content_name(path: str) -> Hashable:
    """The folder and the name of a file without the parts of the name that stand for a format or an encoding."""
    folder, name = os.path.split(os.path.abspath(path))
    stem, ending = os.path.splitext(name)
    stem = stem if ending.lower() in MEDIA_SUFFIXES else name
    return folder, ENCODING.sub("", stem) or stem


def _twins(paths: Mapping[Hashable, str]) -> dict[Hashable, Hashable]:
    """The digest of each file whose content another has too; only files that agree in size and samples are read."""
    from vitascope.datasets.audit.file_probe import content_digest as digest_of_file

    def content_digest(path: str) -> tuple[int, str]:
        return (0, _etag(path)) if is_address(path) else digest_of_file(path)

    sizes = _repeated({file: _size(path) for file, path in paths.items()})
    samples = _repeated({file: _if_readable(_sample, paths[file]) for file in sizes})
    return _repeated({file: _if_readable(content_digest, paths[file]) for file in samples})


def _repeated(values: Mapping[K, V | None]) -> dict[K, V]:
    """The items whose value occurs more than once; None is no value."""
    count = Counter(values.values())
    return {key: value for key, value in values.items() if value is not None and count[value] > 1}


def _if_readable(function: Callable[[str], V], path: str) -> V | None:
    """The result for the file at `path`; None if it cannot be read."""
    try:
        return function(path)
    except OSError:
        return None


def _size(path: str) -> Hashable | None:
    """Size of a file in bytes, or number of entries of a folder; None for what is missing or too small for a video."""
    if is_address(path):
        return _etag(path) or None
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(found.st_mode):
        return ("entries", len(os.listdir(path))) if _is_large(path) else None
    return ("bytes", found.st_size) if stat.S_ISREG(found.st_mode) and found.st_size >= MIN_BYTES else None


def _etag(url: str) -> str:
    """Size and ETag of an object or a folder large enough for a video, unread. Empty for parts of containers."""
    if is_folder_url(url):
        folder = folder_state(url)
        return folder.version if folder.size >= MIN_BYTES else ""
    found = state(url) if is_url(url) else None
    return found.version if found and found.size >= MIN_BYTES else ""


def _is_large(folder: str) -> bool:
    """Whether the files of a folder are larger than placeholders in all; reads no more of it than needed."""
    size = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            size += entry.stat().st_size if entry.is_file() else 0
            if size >= MIN_BYTES:
                return True
    return False


def _sample(path: str) -> bytes:
    """The bytes at the start, in the middle and at the end of a file, or of three such files of a folder."""
    if is_address(path):
        return _etag(path).encode()
    if os.path.isdir(path):
        files = sorted(entry.path for entry in os.scandir(path) if entry.is_file())
        return b"".join(_sample(files[i]) for i in sorted({0, len(files) // 2, len(files) - 1}) if files)
    size, blocks = os.path.getsize(path), []
    with open(path, "rb") as file:
        for place in (0, size // 2, max(size - BLOCK, 0)):
            file.seek(place)
            blocks.append(file.read(BLOCK))
    return b"".join(blocks)
