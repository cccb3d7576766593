"""Expand shard patterns and open shards, on local disks or any file system that fsspec supports."""

from __future__ import annotations

import glob
import gzip
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from vitascope.core.addresses import is_url
from vitascope.core.errors import UserError
from vitascope.core.files import require_regular_file
from vitascope.core.remote import file_system
from vitascope.core.text import nearest
from vitascope.datasets.readers.tar_reader import ByteFile

BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
MAX_SHARDS = 1_000_000
"""Maximum number of shards of one pattern."""


def expand_braces(pattern: str) -> Iterator[str]:
    """Expand braces: `{000..012}` keeps leading zeros, `{a,b}` lists choices. Raises UserError for other braces."""
    if not (braces := BRACES.search(pattern)):
        yield pattern
        return
    bounds = RANGE.fullmatch(braces[1])
    if not bounds and "," not in braces[1]:
        raise UserError(f"{pattern}: {braces[0]} is neither a range like {{000..012}} nor a choice like {{a,b}}")
    if bounds:
        low, high = int(bounds[1]), int(bounds[2])
        if not low <= high < low + MAX_SHARDS:
            raise UserError(f"{pattern}: {braces[0]} must be an increasing range of at most {MAX_SHARDS:,} shards")
        words = [f"{i:0{len(bounds[1])}d}" for i in range(low, high + 1)]
    else:
        words = braces[1].split(",")
    for word in words:
        yield from expand_braces(f"{pattern[: braces.start()]}{word}{pattern[braces.end() :]}")


def list_shards(patterns: Sequence[str]) -> list[str]:
    """List the shards matching `patterns`, without repeats: braces, globs, or URLs such as `s3://bucket/x-{0..9}.tar`.

    Raises UserError if a pattern matches none or names missing shards; of URLs only the first and last are checked.
    """
    paths = [path for pattern in patterns for path in _matching(pattern)]
    if not paths:
        raise UserError("no shard pattern given; an example is data-{000..012}.tar")
    return list(dict.fromkeys(paths))


def _matching(pattern: str) -> list[str]:
    names = list(expand_braces(pattern if is_url(pattern) else os.path.expanduser(pattern)))
    paths = [path for name in names for path in (_globbed(name) if glob.has_magic(name) else [name])]
    checked = [paths[0], paths[-1]] if paths and is_url(pattern) else paths
    missing = [name for name in checked if not _exists(name)]
    if paths and not missing:
        return paths
    if not paths:
        raise UserError(f"{pattern}: no shard matches{_hint(pattern)}")
    raise UserError(
        f"{pattern}: {len(missing)} of the {len(checked)} shards checked do not exist, first {missing[0]}"
        f"{_hint(missing[0])}"
    )


def open_shard(name: str) -> ByteFile:
    """Open a shard for reading, decompressed if its name ends in .gz or .tgz."""
    packed = name.endswith((".gz", ".tgz"))
    if not is_url(name):
        require_regular_file(name)
        return cast(ByteFile, gzip.open(name)) if packed else open(name, "rb")
    system, path = file_system(name)
    file = cast(ByteFile, system.open(path, "rb"))
    return cast(ByteFile, gzip.open(file)) if packed else file


def _globbed(name: str) -> list[str]:
    if not is_url(name):
        return sorted(glob.glob(name))
    system, path = file_system(name)
    return sorted(str(system.unstrip_protocol(one)) for one in system.glob(path))


def _exists(name: str) -> bool:
    if not is_url(name):
        return os.path.isfile(name)
    system, path = file_system(name)
    return bool(system.exists(path))


def _hint(name: str) -> str:
    """Suggest a shard of the folder that was searched."""
    folder = Path(name).parent
    if is_url(name) or not folder.is_dir():
        return "" if is_url(name) else f"; the folder {folder} does not exist"
    neighbors = sorted(p.name for p in folder.iterdir() if ".tar" in p.name or p.suffix == ".tgz")
    example = f"; the folder contains {neighbors[0]}" if neighbors else "; the folder contains no .tar"
    return nearest(Path(name).name, neighbors) or example
