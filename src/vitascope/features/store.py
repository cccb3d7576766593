"""Store: the embeddings of one dataset by one encoder through one view, on disk.

A folder of immutable safetensors shards and one Parquet index that lists, for every clip, its example, span, frame
times, shard and row. Work in progress is kept in `parts/`, one pair of files per block of examples, renamed into place.
`seal` merges the parts into shards in the order of example ids, so that a sealed store does not depend on which process
wrote what when. Writers hold one lock; readers need none. Whatever is read is verified: the index by its own checksum,
vectors by those that the index has of them; see `store_index` and `shards`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from filelock import FileLock
from safetensors.numpy import save

from vitascope.core import files
from vitascope.core.errors import DamagedFileError, UserError
from vitascope.core.files import read_json
from vitascope.core.leftovers import remove_leftovers
from vitascope.core.locks import writer_lock
from vitascope.core.log import log
from vitascope.core.types import LATER, Card, Span, digest, plain
from vitascope.features.remote_store import RemoteParts, local_root
from vitascope.features.shards import ShardColumns, ShardRows, block_checksums, content_hash, to_half
from vitascope.features.store_index import SCHEMA, deduplicate, read_index, remedy, write_index
from vitascope.features.store_lookup import INDEX, ORDER, OpenIndex, StoredEntry, current_index, open_index
from vitascope.sampling.names import Sampler, describe

Array = npt.NDArray[Any]
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Key:
    """Everything that a stored vector depends on."""

    dataset: str
    card: Card
    sampler: Sampler
    reduce: Literal["clip", "time", "grid"]
    pipeline: int
    """Version of decoding and pixel arithmetic."""
    layer: str = field(default="", metadata=LATER)
    """Block whose mean patch tokens they are, such as 3/12; empty: the encoder's own output."""

    @property
    def folder(self) -> Path:
        """Readable folder name below the root of the store, unique to the key."""
        view = "".join(c if c.isalnum() or c in ".-" else "_" for c in describe(self.sampler))
        what = f"layer{self.layer.replace('/', '.')}" if self.layer else self.reduce
        return (
            Path(_safe_name(self.dataset)) / _safe_name(self.card.name) / f"{view[:40]}-{what}-{digest(self.plain())}"
        )

    def plain(self) -> dict[str, Any]:
        """Return the key as plain data without descriptive card fields: equal keys mean equal vectors."""
        return {**plain(self), "card": self.card.behavior}


def _safe_name(name: str) -> str:
    safe = "".join(c if c.isalnum() or c in ".-_" else "_" for c in name).strip(".") or "_"
    return safe if safe == name else f"{safe[:60]}-{digest(name)[:6]}"


@dataclass(frozen=True)
class EmbeddedExample:
    """The vectors of one example with their spans, or the reason why it has none."""

    example: str
    vectors: Array | None
    """n x shape; None if the example failed."""
    spans: Sequence[Span] = ()
    """Start and end of each clip, seconds."""
    times: Sequence[str] = ()
    """Digest of the frame times and crop of each clip."""
    status: str = "ok"
    source: str = ""
    note: str = ""
    stamp: str = ""
    content: str = ""


@dataclass(frozen=True)
class StoredVectors:
    """Vectors of the requested examples: those of example i are `values[offsets[i]:offsets[i + 1]]`."""

    values: Array
    offsets: npt.NDArray[np.int64]
    spans: npt.NDArray[np.float64]
    """Start and end of each row, seconds."""


@dataclass(frozen=True)
class MemmapRows:
    """Like `StoredVectors`, but memory-mapped; rows stay readable if another process seals the store."""

    rows: ShardRows
    chosen: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    spans: npt.NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all rows together."""
        return len(self.chosen), *self.rows.shape(self.chosen)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of all rows together: half precision, unless a shard has more."""
        return self.rows.dtype(self.chosen)

    def take(self, rows: npt.NDArray[np.int64]) -> Array:
        """Read rows by index."""
        return self.rows.take(self.chosen[rows])

    def unmap(self) -> None:
        """Give back the memory of the mapped files; they are read from the system's cache again where needed."""
        self.rows.unmap()


class Store:
    """The embeddings under one key; see the module docstring. Raises DamagedFileError for what is not as written.

    One at a URL is exchanged with its copy when it is created and sealed; see `features.remote_store`.
    """

    def __init__(self, root: Path, key: Key) -> None:
        self.key = key
        self.folder = local_root(root) / key.folder
        self.parts = self.folder / "parts"
        self.remote = RemoteParts.of(self.folder)

    def create(self) -> None:
        """Create the folder and write `key.json`."""
        self.parts.mkdir(parents=True, exist_ok=True)
        (self.folder / "locks").mkdir(exist_ok=True)
        path = self.folder / "key.json"
        if not path.exists():
            files.write(path, json.dumps(plain(self.key), indent=1, ensure_ascii=False).encode())
        self._exchange()

    def _exchange(self) -> None:
        if self.remote:
            self.remote.exchange(sorted(self.parts.glob("*.parquet")))

    def lock(self, block: str) -> FileLock:
        """Return the lock that claims a block; the system frees it when its holder dies."""
        return FileLock(self.folder / "locks" / f"{block}.lock")

    def index(self) -> pa.Table:
        """Return the index: one row per clip and one per failed example, by example and clip; no example twice."""
        return self._open().table

    def _open(self) -> OpenIndex:
        return _retry_if_sealed(self.folder, lambda: open_index(self.folder))

    def status(self, block: str | None = None) -> Mapping[str, StoredEntry]:
        """Return the entry of every stored example; with `block`, only of those in the part of that block."""
        part = None if block is None else self._read(self.parts / f"{block}.parquet")
        return (self._open() if part is None else OpenIndex.of(part)).entries()

    def _read(self, path: Path) -> pa.Table:
        return read_index(path, self.folder, self.folder.name)

    def seal_time(self) -> int:
        """Return the time of the last seal in nanoseconds, 0 before the first."""
        try:
            return (self.folder / INDEX).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def add(self, block: str, embedded: Iterable[EmbeddedExample]) -> None:
        """Add a block of examples to those that an earlier part of the block holds.

        The vectors are written first, under a unique name, and the index last: a part with an index is complete.
        """
        embedded = list(embedded)
        good = [e.vectors for e in embedded if e.vectors is not None and len(e.vectors)]
        values = to_half(np.concatenate(good)) if good else np.zeros((0, 0), np.float16)
        data = save({"vectors": values}) if good else b""
        shard = f"parts/{block}-{content_hash(data)}.safetensors"
        path = self.parts / f"{block}.parquet"
        with write_lock(self.folder):
            if good:
                files.write(self.folder / shard, data)
            rows = _index_rows(embedded, shard, block_checksums(values).tolist())
            write_index(path, deduplicate([self._read(path), rows]), self.folder.name)
            if self.remote:
                self.remote.send(path)

    def seal(self) -> None:
        """Merge all parts into shards ordered by example id; equal vectors give equal files."""
        if not any(self.parts.iterdir()):
            remove_leftovers(self.folder)
            return  # nothing to merge, and the folder may be read-only
        self._exchange()
        with write_lock(self.folder):
            replace_index(self.folder, current_index(self.folder))

    def read(self, examples: Sequence[str]) -> StoredVectors:
        """Read the vectors of `examples`, in that order; failed and missing examples have no rows."""
        memmap = self.memmap(examples)
        return StoredVectors(memmap.take(np.arange(memmap.offsets[-1])), memmap.offsets, memmap.spans)

    def memmap(self, examples: Sequence[str]) -> MemmapRows:
        """Like `read`, with the vectors left on disk until rows are taken."""
        return _retry_if_sealed(self.folder, lambda: self._memmap(examples))

    def _memmap(self, examples: Sequence[str]) -> MemmapRows:
        index = open_index(self.folder)
        chosen, offsets = index.rows(examples)
        spans = np.stack([index.table[side].to_numpy()[chosen] for side in ("start", "end")], axis=1)
        return MemmapRows(ShardRows(self.folder, index.shards), chosen, offsets, spans)


def replace_index(folder: Path, table: pa.Table) -> None:
    """Write the rows of `table` and their vectors as the whole of the store in `folder`; the caller holds its lock.

    What killed writers left behind goes too: the lock keeps out all others.
    """
    table = _reshard(folder, table.sort_by(ORDER))
    write_index(folder / INDEX, table, folder.name)
    keep = set(table["shard"].unique().to_pylist())
    for path in (p for p in folder.glob("vectors-*.safetensors") if p.name not in keep):
        path.unlink(missing_ok=True)
    # indices before their shards
    for path in sorted((folder / "parts").iterdir(), key=lambda p: p.suffix != ".parquet"):
        path.unlink(missing_ok=True)
    remove_leftovers(folder)


def _reshard(folder: Path, table: pa.Table) -> pa.Table:
    embedded = np.flatnonzero(table["clip"].to_numpy() >= 0)
    shards, rows = np.full(len(table), "", dtype=object), np.full(len(table), -1)
    checksums = np.full(len(table), -1)
    source = ShardRows(folder, ShardColumns.of(table))
    for shard in source.outdated():
        raise DamagedFileError(f"{folder / source.names[shard]}: not what its name was made of; {remedy(folder)}")
    per_shard = source.per_shard(embedded)
    for start in range(0, len(embedded), per_shard):
        chosen = embedded[start : start + per_shard]
        values = source.take(chosen)
        data = save({"vectors": values})
        name = f"vectors-{content_hash(data)}.safetensors"
        files.write(folder / name, data)
        shards[chosen], rows[chosen], checksums[chosen] = name, np.arange(len(chosen)), block_checksums(values)
    columns = {"shard": pa.array(shards, pa.string()), "row": pa.array(rows), "checksum": pa.array(checksums)}
    return pa.table({n: columns.get(n, table[n].combine_chunks()) for n in SCHEMA.names}, schema=SCHEMA)


def write_lock(folder: Path) -> AbstractContextManager[None]:
    """The lock of the store in `folder`, held while parts are added or merged."""
    return writer_lock(folder / "locks" / "seal.lock", folder)


def _index_rows(embedded: Iterable[EmbeddedExample], shard: str, checksums: Sequence[int]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    row = 0
    for e in embedded:
        count = 0 if e.vectors is None else len(e.vectors)
        for clip in range(count) if count else (-1,):
            span, times = (e.spans[clip], e.times[clip]) if count else ((0.0, 0.0), "")
            where = (shard, row) if count else ("", -1)
            about = (e.status, e.source, e.note, e.stamp, e.content)
            values = (e.example, clip, *span, times, *where, *about, checksums[row] if count else -1)
            for name, value in zip(SCHEMA.names, values, strict=True):
                columns[name].append(value)
            row += count > 0
    return pa.table(columns, schema=SCHEMA)


def _retry_if_sealed(folder: Path, read: Callable[[], R]) -> R:
    """Call `read` again if another process sealed the store in the meantime; DamagedFileError if a file is missing."""
    for _ in range(20):
        try:
            return read()
        except FileNotFoundError as error:
            missing = error.filename
    raise DamagedFileError(f"{missing}: missing, though the index lists it; {remedy(folder)}")


def stored_keys(root: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the folder and the key (plain data) of every store below `root`; one that is damaged is only named."""
    for path in sorted(root.glob("*/*/*/key.json")):
        try:
            yield path.parent, read_key(path)
        except UserError as error:
            log.warning("%s", error)


def read_key(path: Path) -> Mapping[str, Any]:
    """Read a `key.json`; DamagedFileError if it is none."""
    key: Any = read_json(path, remedy(path.parent))
    known = isinstance(key, dict) and isinstance(key.get("card"), dict) and isinstance(key["card"].get("name"), str)
    if not known or not isinstance(key.get("dataset"), str):
        raise DamagedFileError(f"{path}: no key of a store; {remedy(path.parent)}")
    return dict(key)
