"""Shards of a store: safetensors files with the tensor `vectors`, read by row, with a checksum per block of rows.

A block is as many rows as fit 64 KiB, at least one. Its checksum is verified when a row of it is read for the first
time in a process.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vitascope.core.errors import DamagedFileError, reading
from vitascope.core.files import check_safetensors_header
from vitascope.features.store_index import remedy

SHARD_BYTES = 64 << 20
BLOCK_BYTES = 64 << 10
HALF_MAX = 6e4
HALF_MIN = 1e-3
"""A vector whose largest magnitude is outside this range would not survive half precision; its block stays single."""
KINDS: dict[str, np.dtype[Any]] = {"F16": np.dtype(np.float16), "F32": np.dtype(np.float32)}
"""Types of vectors, by their names in safetensors."""
Array = npt.NDArray[Any]

_verified: dict[tuple[str, int, int, int], npt.NDArray[np.bool_]] = {}
"""Which blocks of a file, in its present state, have been verified by this process."""


def content_hash(data: bytes) -> str:
    """Return the digest of a shard that its name carries."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def to_half(values: Array) -> Array:
    """Convert to half precision if every vector survives it; rows contiguous, as the file format requires."""
    values = np.ascontiguousarray(values, np.float32)
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    fits = (largest < HALF_MAX) & ((largest > HALF_MIN) | (largest == 0))
    return values.astype(np.float16) if fits.all() else values


def block_checksums(values: Array) -> npt.NDArray[np.int64]:
    """Return for every row of a shard the checksum of its block."""
    rows = rows_per_block(values)
    sums = [zlib.crc32(values[start : start + rows].data) for start in range(0, len(values), rows)]
    return np.repeat(np.array(sums, np.int64), rows)[: len(values)]


def rows_per_block(values: Array) -> int:
    """Return how many rows of a shard share a checksum."""
    return max(1, BLOCK_BYTES // max(values[:1].nbytes, 1))


def _verified_blocks(path: Path, values: Array) -> npt.NDArray[np.bool_]:
    """Return for every block of a shard whether this process has verified it, to be updated."""
    status = path.stat()
    state = (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
    return _verified.setdefault(state, np.zeros(-(-len(values) // rows_per_block(values)), np.bool_))


def map_vectors(path: Path, folder: Path) -> Array:
    """Map the tensor `vectors` of a shard of the store in `folder` read-only; DamagedFileError if it is none."""
    with reading(path, remedy(folder)):
        check_safetensors_header(path, remedy(folder))
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            entry = json.loads(file.read(length))["vectors"]
        kind = KINDS[entry["dtype"]]
        shape = tuple(entry["shape"])
        start, end = entry["data_offsets"]
        if len(shape) < 2 or start != 0 or 8 + length + end != path.stat().st_size:
            raise DamagedFileError(f"one tensor of vectors was expected, not shape {shape} at bytes {start} to {end}")
        mapped: Array = np.memmap(path, kind, "r", offset=8 + length, shape=shape)
        return mapped


class ShardColumns(NamedTuple):
    """What an index says of the shards."""

    names: list[str]
    shard: Array
    """Shard of each row of the index, a number of `names`."""
    row: Array
    """Row in that shard."""
    checksum: Array
    last: list[int]
    """Largest row in each shard."""

    @classmethod
    def of(cls, table: pa.Table) -> ShardColumns:
        """Of the rows of an index."""
        names = table["shard"].combine_chunks().dictionary_encode()
        shard, row = names.indices.to_numpy(), table["row"].to_numpy()
        last = np.full(len(names.dictionary), -1)
        np.maximum.at(last, shard, row)
        return cls(names.dictionary.to_pylist(), shard, row, table["checksum"].to_numpy(), last.tolist())


class ShardRows:
    """Rows of several memory-mapped shards, read as one array."""

    def __init__(self, folder: Path, columns: ShardColumns) -> None:
        """`columns`: of the index of the store in `folder`."""
        self.folder = folder
        self.names, self.shard, self.row, self.checksum, last = columns
        self.maps = [map_vectors(folder / n, folder) if n else np.zeros((0, 0), np.float16) for n in self.names]
        self.verified = [
            _verified_blocks(folder / n, m) if n else np.zeros(0, np.bool_)
            for n, m in zip(self.names, self.maps, strict=True)
        ]
        for name, mapped, row in zip(self.names, self.maps, last, strict=True):
            if row >= len(mapped):
                raise DamagedFileError(f"{folder / name}: has fewer rows than the index lists; {remedy(folder)}")

    def per_shard(self, chosen: Array) -> int:
        """Return the number of rows of a new shard."""
        row = self.maps[self.shard[chosen[0]]][0].nbytes if len(chosen) else 1
        return int(max(1, SHARD_BYTES // max(row, 1)))

    def take(self, chosen: Array) -> Array:
        """Read rows of the index; DamagedFileError if a checksum does not hold."""
        if not len(chosen):
            return np.zeros((0, 0), np.float16)
        maps = self._maps(chosen)
        out = np.empty((len(chosen), *self.shape(chosen)), self.dtype(chosen))
        for shard, data in maps.items():
            at = np.flatnonzero(self.shard[chosen] == shard)
            rows = self.row[chosen[at]]
            self._verify(shard, rows, self.checksum[chosen[at]])
            if len(rows) == rows[-1] - rows[0] + 1 and (np.diff(rows) == 1).all():
                out[at] = data[rows[0] : rows[-1] + 1]
            else:
                out[at] = data[rows]
        return out

    def dtype(self, chosen: Array) -> np.dtype[Any]:
        """Return the type of the vectors of some rows together."""
        return np.result_type(*(m.dtype for m in self._maps(chosen).values())) if len(chosen) else np.dtype(np.float16)

    def unmap(self) -> None:
        """Give back the memory of the mapped shards; their pages are read again where needed."""
        for data in self.maps:
            if isinstance(of := getattr(data, "_mmap", None), mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                of.madvise(mmap.MADV_DONTNEED)

    def _maps(self, chosen: Array) -> dict[int, Array]:
        """Return the shards of some rows by number."""
        return {s: self.maps[s] for s in np.flatnonzero(np.bincount(self.shard[chosen])).tolist()}

    def shape(self, chosen: Array) -> tuple[int, ...]:
        """Return the shape of the vectors of some rows; DamagedFileError if some have another one."""
        if not len(chosen):
            return (0,)
        first, *others = {m.shape[1:] for m in self._maps(chosen).values()}
        if others:
            raise DamagedFileError(f"{self.folder}: vectors of shapes {first}, {others[0]}; {remedy(self.folder)}")
        return first

    def _verify(self, shard: int, rows: Array, expected: Array) -> None:
        """Verify the blocks of some rows, unless this process has done so; DamagedFileError names the rows."""
        for first, last in self.damaged(shard, rows, expected):
            path = self.folder / self.names[shard]
            raise DamagedFileError(f"{path}: rows {first} to {last} are not what was written; {remedy(self.folder)}")

    def damaged(self, shard: int, rows: Array, expected: Array) -> Iterator[tuple[int, int]]:
        """Yield the first and last row of the blocks of `rows` whose checksums are not those `expected` of the rows."""
        data, good = self.maps[shard], self.verified[shard]
        size = rows_per_block(data)
        blocks, firsts = np.unique(rows // size, return_index=True)
        todo = ~good[blocks] & (expected[firsts] >= 0)
        content, width = data.data.cast("B"), size * data[0].nbytes
        for block, checksum in zip(blocks[todo].tolist(), expected[firsts[todo]].tolist(), strict=True):
            if zlib.crc32(content[block * width : (block + 1) * width]) == checksum:
                good[block] = True
            else:
                yield block * size, min((block + 1) * size, len(data)) - 1

    def outdated(self) -> Iterator[int]:
        """Yield the shards that have no checksums and do not have the content that their names were made of."""
        for shard in np.unique(self.shard[(self.checksum < 0) & (self.row >= 0)]).tolist():
            name = self.names[shard]
            if not name.endswith(f"-{content_hash((self.folder / name).read_bytes())}.safetensors"):
                yield shard
