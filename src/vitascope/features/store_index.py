"""The index of a store, a Parquet table: for every clip its example, span, shard, row and checksums; see `store`.

Version 2 has the identity of the source file and a checksum per block of rows, and states a checksum of itself and the
store it belongs to. An index of version 1 is read as well: its vectors are believed unless their file is younger.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vitascope.core import files
from vitascope.core.errors import DamagedFileError, UserError, reading
from vitascope.core.file_identity import BEFORE
from vitascope.core.log import log

VERSION = 2
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
        ("source", pa.string()),  # digest of name and size of the source file, span and frame rate
        ("note", pa.string()),  # decoding warnings
        ("stamp", pa.string()),  # state of the source file; see `core.file_identity`
        ("content", pa.string()),  # digest of its bytes
        ("checksum", pa.int64()),  # of the block of rows; -1: none, as in version 1
    ]
)
FIRST = SCHEMA.names[:10]
"""Columns of version 1."""
_announced: set[Path] = set()
"""Stores with an index of version 1 that this process has warned of."""
SHARD = re.compile(r"(parts/[^/]+-|vectors-)[0-9a-f]{16}\.safetensors")


def remedy(folder: Path) -> str:
    """Return what to do about a damaged piece of the store in `folder`."""
    return f"`vitascope check {folder} --repair` drops what is damaged, and the next run embeds it again"


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    files.write(path, sink.getvalue().to_pybytes())


def write_index(path: Path, table: pa.Table, key: str) -> None:
    """Write an index, or the index of a part, of the store whose key has the digest `key`."""
    table = table.combine_chunks()
    about = {"vitascope.version": str(VERSION), "vitascope.key": key, "vitascope.checksum": str(table_checksum(table))}
    write_table(path, table.replace_schema_metadata(about))


def read_index(path: Path, folder: Path, key: str, *, needed: bool = False) -> pa.Table:
    """Read an index, or the index of a part, of the store in `folder`; a missing file has no rows, unless `needed`.

    Raises DamagedFileError if it is not what was written, or belongs to another store.
    """
    try:
        return _read(path, folder, key)
    except FileNotFoundError:
        if needed:
            raise
        return SCHEMA.empty_table()


def _read(path: Path, folder: Path, key: str) -> pa.Table:
    with reading(path, remedy(folder)):
        table = pq.ParquetFile(path).read(use_threads=False)  # threads take more processor time than they save
        about = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        table = table.replace_schema_metadata(None).combine_chunks()
        return _of_version_1(table, path, folder) if table.schema.names == FIRST else _checked(table, about, key)


def _checked(table: pa.Table, about: dict[str, str], key: str) -> pa.Table:
    if table.schema.names != SCHEMA.names:
        raise DamagedFileError("other columns than those of an index")
    if (version := about.get("vitascope.version")) != str(VERSION):
        raise DamagedFileError(f"written by another version of vitascope (index version {version}, {VERSION} here)")
    if about.get("vitascope.key") != key:
        raise DamagedFileError("belongs to another store")
    table = table.cast(SCHEMA)
    if about.get("vitascope.checksum") != str(table_checksum(table)):
        raise DamagedFileError("its checksum does not hold")
    return table


def _of_version_1(table: pa.Table, path: Path, folder: Path) -> pa.Table:
    """Return an index without the columns of version 2 with these, once its values are credible."""
    table = table.cast(pa.schema([SCHEMA.field(name) for name in FIRST]))
    _check_values(table)
    if folder not in _announced:
        _announced.add(folder)
        log.warning("%s: read without checksums; `vitascope check %s --repair` verifies and adds them", folder, folder)
    added = {"stamp": f"{BEFORE}{path.stat().st_mtime_ns}", "content": "", "checksum": -1}
    for name, value in added.items():
        table = table.append_column(
            SCHEMA.field(name), pa.repeat(pa.scalar(value, SCHEMA.field(name).type), len(table))
        )
    return table


def _check_values(table: pa.Table) -> None:
    """Raise UserError for what no index of version 1 holds: it has no checksum."""
    if lost := next((name for name in FIRST if table[name].null_count), ""):
        raise UserError(f"nothing in column {lost}")
    embedded = table.filter(pc.greater_equal(table["clip"], 0))
    if foreign := next((s for s in embedded["shard"].unique().to_pylist() if not SHARD.fullmatch(s)), ""):
        raise UserError(f"no shard of a store: {foreign[:80]!r}")
    if not np.isfinite(np.stack([embedded["start"].to_numpy(), embedded["end"].to_numpy()])).all():
        raise UserError("spans that are no times")
    if len(embedded) and pc.min(embedded["row"]).as_py() < 0:
        raise UserError("rows before the first")


def table_checksum(table: pa.Table) -> int:
    """Return a checksum of the values of all columns, whatever their layout in memory."""
    found = 0
    for column in table.columns:
        array = (
            column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([pa.array([], column.type), *column.chunks])
        )
        found = zlib.crc32(str(array.null_count).encode(), found)
        if pa.types.is_string(array.type):
            found = zlib.crc32(pc.binary_length(array).fill_null(-1).to_numpy(zero_copy_only=False), found)
            found = zlib.crc32(_text(array), found)
        else:
            found = zlib.crc32(array.to_numpy(zero_copy_only=False), found)
    return found


def _text(array: pa.StringArray) -> memoryview:
    """Return the characters of all strings, one after another."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return memoryview(b"")
    bounds = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return memoryview(data)[bounds[0] : bounds[-1]]


def deduplicate(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate tables, each example from one only: the latest, unless that is a failure of an unchanged source."""
    filled = [t for t in tables if len(t)]
    if len(filled) < 2:
        return filled[0] if filled else SCHEMA.empty_table()
    table = pa.concat_tables(tables)
    table_of = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    rows = [table[name].to_numpy(zero_copy_only=False) for name in ("example", "clip", "source", "stamp", "content")]
    best: dict[str, tuple[int, bool, tuple[str, ...]]] = {}
    for example, clip, *source, number in zip(*rows, table_of, strict=True):
        previous = best.get(example)
        if previous is None or clip >= 0 or previous[1] or previous[2] != tuple(source):
            best[example] = (number, clip < 0, tuple(source))
    kept = [best[example][0] == number for example, number in zip(rows[0], table_of, strict=True)]
    return table if all(kept) else table.filter(pa.array(kept))
