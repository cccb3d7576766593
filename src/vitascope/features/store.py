"""Store: the embeddings of one dataset by one encoder through one view, on disk, in one format.

A folder of immutable safetensors shards and one Parquet index that names, for every clip, its example, span, frame
times, shard and row. Work in progress lies in `parts/`, one pair of files a block of examples, renamed into place;
`seal` merges the parts into shards in the order of example ids, so that the sealed store does not depend on who wrote
what when. Whoever changes what lies in the folder holds one lock; readers need none.
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
from vitascope.core.types import Card, Span, digest, plain
from vitascope.sampling.names import Sampler, describe

SHARD_BYTES = 64 << 20
HALF_MAX = 6e4
HALF_MIN = 1e-3
"""A vector whose largest value is not between these would not survive half precision; its block is kept in single."""
INDEX = "index.parquet"
STALE_SECONDS = 3600.0
SCHEMA = pa.schema(
    [
        ("example", pa.string()),
        ("clip", pa.int32()),  # -1: the example gave no vector, `status` says why
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("times", pa.string()),  # digest of the frame times and the crop
        ("shard", pa.string()),
        ("row", pa.int64()),
        ("status", pa.string()),
        ("source", pa.string()),  # digest of what was looked at: another one is another video, or part of it
        ("note", pa.string()),  # what was wrong with the source and did not prevent decoding
    ]
)
Array = npt.NDArray[Any]
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Key:
    """Everything that could change a vector."""

    dataset: str
    card: Card
    sampler: Sampler
    reduce: Literal["clip", "time", "grid"]
    pipeline: int
    """Version of decoding and pixel arithmetic."""

    @property
    def folder(self) -> Path:
        """A legible place below the store's root that no other key shares."""
        view = "".join(c if c.isalnum() or c in ".-" else "_" for c in describe(self.sampler))
        return (
            Path(_legible(self.dataset))
            / _legible(self.card.name)
            / f"{view[:40]}-{self.reduce}-{digest(self.plain())}"
        )

    def plain(self) -> dict[str, Any]:
        """Plain data that is equal where the vectors must be: what is merely known about the encoder is left out."""
        return {**plain(self), "card": self.card.behavior}


def _legible(name: str) -> str:
    safe = "".join(c if c.isalnum() or c in ".-_" else "_" for c in name).strip(".") or "_"
    return safe if safe == name else f"{safe[:60]}-{digest(name)[:6]}"


@dataclass(frozen=True)
class Embedded:
    """What encoding made of one example: vectors and what they speak for; or nothing, and why."""

    example: str
    vectors: Array | None
    """n x shape; None where the example failed."""
    spans: Sequence[Span] = ()
    times: Sequence[str] = ()
    status: str = "ok"
    source: str = ""
    note: str = ""


class StoredEntry(NamedTuple):
    """What the store knows of an example."""

    status: str
    """"ok", or why there is no vector."""
    source: str
    """Digest of what was looked at; see `encode.source_of`."""
    note: str
    """What was wrong with it all the same."""


@dataclass(frozen=True)
class Vectors:
    """Vectors of the examples asked for: those of example i are `values[first[i]:first[i + 1]]`."""

    values: Array
    first: npt.NDArray[np.int64]
    spans: npt.NDArray[np.float64]
    """Row-aligned start and end, seconds."""


@dataclass(frozen=True)
class MemmapRows:
    """Vectors of the examples asked for, as in `Vectors`, on disk: mapped, so they stay readable if others reseal."""

    rows: _Rows
    chosen: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    spans: npt.NDArray[np.float64]

    def take(self, rows: npt.NDArray[np.int64]) -> Array:
        """Some rows, by number."""
        return self.rows.take(self.chosen[rows])


class Store:
    """The embeddings under one key; see the module."""

    def __init__(self, root: Path, key: Key) -> None:
        self.key = key
        self.folder = root / key.folder
        self.parts = self.folder / "parts"

    def create(self) -> None:
        """Make the folder and write the key beside the vectors it explains."""
        self.parts.mkdir(parents=True, exist_ok=True)
        (self.folder / "locks").mkdir(exist_ok=True)
        path = self.folder / "key.json"
        if not path.exists():
            files.write(path, json.dumps(plain(self.key), indent=1, ensure_ascii=False).encode())

    def lock(self, block: str) -> FileLock:
        """The claim on a block of work; the system frees it when its holder dies."""
        return FileLock(self.folder / "locks" / f"{block}.lock")

    def index(self) -> pa.Table:
        """One row a clip, one for each example that failed; sealed rows before parts, no example twice."""
        return _patiently(self._index)

    def _index(self) -> pa.Table:
        # Parts first: a seal replaces the index before it removes parts, so nothing falls between the two looks.
        parts = sorted(self.parts.glob("*.parquet"), key=lambda p: (p.stat().st_mtime_ns, p))
        return _once([_table(self.folder / INDEX), *(_table(p, needed=True) for p in parts)])

    def status(self, block: str | None = None) -> dict[str, StoredEntry]:
        """What is known of every example stored; with `block`, of those in the part of that block."""
        table = self.index() if block is None else _table(self.parts / f"{block}.parquet")
        columns = table.select(["example", "status", "source", "note"]).to_pydict()
        return {e: StoredEntry(*known) for e, *known in zip(*columns.values(), strict=True)}

    def stamp(self) -> int:
        """Changes whenever the store is sealed."""
        try:
            return (self.folder / INDEX).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def add(self, block: str, embedded: Iterable[Embedded]) -> None:
        """Keep a block of examples, beside those that an earlier part of it holds.

        The vectors come first, under a name of their own, and the index last: a part with an index is whole.
        """
        embedded = list(embedded)
        good = [e.vectors for e in embedded if e.vectors is not None and len(e.vectors)]
        data = save({"vectors": _narrow(np.concatenate(good))}) if good else b""
        shard = f"parts/{block}-{_content(data)}.safetensors"
        path = self.parts / f"{block}.parquet"
        with self._changing():
            if good:
                files.write(self.folder / shard, data)
            write_table(path, _once([_table(path), _rows(embedded, shard)]))

    def _changing(self) -> FileLock:
        """Held while parts are added or merged."""
        return FileLock(self.folder / "locks" / "seal.lock")

    def seal(self) -> None:
        """Merge all parts into shards ordered by example id; the same vectors give the same files."""
        if not any(self.parts.iterdir()):
            return  # nothing to merge, and perhaps no right to write
        with self._changing():
            table = self._index().sort_by([("example", "ascending"), ("clip", "ascending")])
            table = self._reshard(table)
            write_table(self.folder / INDEX, table)
            keep = set(table["shard"].unique().to_pylist())
            for path in (p for p in self.folder.glob("vectors-*.safetensors") if p.name not in keep):
                path.unlink(missing_ok=True)
            # indices before what they point to; and, as nobody else may add a part now, whatever a killed writer left
            for path in sorted(self.parts.iterdir(), key=lambda p: p.suffix != ".parquet"):
                path.unlink(missing_ok=True)
            self._sweep()

    def _sweep(self) -> None:
        """Remove what killed writers left; anything younger may still be in somebody's hands."""
        for path in self.folder.glob(".*"):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink(missing_ok=True)

    def _reshard(self, table: pa.Table) -> pa.Table:
        has = np.flatnonzero(table["clip"].to_numpy() >= 0)
        shards, rows = np.full(len(table), "", dtype=object), np.full(len(table), -1)
        source = _Rows(self.folder, table)
        per_shard = source.per_shard(has)
        for start in range(0, len(has), per_shard):
            chosen = has[start : start + per_shard]
            data = save({"vectors": source.take(chosen)})
            name = f"vectors-{_content(data)}.safetensors"
            files.write(self.folder / name, data)
            shards[chosen], rows[chosen] = name, np.arange(len(chosen))
        columns = {"shard": pa.array(shards, pa.string()), "row": pa.array(rows, pa.int64())}
        return pa.table({n: columns.get(n, table[n].combine_chunks()) for n in SCHEMA.names}, schema=SCHEMA)

    def read(self, examples: Sequence[str]) -> Vectors:
        """Vectors of `examples`, in that order; no rows for one that failed or is not stored."""
        shelf = self.shelf(examples)
        return Vectors(shelf.take(np.arange(shelf.first[-1])), shelf.first, shelf.spans)

    def shelf(self, examples: Sequence[str]) -> MemmapRows:
        """As `read`, with the vectors left on disk until rows are asked for."""
        return _patiently(lambda: self._shelf(examples))

    def _shelf(self, examples: Sequence[str]) -> MemmapRows:
        table = self._index()
        names = table["example"].combine_chunks().dictionary_encode()
        place = {name: i for i, name in enumerate(names.dictionary.to_pylist())}
        wanted = np.array([place.get(e, len(place)) for e in examples], dtype=np.int64)
        code, clip = names.indices.to_numpy(), table["clip"].to_numpy()
        order = np.lexsort((clip, code))
        order = order[clip[order] >= 0]
        start = np.searchsorted(code[order], wanted, side="left")
        count = np.searchsorted(code[order], wanted, side="right") - start
        first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        within = np.arange(first[-1]) - np.repeat(first[:-1], count)
        chosen = order[np.repeat(start, count) + within]
        spans = np.stack([table["start"].to_numpy()[chosen], table["end"].to_numpy()[chosen]], axis=1)
        return MemmapRows(_Rows(self.folder, table), chosen, first, spans)


class _Rows:
    """Random rows of several shards as one array, each shard mapped, not read."""

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
    """The tensor `vectors` of a safetensors file, mapped read-only."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(length))["vectors"]
    kind = {"F16": np.float16, "F32": np.float32}[entry["dtype"]]
    shape = tuple(entry["shape"])
    return np.memmap(path, kind, "r", offset=8 + length + entry["data_offsets"][0], shape=shape)


def _content(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _narrow(values: Array) -> Array:
    """Half precision where every vector survives it; rows in memory order, which is what the file format writes."""
    values = np.ascontiguousarray(values, np.float32)
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    fits = (largest < HALF_MAX) & ((largest > HALF_MIN) | (largest == 0))
    return values.astype(np.float16) if fits.all() else values


def _table(path: Path, *, needed: bool = False) -> pa.Table:
    """The rows of an index or a part; none where there is no such file, unless it is needed."""
    try:
        return pq.read_table(path, schema=SCHEMA, partitioning=None)
    except FileNotFoundError:
        if needed:
            raise
        return SCHEMA.empty_table()


def _rows(embedded: Iterable[Embedded], shard: str) -> pa.Table:
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


def _once(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows, each example from one table only: the last, unless it only says that what is known failed again."""
    table = pa.concat_tables([SCHEMA.empty_table(), *tables])
    if sum(len(t) > 0 for t in tables) < 2:
        return table
    whose = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    rows = [table[name].to_numpy(zero_copy_only=False) for name in ("example", "clip", "source")]
    best: dict[str, tuple[int, bool, str]] = {}
    for example, clip, source, number in zip(*rows, whose, strict=True):
        known = best.get(example)
        if known is None or clip >= 0 or known[1] or known[2] != source:
            best[example] = (number, clip < 0, source)
    wanted = [best[example][0] == number for example, number in zip(rows[0], whose, strict=True)]
    return table if all(wanted) else table.filter(pa.array(wanted))


def _patiently(read: Callable[[], R]) -> R:
    """Call `read` again where another process sealed the store between two of its looks."""
    for _ in range(20):
        try:
            return read()
        except FileNotFoundError:
            continue
    return read()


def write_table(path: Path, table: pa.Table) -> None:
    """Write Parquet beside `path` and rename."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    files.write(path, sink.getvalue().to_pybytes())


def keys(root: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every store below `root` with its key as plain data."""
    for path in sorted(root.glob("*/*/*/key.json")):
        yield path.parent, json.loads(path.read_text(encoding="utf-8"))
