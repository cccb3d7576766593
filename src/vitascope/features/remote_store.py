"""Stores at URLs: parts that were written once, and a copy of them on disk, on which everything else works.

Below the URL are the folders of a store with `key.json` and `parts/`. A part is the index of a block of examples and a
shard of vectors, both named after their contents, which no rename and no lock is needed for: whoever writes, writes
under a new name, if the name is not there, the shard before the index. Two writers of one block give equal vectors; a
reader takes one of each. The copy is in `stores` of the cache; what could not be sent stays there, unsealed, and is
sent by the next run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vitascope.core import remote
from vitascope.core.addresses import is_url
from vitascope.core.files import atomic_file, cache, write
from vitascope.core.origins import origin, stand_for, unmangled
from vitascope.core.remote_listing import listing

PARTS = "parts"
RECORDS = "shards"
"""Folder of the records of shards, see `features.blocks`; at a URL their names end in a digest of the content."""
KEY = "key.json"
SYNCED = "synced.txt"
"""File in the copy of a store: names of the parts that are both here and there, one a line."""
THREADS = 8


def local_root(root: Path) -> Path:
    """The folder on disk for a root of stores: itself, or that of the copy if it is at a URL."""
    url = unmangled(str(root))
    if not is_url(url):
        return root
    remote.file_system(url)  # a missing package is said before any work
    copy = cache() / "stores" / remote.fingerprint(url.rstrip("/"))[:16]
    stand_for(str(copy), url)
    return copy


def fetched_root(root: Path) -> Path:
    """The folder on disk for a root of stores; of one at a URL with all stores that are there, brought up to date."""
    copy = local_root(root)
    if not is_url(url := origin(str(copy))):
        return root
    try:
        there = listing(url)
    except FileNotFoundError:
        there = {}
    for name in there:
        place, _, base = name.rpartition("/")
        if base == KEY and place.count("/") == 2:
            for folder in (copy / place / PARTS, copy / place / "locks"):
                folder.mkdir(parents=True, exist_ok=True)
            if not (copy / name).exists():
                with atomic_file(copy / name) as aside:
                    remote.download(f"{url}/{name}", aside)
            RemoteParts(copy / place).exchange(sorted((copy / place / PARTS).glob("*.parquet")))
    return copy


class RemoteParts:
    """The parts of the store in `folder` that are at a URL."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, origin(str(folder))

    @classmethod
    def of(cls, folder: Path) -> RemoteParts | None:
        """The parts of a store whose folder is a copy; None for one on disk alone."""
        return cls(folder) if is_url(origin(str(folder))) else None

    def exchange(self, indexes: Sequence[Path]) -> None:
        """Send the parts with these indexes that are only here, and fetch those that are only there."""
        remote.put_once(f"{self.url}/{KEY}", (self.folder / KEY).read_bytes())
        for path in indexes:
            self.send(path)
        there = self._listed(PARTS)
        wanted = sorted(name for name in there if name.endswith(".parquet") and name not in self._synced())
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._fetch, wanted))
        records = self._listed(RECORDS)
        for name in sorted(records, key=lambda n: (records[n].modified, n)):  # of two of one shard the later one
            self._fetch_record(name)

    def _listed(self, below: str) -> dict[str, remote.RemoteState]:
        try:
            return listing(f"{self.url}/{below}")
        except FileNotFoundError:
            return {}

    def send_record(self, path: Path) -> None:
        """Send the record of a shard."""
        data = path.read_bytes()
        remote.put_once(f"{self.url}/{RECORDS}/{path.stem}-{_hash(data)}.json", data)

    def _fetch_record(self, name: str) -> None:
        path = self.folder / RECORDS / f"{name.rpartition('-')[0]}.json"
        data = remote.read_all(f"{self.url}/{RECORDS}/{name}")
        if not path.exists() or path.read_bytes() != data:
            write(path, data)

    def send(self, index: Path) -> None:
        """Send the part with this index, its shards first, unless it is there."""
        import pyarrow.parquet

        data = index.read_bytes()
        name = f"{index.stem.partition('-')[0]}-{_hash(data)}.parquet"
        if name in self._synced():
            return
        shards = pyarrow.parquet.read_table(index, columns=["shard"])["shard"].unique().to_pylist()
        for shard in filter(None, shards):
            remote.put_once(f"{self.url}/{shard}", (self.folder / shard).read_bytes())
        remote.put_once(f"{self.url}/{PARTS}/{name}", data)
        self._note(name)

    def _fetch(self, name: str) -> None:
        import pyarrow.parquet

        with atomic_file(self.folder / PARTS / name) as aside:
            remote.download(f"{self.url}/{PARTS}/{name}", aside)
            for shard in filter(
                None, pyarrow.parquet.read_table(aside, columns=["shard"])["shard"].unique().to_pylist()
            ):
                if not (self.folder / shard).exists():
                    with atomic_file(self.folder / shard) as vectors:
                        remote.download(f"{self.url}/{shard}", vectors)
        self._note(name)

    def _synced(self) -> set[str]:
        path = self.folder / SYNCED
        return set(path.read_text().split()) if path.exists() else set()

    def _note(self, name: str) -> None:
        with open(self.folder / SYNCED, "a") as file:
            file.write(f"{name}\n")


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
