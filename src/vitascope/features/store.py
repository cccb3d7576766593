"""Store: the embeddings of one dataset by one encoder through one view, on disk.

A folder of immutable safetensors shards and one Parquet index that lists, for every clip, its example, span, frame
times, shard and row. Work in progress is kept in `parts/`, one pair of files per block of examples, renamed into place.
`seal` merges the parts into shards in the order of example ids, so that a sealed store does not depend on which process
wrote what when. Writers hold one lock; readers need none.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from safetensors.numpy import save

from vitascope.core import files
from vitascope.core.errors import UserError, reading
from vitascope.core.files import read_json
from vitascope.core.types import Card, Span, digest, plain
from vitascope.sampling.names import Sampler, describe

SHARD_BYTES = 64 << 20
HALF_MAX = 6e4
HALF_MIN = 1e-3
"""A vector whose largest magnitude is outside this range would not survive half precision; its block stays single."""
INDEX = "index.parquet"
STALE_SECONDS = 3600.0
"""Age from which a temporary file counts as left by a killed writer."""
SCHEMA = pa.schema(
    [
        ("example", pa.string()),
        ("clip", pa.int32()),  # -1: no vector; `status` gives the reason
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("times", pa.string()),  # digest of the frame times and the crop
        ("shard", pa.string()),
        ("row", pa.int64()),
        ("status", pa.string()),
        ("source", pa.string()),  # digest of the source file and span; it changes with the video
        ("note", pa.string()),  # decoding warnings
    ]
)
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

    @property
    def folder(self) -> Path:
        """Readable folder name below the root of the store, unique to the key."""
        view = "".join(c if c.isalnum() or c in ".-" else "_" for c in describe(self.sampler))
        return (
            Path(_safe_name(self.dataset))
            / _safe_name(self.card.name)
            / f"{view[:40]}-{self.reduce}-{digest(self.plain())}"
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


class StoredEntry(NamedTuple):
    """Record of an example in the store."""

    status: str
    """`ok`, or the reason why there is no vector."""
    source: str
    """Digest of the source; see `features.extract.source_digest`."""
    note: str
    """Decoding warnings."""


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

    rows: _ShardRows
    chosen: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    spans: npt.NDArray[np.float64]

    def take(self, rows: npt.NDArray[np.int64]) -> Array:
        """Read rows by index."""
        return self.rows.take(self.chosen[rows])


class Store:
    """The embeddings under one key; see the module docstring."""

    def __init__(self, root: Path, key: Key) -> None:
        self.key = key
        self.folder = root / key.folder
        self.parts = self.folder / "parts"

    def create(self) -> None:
        """Create the folder and write `key.json`."""
        self.parts.mkdir(parents=True, exist_ok=True)
        (self.folder / "locks").mkdir(exist_ok=True)
        path = self.folder / "key.json"
        if not path.exists():
            files.write(path, json.dumps(plain(self.key), indent=1, ensure_ascii=False).encode())

    def lock(self, block: str) -> FileLock:
        """Return the lock that claims a block; the system frees it when its holder dies."""
        return FileLock(self.folder / "locks" / f"{block}.lock")

    def index(self) -> pa.Table:
        """Return the index: one row per clip and one per failed example; sealed rows first, no example twice."""
        return _retry_if_sealed(self._index)

    def _index(self) -> pa.Table:
        # Parts first: a seal replaces the index before it removes parts, so nothing is lost between the two reads.
        parts = sorted(self.parts.glob("*.parquet"), key=lambda p: (p.stat().st_mtime_ns, p))
        return _deduplicate([_read_table(self.folder / INDEX), *(_read_table(p, needed=True) for p in parts)])

    def status(self, block: str | None = None) -> dict[str, StoredEntry]:
        """Return the entry of every stored example; with `block`, only of those in the part of that block."""
        table = self.index() if block is None else _read_table(self.parts / f"{block}.parquet")
        columns = table.select(["example", "status", "source", "note"]).to_pydict()
        return {e: StoredEntry(*values) for e, *values in zip(*columns.values(), strict=True)}

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
        data = save({"vectors": _to_half(np.concatenate(good))}) if good else b""
        shard = f"parts/{block}-{_content_hash(data)}.safetensors"
        path = self.parts / f"{block}.parquet"
        with self._write_lock():
            if good:
                files.write(self.folder / shard, data)
            write_table(path, _deduplicate([_read_table(path), _index_rows(embedded, shard)]))

    def _write_lock(self) -> FileLock:
        """Return the lock held while parts are added or merged."""
        return FileLock(self.folder / "locks" / "seal.lock")

    def seal(self) -> None:
        """Merge all parts into shards ordered by example id; equal vectors give equal files."""
        if not any(self.parts.iterdir()):
            return  # nothing to merge, and the folder may be read-only
        with self._write_lock():
            table = self._index().sort_by([("example", "ascending"), ("clip", "ascending")])
            table = self._reshard(table)
            write_table(self.folder / INDEX, table)
            keep = set(table["shard"].unique().to_pylist())
            for path in (p for p in self.folder.glob("vectors-*.safetensors") if p.name not in keep):
                path.unlink(missing_ok=True)
            # indices before their shards; the lock keeps out new parts, so leftovers of killed writers go too
            for path in sorted(self.parts.iterdir(), key=lambda p: p.suffix != ".parquet"):
                path.unlink(missing_ok=True)
            self._remove_stale_files()

    def _remove_stale_files(self) -> None:
        """Remove temporary files of killed writers; younger ones may still be in use."""
        for path in self.folder.glob(".*"):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink(missing_ok=True)

    def _reshard(self, table: pa.Table) -> pa.Table:
        embedded = np.flatnonzero(table["clip"].to_numpy() >= 0)
        shards, rows = np.full(len(table), "", dtype=object), np.full(len(table), -1)
        source = _ShardRows(self.folder, table)
        per_shard = source.per_shard(embedded)
        for start in range(0, len(embedded), per_shard):
            chosen = embedded[start : start + per_shard]
            data = save({"vectors": source.take(chosen)})
            name = f"vectors-{_content_hash(data)}.safetensors"
            files.write(self.folder / name, data)
            shards[chosen], rows[chosen] = name, np.arange(len(chosen))
        columns = {"shard": pa.array(shards, pa.string()), "row": pa.array(rows, pa.int64())}
        return pa.table({n: columns.get(n, table[n].combine_chunks()) for n in SCHEMA.names}, schema=SCHEMA)

    def read(self, examples: Sequence[str]) -> StoredVectors:
        """Read the vectors of `examples`, in that order; failed and missing examples have no rows."""
        memmap = self.memmap(examples)
        return StoredVectors(memmap.take(np.arange(memmap.offsets[-1])), memmap.offsets, memmap.spans)

    def memmap(self, examples: Sequence[str]) -> MemmapRows:
        """Like `read`, with the vectors left on disk until rows are taken."""
        return _retry_if_sealed(lambda: self._memmap(examples))

    def _memmap(self, examples: Sequence[str]) -> MemmapRows:
        table = self._index()
        names = table["example"].combine_chunks().dictionary_encode()
        place = {name: i for i, name in enumerate(names.dictionary.to_pylist())}
        codes = np.array([place.get(e, len(place)) for e in examples], dtype=np.int64)
        code, clip = names.indices.to_numpy(), table["clip"].to_numpy()
        order = np.lexsort((clip, code))
        order = order[clip[order] >= 0]
        start = np.searchsorted(code[order], codes, side="left")
        count = np.searchsorted(code[order], codes, side="right") - start
        offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], count)
        chosen = order[np.repeat(start, count) + within]
        spans = np.stack([table["start"].to_numpy()[chosen], table["end"].to_numpy()[chosen]], axis=1)
        return MemmapRows(_ShardRows(self.folder, table), chosen, offsets, spans)


class _ShardRows:
    """Rows of several memory-mapped shards, read as one array."""

    def __init__(self, folder: Path, table: pa.Table) -> None:
        names = table["shard"].combine_chunks().dictionary_encode()
        self.shard, self.row = names.indices.to_numpy(), table["row"].to_numpy()
        self.maps = [
            map_vectors(folder / n) if n else np.zeros((0, 0), np.float16) for n in names.dictionary.to_pylist()
        ]

    def per_shard(self, chosen: Array) -> int:
        row = self.maps[self.shard[chosen[0]]][0].nbytes if len(chosen) else 1
        return int(max(1, SHARD_BYTES // max(row, 1)))

    def take(self, chosen: Array) -> Array:
        if not len(chosen):
            return np.zeros((0, 0), np.float16)
        maps = {int(s): self.maps[s] for s in np.unique(self.shard[chosen])}
        kind = np.result_type(*(m.dtype for m in maps.values()))
        out = np.empty((len(chosen), *next(iter(maps.values())).shape[1:]), kind)
        for shard, data in maps.items():
            at = np.flatnonzero(self.shard[chosen] == shard)
            rows = self.row[chosen[at]]
            if len(rows) == rows[-1] - rows[0] + 1 and (np.diff(rows) == 1).all():
                out[at] = data[rows[0] : rows[-1] + 1]
            else:
                out[at] = data[rows]
        return out


def map_vectors(path: Path) -> Array:
    """Map the tensor `vectors` of a safetensors file read-only."""
    with reading(path, f"remove {path.parent} and embed again"), open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(min(length, path.stat().st_size)))["vectors"]
        kind = {"F16": np.float16, "F32": np.float32}[entry["dtype"]]
        shape = tuple(entry["shape"])
        return np.memmap(path, kind, "r", offset=8 + length + entry["data_offsets"][0], shape=shape)


def _content_hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _to_half(values: Array) -> Array:
    """Convert to half precision if every vector survives it; rows contiguous, as the file format requires."""
    values = np.ascontiguousarray(values, np.float32)
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    fits = (largest < HALF_MAX) & ((largest > HALF_MIN) | (largest == 0))
    return values.astype(np.float16) if fits.all() else values


def _read_table(path: Path, *, needed: bool = False) -> pa.Table:
    """Read the rows of an index or a part; a missing file has none, unless it is `needed`."""
    try:
        with reading(path, f"remove {path.parent} and embed again"):
            table = pq.read_table(path, schema=SCHEMA, partitioning=None)
            if lost := next((name for name in SCHEMA.names if table[name].null_count), ""):
                raise UserError(f"nothing in column {lost}")
            return table
    except FileNotFoundError:
        if needed:
            raise
        return SCHEMA.empty_table()


def _index_rows(embedded: Iterable[EmbeddedExample], shard: str) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    row = 0
    for e in embedded:
        count = 0 if e.vectors is None else len(e.vectors)
        for clip in range(count) if count else (-1,):
            span, times = (e.spans[clip], e.times[clip]) if count else ((0.0, 0.0), "")
            where = (shard, row) if count else ("", -1)
            values = (e.example, clip, *span, times, *where, e.status, e.source, e.note)
            for name, value in zip(SCHEMA.names, values, strict=True):
                columns[name].append(value)
            row += count > 0
    return pa.table(columns, schema=SCHEMA)


def _deduplicate(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate tables, each example from one only: the latest, unless that is a failure of an unchanged source."""
    table = pa.concat_tables([SCHEMA.empty_table(), *tables])
    if sum(len(t) > 0 for t in tables) < 2:
        return table
    table_of = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    rows = [table[name].to_numpy(zero_copy_only=False) for name in ("example", "clip", "source")]
    best: dict[str, tuple[int, bool, str]] = {}
    for example, clip, source, number in zip(*rows, table_of, strict=True):
        previous = best.get(example)
        if previous is None or clip >= 0 or previous[1] or previous[2] != source:
            best[example] = (number, clip < 0, source)
    kept = [best[example][0] == number for example, number in zip(rows[0], table_of, strict=True)]
    return table if all(kept) else table.filter(pa.array(kept))


def _retry_if_sealed(read: Callable[[], R]) -> R:
    """Call `read` again if another process sealed the store in the meantime."""
    for _ in range(20):
        try:
            return read()
        except FileNotFoundError:
            continue
    return read()


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    files.write(path, sink.getvalue().to_pybytes())


def stored_keys(root: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the folder and the key (plain data) of every store below `root`."""
    for path in sorted(root.glob("*/*/*/key.json")):
        yield path.parent, read_json(path, f"remove {path.parent} and embed again")
