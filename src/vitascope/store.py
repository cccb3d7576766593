"""Store: the embeddings of one dataset by one encoder through one view, on disk, in one format.

A folder of immutable safetensors shards and one Parquet index that names, for every clip, its example, span, frame
times, shard and row. Work in progress lies in `parts/`, one pair of files a block of examples, renamed into place;
`seal` merges the parts into shards in the order of example ids, so that the sealed store does not depend on who wrote
what when.
"""

from __future__ import annotations

import hashlib
import json
import os
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

from vitascope import files
from vitascope.sampling import Sampler, describe
from vitascope.types import Card, Span, digest, plain

SHARD_BYTES = 64 << 20
HALF_MAX = 6e4
"""Above this a value would not survive half precision; such blocks are kept in single."""
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
        ("bytes", pa.int64()),  # of the source: another size is another video
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
        return Path(_legible(self.dataset)) / _legible(self.card.name) / f"{view[:40]}-{self.reduce}-{digest(self)}"


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
    bytes: int = 0
    note: str = ""


class Known(NamedTuple):
    """What the store knows of an example."""

    status: str
    """"ok", or why there is no vector."""
    bytes: int
    """Size of the source when it was embedded."""
    note: str
    """What was wrong with it all the same."""


@dataclass(frozen=True)
class Vectors:
    """Vectors of the examples asked for: those of example i are `values[first[i]:first[i + 1]]`."""

    values: Array
    first: npt.NDArray[np.int64]
    spans: npt.NDArray[np.float64]
    """Row-aligned start and end, seconds."""


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
        parts = sorted(self.parts.glob("*.parquet"))
        tables = [pq.read_table(p, schema=SCHEMA) for p in (self.folder / INDEX, *parts) if p.exists() or p in parts]
        table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
        return _once(table) if parts else table

    def status(self, block: str | None = None) -> dict[str, Known]:
        """What is known of every example stored; with `block`, of those in the part of that block."""
        path = self.parts / f"{block}.parquet"
        if block is None:
            table = self.index()
        elif path.exists():
            table = pq.read_table(path, schema=SCHEMA)
        else:
            return {}
        columns = table.select(["example", "status", "bytes", "note"]).to_pydict()
        return {e: Known(*known) for e, *known in zip(*columns.values(), strict=True)}

    def stamp(self) -> int:
        """Changes whenever the store is sealed."""
        try:
            return (self.folder / INDEX).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def add(self, block: str, embedded: Iterable[Embedded]) -> None:
        """Keep a block of examples. The vectors come first and the index last: a part with an index is whole."""
        embedded = list(embedded)
        good = [e for e in embedded if e.vectors is not None and len(e.vectors)]
        if good:
            values = _narrow(np.concatenate([e.vectors for e in good if e.vectors is not None]))
            files.write(self.parts / f"{block}.safetensors", save({"vectors": values}))
        write_table(self.parts / f"{block}.parquet", _rows(embedded, f"parts/{block}.safetensors"))

    def seal(self) -> None:
        """Merge all parts into shards ordered by example id; the same vectors give the same files."""
        with FileLock(self.folder / "locks" / "seal.lock"):
            parts = sorted(self.parts.glob("*.parquet"))
            if not parts:
                return
            table = self._index().sort_by([("example", "ascending"), ("clip", "ascending")])
            table = self._reshard(table)
            write_table(self.folder / INDEX, table)
            keep = set(table["shard"].unique().to_pylist())
            for path in (p for p in self.folder.glob("vectors-*.safetensors") if p.name not in keep):
                path.unlink(missing_ok=True)
            for path in (f for p in parts for f in (p, p.with_suffix(".safetensors"))):
                path.unlink(missing_ok=True)
            self._sweep()

    def _sweep(self) -> None:
        """Remove what killed writers left; anything younger may still be in somebody's hands."""
        for folder in (self.folder, self.parts):
            for path in folder.iterdir():
                loose = path.name.startswith(".") or (folder == self.parts and path.suffix == ".safetensors")
                if loose and time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink(missing_ok=True)

    def _reshard(self, table: pa.Table) -> pa.Table:
        has = np.flatnonzero(table["clip"].to_numpy() >= 0)
        shards, rows = np.full(len(table), "", dtype=object), np.full(len(table), -1)
        source = _Rows(self.folder, table)
        per_shard = source.per_shard(has)
        for start in range(0, len(has), per_shard):
            chosen = has[start : start + per_shard]
            data = save({"vectors": source.take(chosen)})
            name = f"vectors-{hashlib.blake2b(data, digest_size=8).hexdigest()}.safetensors"
            files.write(self.folder / name, data)
            shards[chosen], rows[chosen] = name, np.arange(len(chosen))
        columns = {"shard": pa.array(shards, pa.string()), "row": pa.array(rows, pa.int64())}
        return pa.table({n: columns.get(n, table[n].combine_chunks()) for n in SCHEMA.names}, schema=SCHEMA)

    def read(self, examples: Sequence[str]) -> Vectors:
        """Vectors of `examples`, in that order; no rows for one that failed or is not stored."""
        return _patiently(lambda: self._read(examples))

    def _read(self, examples: Sequence[str]) -> Vectors:
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
        return Vectors(_Rows(self.folder, table).take(chosen), first, spans)


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


def _narrow(values: Array) -> Array:
    """Half precision where every value survives it; rows in memory order, which is what the file format writes."""
    values = np.ascontiguousarray(values, np.float32)
    return values.astype(np.float16) if np.abs(values).max(initial=0) < HALF_MAX else values


def _rows(embedded: Iterable[Embedded], shard: str) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    row = 0
    for e in embedded:
        count = 0 if e.vectors is None else len(e.vectors)
        for clip in range(count) if count else (-1,):
            span, times = (e.spans[clip], e.times[clip]) if count else ((0.0, 0.0), "")
            where = (shard, row) if count else ("", -1)
            values = (e.example, clip, *span, times, *where, e.status, e.bytes, e.note)
            for name, value in zip(SCHEMA.names, values, strict=True):
                columns[name].append(value)
            row += count > 0
    return pa.table(columns, schema=SCHEMA)


def _once(table: pa.Table) -> pa.Table:
    """Each example from one shard only, and a failure only where nothing better is known."""
    frame = {name: table[name].to_numpy(zero_copy_only=False) for name in ("example", "clip", "shard")}
    best: dict[str, tuple[bool, str]] = {}
    for example, clip, shard in zip(frame["example"], frame["clip"], frame["shard"], strict=True):
        rank = (clip < 0, shard)
        if rank < best.get(example, (True, "\U0010ffff")):
            best[example] = rank
    wanted = [best[e] == (c < 0, s) for e, c, s in zip(frame["example"], frame["clip"], frame["shard"], strict=True)]
    return table if all(wanted) else table.filter(pa.array(wanted))


def _patiently(read: Callable[[], R]) -> R:
    """Call `read` again where another process sealed the store between two of its looks."""
    for _ in range(5):
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


def cache() -> Path:
    """Where embeddings are kept unless said otherwise: `$VITASCOPE_CACHE`, else `~/.cache/vitascope`."""
    return Path(os.environ.get("VITASCOPE_CACHE") or Path.home() / ".cache" / "vitascope")


def keys(root: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every store below `root` with its key as plain data."""
    for path in sorted(root.glob("*/*/*/key.json")):
        yield path.parent, json.loads(path.read_text(encoding="utf-8"))
