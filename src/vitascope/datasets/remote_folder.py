"""Datasets at URLs: what is listed there as a folder on disk, with the lists and annotations, but empty videos.

Every reader of folders works on such a folder; afterwards the paths of the videos are replaced by their URLs. A folder
belongs to one state of the listing, is complete when it has its name, and never changes.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from vitascope.core import remote
from vitascope.core.addresses import is_url
from vitascope.core.errors import RemoteError, UserError
from vitascope.core.files import cache
from vitascope.core.leftovers import temporary
from vitascope.core.media import container_of, kind_of, suffix
from vitascope.core.origins import at_origins, content_origin, origin, origin_text, stand_for
from vitascope.core.remote import RemoteState
from vitascope.core.remote_listing import listing, remember_all
from vitascope.core.types import Dataset, digest
from vitascope.datasets.precomputed import DATASET

T = TypeVar("T")
LISTS = frozenset((".csv", ".tsv", ".txt", ".json", ".jsonl"))
MOST, MOST_OTHER = 1 << 30, 16 << 20
"""Largest list, and largest other file, that is copied, bytes."""
TABLES = frozenset(("metadata.parquet",))
KEPT = 3
"""States of one folder that are kept."""
THREADS = 16
DAY = 86400.0


def listed_folder(url: str) -> Path:
    """The folder on disk that stands for the folder or file at `url`; UserError if nothing is there."""
    url = url.rstrip("/")
    try:
        is_file = remote.state(url, fresh=True).size != 0 and "." in posixpath.basename(url)
    except FileNotFoundError:
        is_file = False
    except RemoteError:
        if not url.startswith("http"):
            raise
        is_file = False
    if not is_file:
        return _folder(url, _listing(url))
    above, _, name = url.rpartition("/")
    if container_of(name):
        return _folder(above, {name: remote.state(url)}) / name
    try:
        found = _listing(above)
    except (UserError, RemoteError):  # a server without listings
        found = {}
    return _folder(above, {**found, name: remote.state(url)}) / name


def _listing(url: str) -> dict[str, RemoteState]:
    try:
        found = listing(url)
    except FileNotFoundError:
        found = {}
    if not found:
        raise UserError(f"{url}: nothing is there, or the server does not list it; give the URL of a list of videos")
    return found


def _folder(url: str, objects: Mapping[str, RemoteState]) -> Path:
    """The folder for a state of a listing, made if it is not there."""
    above = cache() / "remote" / remote.fingerprint(url)[:16]
    state = digest([[name, found.version] for name, found in sorted(objects.items())])
    path = above / state / (posixpath.basename(url) or "root")
    stand_for(str(path), url)
    remember_all(url, objects, DAY)
    if not path.is_dir():
        above.mkdir(parents=True, exist_ok=True)
        partial = temporary(above / state)
        try:
            _fill(partial / path.name, url, objects)
            os.rename(partial, above / state)
        except OSError as error:  # another process was faster
            if isinstance(error, RemoteError) or not path.is_dir():
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _forget_old(above)
    return path


def _fill(folder: Path, url: str, objects: Mapping[str, RemoteState]) -> None:
    """Write the lists, and empty files in place of all others."""
    whole = DATASET in objects
    copied = [name for name, found in objects.items() if whole or _is_copied(name, found)]
    folder.mkdir(parents=True)
    for below in sorted({posixpath.dirname(name) for name in objects} - {""}):
        (folder / below).mkdir(parents=True, exist_ok=True)
    for name in objects.keys() - set(copied):
        os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY, 0o644))
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda name: remote.download(f"{url}/{name}", folder / name), copied))


def _is_copied(name: str, found: RemoteState) -> bool:
    """Whether an object is copied: a list or an annotation, nothing that is decoded."""
    base, ending = posixpath.basename(name), suffix(name)
    if kind_of(name):
        return False
    if container_of(name):
        return base in TABLES or name.startswith("meta/")
    return 0 <= found.size <= (MOST if ending in LISTS else MOST_OTHER)


def _forget_old(above: Path) -> None:
    """Remove all but the latest states of a folder."""
    states = sorted((p for p in above.iterdir() if p.name[0] != "."), key=lambda p: p.stat().st_mtime_ns, reverse=True)
    for state in states[KEPT:]:
        shutil.rmtree(state, ignore_errors=True)


def at_urls(data: str, open_folder: Callable[[str], Dataset[T]]) -> Dataset[T]:
    """Open a dataset whose folder, or list, or `NAME=FOLDER` is at a URL, by a function that opens it on disk."""
    parts = [data] if is_url(data) and "=" not in data else list(data.partition("=")[::2])
    urls = [part for part in parts if is_url(part)]
    local = "=".join(str(listed_folder(part)) if is_url(part) else part for part in parts)
    with at_origins():
        dataset = open_folder(local)
    return _relocated(dataset, urls)


def _relocated(dataset: Dataset[T], urls: list[str]) -> Dataset[T]:
    """The dataset with URLs in place of paths."""
    missing = {i: origin_text(why) for i, why in dataset.missing_files.items()}
    if len(missing) == len(dataset.examples):
        first = next(iter(missing.values()))
        raise UserError(f"{' and '.join(urls)}: none of the {len(missing)} videos can be read: {first}")
    prefix = dataset.key.rpartition("-")[0]
    return replace(
        dataset,
        examples=tuple(replace(e, path=content_origin(e.path)) for e in dataset.examples),
        missing_files=missing,
        key=f"{prefix}-{digest(urls)[:8]}" if prefix else dataset.key,
        root=origin(dataset.root),
        notes=tuple(map(origin_text, dataset.notes)),
    )
