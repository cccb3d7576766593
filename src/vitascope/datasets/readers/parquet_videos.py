"""Parquet files with videos in them as a list: the Hugging Face hub's `Video` (and `Image`), or a column of bytes."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from vitascope.core.addresses import is_url, part_path
from vitascope.core.content import open_container
from vitascope.core.errors import DamagedFileError, UserError, reading
from vitascope.core.media import kind_of
from vitascope.core.names import folded
from vitascope.datasets.readers.listing import ALIASES, COLUMNS, VideoList, VideoRow, video_row
from vitascope.datasets.readers.tables import cell_text

MEDIA = ("Video", "Image")
"""Types of the hub whose values have bytes and a path."""
BYTES = frozenset(("video", "image", "mp4", "bytes", "webm", "avi", "mkv", "mov"))
"""Names of columns of plain bytes that are taken for videos."""


class _Columns(NamedTuple):
    """What the columns of a file mean."""

    media: str
    struct: bool
    """Whether a value has bytes and a path; else it is the bytes."""
    names: dict[str, tuple[str, ...]]
    """Class names by column of class numbers."""
    used: dict[str, str]
    """The column of each field of a row."""


def media_column(path: str) -> str:
    """The column of a Parquet file that holds videos or images; empty if there is none."""
    with open_container(path) as file:
        columns = _columns(path, _schema(path, file))
    return columns.media if columns else ""


def read_parquets(files: Sequence[tuple[str, str, str]], *, folder: str, unlabeled: str = "") -> VideoList:
    """The videos in Parquet files, each given as its path or URL, its name in the dataset and the split of its rows.

    A value without bytes is a path, relative to `folder`. Labels are in a column `label`, `labels` or `class`; without
    one they are `unlabeled`, UserError if that is empty.
    """
    rows: list[VideoRow] = []
    layout = ""
    for path, name, split in files:
        with open_container(path) as file:
            columns = _columns(path, _schema(path, file))
            if columns is None:
                raise UserError(f"{path}: no column holds videos, as values of bytes and path")
            if "label" not in columns.used and not unlabeled:
                raise UserError(f"{path}: no column 'label'; videos are in {columns.media!r}")
            layout = layout or f"videos in column {columns.media}, {', '.join(columns.used.values()) or 'no other'}"
            found = list(_rows(path, file, columns, unlabeled))
        paths = {row.path for row in found}
        named = [row.path if len(paths) == len(found) else str(i) for i, row in enumerate(found)]
        rows += [
            replace(row, path=f"{name}/{text}", split=row.split or split, file=row.file or _beside(folder, row.path))
            for row, text in zip(found, named, strict=True)
        ]
    count = f"{len(files)} Parquet file{'s' * (len(files) != 1)}"
    return VideoList(tuple(rows), f"{count} ({layout}): {len(rows)} rows")


def _beside(folder: str, path: str) -> str:
    """The path of a video that is stored as a path."""
    return path if is_url(path) else posixpath.normpath(posixpath.join(folder, path))


def _schema(path: str, file: Any) -> Any:
    import pyarrow.parquet

    with reading(path, "take a whole copy of it"):
        return pyarrow.parquet.read_schema(file)


def _columns(path: str, schema: Any) -> _Columns | None:
    """What the columns mean; None if none holds videos. The hub's own description counts most."""
    import pyarrow.types as kinds

    features: dict[str, Any] = {}
    if text := (schema.metadata or {}).get(b"huggingface"):
        with reading(path, "take a whole copy of it"):
            features = json.loads(text)["info"]["features"]
    structs = [f.name for f in schema if kinds.is_struct(f.type) and {x.name for x in f.type} >= {"bytes", "path"}]
    plain = [f.name for f in schema if kinds.is_binary(f.type) or kinds.is_large_binary(f.type)]
    declared = [n for kind in MEDIA for n, f in features.items() if isinstance(f, dict) and f.get("_type") == kind]
    media = next((n for n in (*declared, *structs) if n in structs), "")
    media = media or next((n for n in plain if folded(n) in BYTES), "")
    if not media:
        return None
    names = {
        n: tuple(f["names"]) for n, f in features.items() if isinstance(f, dict) and f.get("_type") == "ClassLabel"
    }
    present = {folded(f.name): f.name for f in schema if f.name != media}
    used = {}
    for column in COLUMNS[1:]:
        for alias in ALIASES.get(column, (column,)):
            if alias in present and column not in used:
                used[column] = present[alias]
    return _Columns(media, media in structs, names, used)


def _rows(path: str, file: Any, columns: _Columns, unlabeled: str) -> Iterator[VideoRow]:
    """Yield the rows of a file; the bytes of the videos are not read."""
    import pyarrow.parquet

    inside = [f"{columns.media}.path"] * columns.struct
    with reading(path, "take a whole copy of it"):
        table = pyarrow.parquet.ParquetFile(file)
        read = table.read(columns=[*inside, *columns.used.values()]) if inside or columns.used else None
        records = read.to_pylist() if read is not None else [{}] * table.metadata.num_rows
        empty = _without_bytes(table, columns)
    named = folded(columns.used["label"]) if "label" in columns.used else "class"
    for number, record in enumerate(records):
        where = f"{path}: row {number + 1}"
        media = record.get(columns.media) if inside else None
        name = posixpath.basename((media or {}).get("path") or "") or f"{number}.mp4"
        cell = {c: _text(record.get(n), columns.names.get(n, ()), f"{where}: {n}") for c, n in columns.used.items()}
        listed = (media or {}).get("path") or ""
        stored = not (number in empty and listed)
        row = video_row(
            {"path": name if stored else listed, "label": unlabeled, **cell}, where, named, decimal_comma=False
        )
        name = name if kind_of(name) else f"{name}.mp4"
        yield replace(row, file=part_path(path, f"{columns.media}:{number}", name) if stored else "")


def _without_bytes(table: Any, columns: _Columns) -> frozenset[int]:
    """The rows whose video is a path alone, by the statistics of the row groups, or else by a look at them."""
    if not columns.struct:
        return frozenset()
    leaf = f"{columns.media}.bytes"
    empty: set[int] = set()
    first = 0
    for number in range(table.num_row_groups):
        group = table.metadata.row_group(number)
        nulls = _null_count(table, group, leaf)
        if nulls == group.num_rows:
            empty |= set(range(first, first + group.num_rows))
        elif nulls != 0 and nulls is not None:
            for i, batch in enumerate(table.iter_batches(batch_size=1, row_groups=[number], columns=[leaf])):
                empty |= {first + i} if batch.column(0).to_pylist()[0]["bytes"] is None else set()
        first += group.num_rows
    return frozenset(empty)


def _null_count(table: Any, group: Any, leaf: str) -> int | None:
    """How many values of a leaf a row group says to be missing; None if it does not say."""
    number = next((i for i in range(group.num_columns) if group.column(i).path_in_schema == leaf), None)
    # where the types differ, asking pyarrow for statistics would end the process
    if number is None or group.column(number).physical_type != table.schema.column(number).physical_type:
        raise DamagedFileError(f"a row group does not have {leaf} as the file declares it")
    found = group.column(number).statistics
    return found.null_count if found and found.has_null_count else None


def _text(value: Any, names: Sequence[str], where: str) -> str:
    """The text of a value; of class numbers, their names."""
    if names and isinstance(value, list):
        return cell_text([_class(v, names, where) for v in value], where)
    return cell_text(_class(value, names, where) if names and value is not None else value, where)


def _class(value: Any, names: Sequence[str], where: str) -> Any:
    if not isinstance(value, int) or value < 0:
        return None if isinstance(value, int) else value  # the hub writes -1 where there is no label
    if value >= len(names):
        raise UserError(f"{where}: class {value}, but only {len(names)} classes have names")
    return names[value]
