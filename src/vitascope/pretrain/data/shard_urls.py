"""Which shards a pattern means, and opening them: on this machine, or wherever fsspec reaches."""

from __future__ import annotations

import glob
import gzip
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, cast, runtime_checkable

from vitascope.core.errors import UserError
from vitascope.core.text import nearest

BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST = 1_000_000
"""Shards that one pattern may mean."""


@runtime_checkable
class Bytes(Protocol):
    """A file as far as shards need one: what fsspec gives is often no more."""

    def read(self, size: int = -1, /) -> bytes:
        """The next `size` bytes, or fewer."""

    def seek(self, place: int, whence: int = 0, /) -> int:
        """Go to byte `place`."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> Any: ...


def spread(pattern: str) -> Iterator[str]:
    """The names that braces stand for: `{000..012}` keeps its zeros, `{a,b}` is a choice. ValueError for others."""
    found = BRACES.search(pattern)
    if not found:
        yield pattern
        return
    ends = RANGE.fullmatch(found[1])
    if not ends and "," not in found[1]:
        raise UserError(f"{pattern}: {found[0]} is neither a range like {{000..012}} nor a choice like {{a,b}}")
    if ends:
        low, high = int(ends[1]), int(ends[2])
        if not low <= high < low + MOST:
            raise UserError(f"{pattern}: {found[0]} is no range upwards of at most {MOST:,} shards")
        words = [f"{i:0{len(ends[1])}d}" for i in range(low, high + 1)]
    else:
        words = found[1].split(",")
    for word in words:
        yield from spread(f"{pattern[: found.start()]}{word}{pattern[found.end() :]}")


def shards(patterns: Sequence[str]) -> list[str]:
    """The shards that `patterns` mean, each once: names with braces, globs, or urls such as `s3://bucket/x-{0..9}.tar`.

    ValueError where a pattern means none, or names some that are not there; of urls only the first and last are tried.
    """
    found = [shard for pattern in patterns for shard in _of(pattern)]
    if not found:
        raise UserError("no shards given; give a pattern such as data-{000..012}.tar")
    return list(dict.fromkeys(found))


def _of(pattern: str) -> list[str]:
    names = list(spread(pattern if remote(pattern) else os.path.expanduser(pattern)))
    found = [one for name in names for one in (_globbed(name) if glob.has_magic(name) else [name])]
    tried = [found[0], found[-1]] if found and remote(pattern) else found
    absent = [name for name in tried if not _there(name)]
    if found and not absent:
        return found
    if not found:
        raise UserError(f"{pattern}: no shard has such a name{_beside(pattern)}")
    raise UserError(
        f"{pattern}: {len(absent)} of {len(tried)} shards looked for are not there, the first {absent[0]}"
        f"{_beside(absent[0])}"
    )


def remote(name: str) -> bool:
    """Whether `name` is a url."""
    return "://" in name


def open_shard(name: str) -> Bytes:
    """The bytes of a shard, unpacked where its name says that it is compressed."""
    packed = name.endswith((".gz", ".tgz"))
    if not remote(name):
        return cast(Bytes, gzip.open(name)) if packed else open(name, "rb")
    system, path = _system(name)
    file = cast(Bytes, system.open(path, "rb"))
    return cast(Bytes, gzip.open(file)) if packed else file


def _globbed(name: str) -> list[str]:
    if not remote(name):
        return sorted(glob.glob(name))
    system, path = _system(name)
    return sorted(str(system.unstrip_protocol(one)) for one in system.glob(path))


def _there(name: str) -> bool:
    if not remote(name):
        return os.path.isfile(name)
    system, path = _system(name)
    return bool(system.exists(path))


def _system(url: str) -> tuple[Any, str]:
    """The file system of a url, and its path there."""
    try:
        import fsspec
    except ImportError:
        raise UserError(f"{url}: urls need fsspec; pip install 'vitascope[remote]'") from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # names the package that speaks the protocol, or knows none
        raise UserError(f"{url}: {error}; pip install the package for {url.partition('://')[0]}") from error
    return system, path


def _beside(name: str) -> str:
    """What lies where the shard was looked for."""
    folder = Path(name).parent
    if remote(name) or not folder.is_dir():
        return "" if remote(name) else f"; there is no folder {folder}"
    there = sorted(p.name for p in folder.iterdir() if ".tar" in p.name or p.suffix == ".tgz")
    first = f"; there is {there[0]}" if there else "; no .tar is there"
    return nearest(Path(name).name, there) or first
