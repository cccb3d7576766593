"""Look-up of examples in the index of a store, whose rows are in the order of examples and of their clips.

A sealed index is read in this order; only rows of unsealed parts are sorted here, once per state of the store. What
every look-up needs of the whole index is computed once and kept with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vitascope.features.shards import ShardColumns
from vitascope.features.store_index import deduplicate, read_index

INDEX = "index.parquet"
ORDER = [("example", "ascending"), ("clip", "ascending")]
"""Order of the rows of a sealed index; names are ordered as UTF-8."""
STEP = 64
"""Of so many names in order one is kept at hand: comparing with it takes a tenth of reading a name of the table."""
FEW = 32
"""A binary search of one name in this many takes as long as hashing all of them, a name each."""
Ints = npt.NDArray[np.int64]


class StoredEntry(NamedTuple):
    """Record of an example in the store."""

    status: str
    """`ok`, or the reason why there is no vector."""
    source: str
    """Digest of the source; see `features.freshness.source_digest`."""
    note: str
    """Decoding warnings."""
    stamp: str = ""
    """State of the source file when it was decoded; see `core.file_identity`."""
    content: str = ""
    """Digest of the bytes of the source file."""


class StoredEntries(Mapping[str, StoredEntry]):
    """The entry of every stored example, by its id; entries are made when they are looked up."""

    def __init__(self, table: pa.Table) -> None:
        """`table`: one row of the index per example."""
        self._table = table
        self._rows = {name: row for row, name in enumerate(_strings(table, "example"))}

    @cached_property
    def _columns(self) -> list[list[str]]:
        return [_strings(self._table, name) for name in StoredEntry._fields]

    def __getitem__(self, example: str) -> StoredEntry:
        row = self._rows[example]
        status, source, note, stamp, content = self._columns
        return StoredEntry(status[row], source[row], note[row], stamp[row], content[row])

    def __contains__(self, example: object) -> bool:
        return example in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _strings(table: pa.Table, name: str) -> list[str]:
    values: list[str] = table[name].to_numpy().tolist()
    return values


@dataclass(frozen=True)
class OpenIndex:
    """The index of a store with its parts, its rows in order."""

    table: pa.Table
    """Every column is one chunk."""
    starts: Ints
    """Row at which each example begins."""
    shards: ShardColumns

    @classmethod
    def of(cls, table: pa.Table) -> OpenIndex:
        """An index in any order of rows."""
        starts = _starts(table)
        if starts is None:
            table = table.sort_by(ORDER)
            starts = _starts(table)
            assert starts is not None
        return cls(table.combine_chunks(), starts, ShardColumns.of(table))

    @cached_property
    def _names(self) -> tuple[memoryview, memoryview, memoryview]:
        """Rows at which examples begin, and of the strings of the column the bounds and the bytes."""
        column = self.table["example"].chunk(0)
        _, bounds, data = column.buffers()
        offsets = np.frombuffer(bounds, np.int32)[column.offset :]
        return self.starts.data, offsets.data, memoryview(data or b"")

    @cached_property
    def _sample(self) -> list[bytes]:
        """The first of every `STEP` names."""
        rows = np.ascontiguousarray(self.starts[::STEP])
        # pa.array would import numpy.ma, for as long as all the rest of a look-up
        where = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])
        names: list[bytes] = self.table["example"].take(where).cast(pa.binary()).to_pylist()
        return names

    def entries(self) -> StoredEntries:
        """The entry of every example."""
        names = ["example", *StoredEntry._fields]
        return StoredEntries(self.table.select(names).take(pa.array(self.starts)))

    def rows(self, examples: Sequence[str]) -> tuple[Ints, Ints]:
        """Rows of the vectors of `examples`, in the order given, and the offsets of each example in them."""
        if not len(self.table):
            return np.zeros(0, np.int64), np.zeros(len(examples) + 1, np.int64)
        place = self._search(examples) if FEW * len(examples) < len(self.starts) else self._hash(examples)
        first, clip = self._first(place), self.table["clip"].to_numpy()
        count = self._first(place + 1) - first
        count[clip.take(first, mode="clip") < 0] = 0  # failed
        offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        return np.repeat(first - offsets[:-1], count) + np.arange(offsets[-1]), offsets

    def _first(self, numbers: Ints) -> Ints:
        """Row at which the examples of these numbers begin; for larger numbers than there are, the end of the table."""
        return np.where(numbers < len(self.starts), self.starts.take(numbers, mode="clip"), len(self.table))

    def _search(self, examples: Sequence[str]) -> Ints:
        """Number of each of `examples` among those of the index, that of examples where there is none: by bisection."""
        starts, bounds, data = self._names

        def name(number: int) -> bytes:
            row = starts[number]
            return bytes(data[bounds[row] : bounds[row + 1]])

        size = len(starts)
        wanted = [example.encode(errors="surrogatepass") for example in examples]
        ends = [STEP * bisect_left(self._sample, one) for one in wanted]
        found = [
            bisect_left(range(size), one, max(end - STEP, 0), min(end, size), key=name)
            for one, end in zip(wanted, ends, strict=True)
        ]
        return np.array([f if f < size and name(f) == w else size for f, w in zip(found, wanted, strict=True)], int)

    def _hash(self, examples: Sequence[str]) -> Ints:
        """Like `_search`, for many examples."""
        names = self.table["example"].take(pa.array(self.starts))
        found = pc.index_in(pa.array(examples, pa.string()), value_set=names)
        place: Ints = found.fill_null(len(self.starts)).to_numpy().astype(np.int64)
        return place


def _starts(table: pa.Table) -> Ints | None:
    """Rows at which examples begin; None where rows are not in order."""
    if not len(table):
        return np.zeros(0, np.int64)
    names = table["example"].combine_chunks()
    clip = table["clip"].to_numpy()
    new = pc.less(names[:-1], names[1:]).to_numpy(zero_copy_only=False)
    again = pc.equal(names[:-1], names[1:]).to_numpy(zero_copy_only=False)
    if not (new | (again & (clip[:-1] < clip[1:]))).all():
        return None
    return np.append(0, np.flatnonzero(new) + 1)


def current_index(folder: Path) -> pa.Table:
    """Return the index of the store in `folder` and of its parts."""
    # Parts first: a seal replaces the index before it removes parts, so nothing is lost between the two reads.
    parts = _parts(folder)
    sealed = read_index(folder / INDEX, folder, folder.name)
    return deduplicate([sealed, *(read_index(p, folder, folder.name, needed=True) for p in parts)])


def open_index(folder: Path) -> OpenIndex:
    """Return the index of the store in `folder` and of its parts for look-ups; read again only if files changed."""
    return _opened(folder, tuple(_state(p) for p in (folder / INDEX, *_parts(folder))))


def _state(path: Path) -> tuple[str, int, int, int] | None:
    """What changes when a file is replaced or written to; nothing for a missing file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return path.name, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _opened(folder: Path, _states: tuple[object, ...]) -> OpenIndex:
    return OpenIndex.of(current_index(folder))


def _parts(folder: Path) -> list[Path]:
    return sorted((folder / "parts").glob("*.parquet"), key=lambda p: (p.stat().st_mtime_ns, p))
