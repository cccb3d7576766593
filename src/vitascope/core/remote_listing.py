"""What is below a URL: listings, page by page, and folders of frames, which are content as a file is.

The URL of a folder of frames ends with a slash (`core.addresses.is_folder_url`). Its state is made of the names, sizes
and versions of the files in it, which one listing tells: no request is sent for any of them.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vitascope.core import remote
from vitascope.core.errors import RemoteError
from vitascope.core.log import log
from vitascope.core.remote import RemoteState, file_system, repeated, state_of

PAGE = 1000
"""Objects of one answer: no S3 server gives more."""
TOLD = 15.0
"""Seconds after which a listing that goes on is mentioned."""
THREADS = 16
PAGED = frozenset(("s3", "s3a"))
"""Protocols of which a listing is asked page by page, so that one that fails is asked again alone."""


def listing(url: str) -> dict[str, RemoteState]:
    """Return the objects below a URL by path relative to it, in order."""
    system, path = file_system(url)
    protocol = url.partition("://")[0]
    system.invalidate_cache()
    above = path.rstrip("/") + "/"
    objects: dict[str, RemoteState] = {}
    told = time.monotonic()
    for page in _pages(url, system, above):
        for name, details in page:
            below = name[len(above) :] if name.startswith(above) else ""
            if below and not below.endswith("/") and details.get("type") != "directory":
                objects[below] = state_of(details, protocol)
        if time.monotonic() - told > TOLD:
            told = time.monotonic()
            log.info("%s: %s objects listed so far", url, f"{len(objects):,}")
    return dict(sorted(objects.items()))


def _pages(url: str, system: Any, above: str) -> Iterator[Iterable[tuple[str, dict[str, Any]]]]:
    """Yield names and details of the objects below a path; only one page of details is in memory, where possible."""
    if url.partition("://")[0] not in PAGED:
        yield repeated(url, lambda: system.find(above.rstrip("/"), detail=True)).items()
        return
    bucket, _, prefix = above.partition("/")
    more: dict[str, str] = {}
    while True:
        wanted = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE, **more, **system.req_kw}
        page = repeated(url, lambda now=wanted: system.call_s3("list_objects_v2", **now))  # type: ignore[misc]
        yield ((f"{bucket}/{one['Key']}", {**one, "size": one["Size"]}) for one in page.get("Contents", ()))
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def remember_all(url: str, objects: Mapping[str, RemoteState], seconds: float) -> None:
    """Keep the states of listed objects for a while, and those of the folders that they lie in."""
    folders: dict[str, dict[str, RemoteState]] = defaultdict(dict)
    for name, found in objects.items():
        remote.remember(f"{url}/{name}", found, seconds)
        folder, slash, base = name.rpartition("/")
        if slash and not base.startswith("."):
            folders[folder][base] = found
    for folder, files in folders.items():
        remote.remember(f"{url}/{folder}/", _state(files), seconds)


def folder_state(url: str, *, fresh: bool = False) -> RemoteState:
    """Return the state of a folder of frames, of up to `REMEMBERED` seconds ago; FileNotFoundError if it is empty."""
    if not fresh and (known := remote.remembered(url)):
        return known
    found = _state(_files(url))
    remote.remember(url, found)
    return found


def _files(url: str) -> dict[str, RemoteState]:
    """The visible files of a folder, without those in folders in it, by name."""
    found = {n: state for n, state in listing(url).items() if "/" not in n and not n.startswith(".")}
    if not found:
        raise FileNotFoundError(errno.ENOENT, "no such folder", url)
    return found


def _state(files: Mapping[str, RemoteState]) -> RemoteState:
    """The state of a folder with these files: their bytes in all, and a digest of names and versions."""
    versions = hashlib.sha256(repr([(name, f.version) for name, f in sorted(files.items())]).encode())
    size = sum(max(f.size, 0) for f in files.values())
    return RemoteState(size, f"{size}:{versions.hexdigest()[:32]}", max(f.modified for f in files.values()))


def download_folder(url: str, path: Path) -> None:
    """Write the files of a folder of frames into the folder `path`, all of them or RemoteError."""
    for _ in range(3):
        files = _files(url)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda one: _write(url + one[0], path / one[0], one[1]), files.items()))
        if folder_state(url, fresh=True).version == _state(files).version:
            return
        for left in path.iterdir():
            left.unlink()
    raise RemoteError(errno.ECONNRESET, f"{url}: changed while it was read, three times; run this again")


def _write(url: str, path: Path, found: RemoteState) -> None:
    if found.ranges and found.size >= 0:
        with open(path, "wb") as file:
            file.writelines(remote.chunks(url, 0, found.size))
    else:
        remote.download(url, path)
