"""A user's own tables: delimiter and header are found out, and every row must fit; also JSON lines and Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError, reading
from vitascope.core.files import require_regular_file
from vitascope.core.media import FRAME_SUFFIXES, MEDIA_SUFFIXES, suffix
from vitascope.core.names import canonical, folded
from vitascope.datasets.readers.annotation_files import encoding_of, text_of

DELIMITERS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars"}
SPACES = " "
"""Delimiter of a list whose columns are separated by white space."""
NAMES = {**DELIMITERS, SPACES: "spaces"}
TEXT = frozenset((".csv", ".tsv", ".txt"))
RECORDS = frozenset((".jsonl", ".parquet"))
ENDINGS = "|".join(sorted(s[1:] for s in MEDIA_SUFFIXES | FRAME_SUFFIXES))
AFTER_FILE = re.compile(rf"(.*\.(?:{ENDINGS}))\s+(\S.*)", re.IGNORECASE)
"""A line of a list: a file with a known ending, and what follows it."""
HEAD = 1 << 16
"""Bytes in which the first line of a list must end."""
LIST = "\0"
"""Stands before every item of a list in a cell: no text file that is read holds it."""
Row = tuple[str, list[str]]


@dataclass(frozen=True)
class Table:
    """The rows of a table, each with its location for error messages, and the names of its columns."""

    path: Path
    header: tuple[str, ...]
    """Names of the columns; empty for a list without header."""
    delimiter: str
    """Empty for JSON lines and Parquet."""
    rows: Iterable[Row]

    @property
    def form(self) -> str:
        """The form of the file in words."""
        return f"separated by {NAMES[self.delimiter]}" if self.delimiter else f"read as {self.path.suffix[1:]}"


def read_table(path: Path, known: Collection[str]) -> Table:
    """Open a table by its ending; a header is a first row with one of the `known` column names.

    The rows are read and checked as they are consumed: `UserError` names the line that has too many or too few cells.
    """
    require_regular_file(path)
    ending = suffix(path.name)
    if ending in RECORDS:
        return _table_of(path, list(_json_lines(path) if ending == ".jsonl" else _parquet(path)))
    text, start = text_of(path), 1
    if match := re.match(r"sep=(.)\r?\n", text, re.IGNORECASE):  # Excel's own hint at the delimiter
        text, start = text[match.end() :], 2
    delimiter, header = sniff(next((line for line in text.splitlines() if line.strip()), ""), known)
    rows = _spaced(text, path, start) if delimiter == SPACES else _delimited(text, path, start, delimiter)
    if header:
        _, header = next(rows, ("", header))
    columns = len(header) or 2
    return Table(path, tuple(header), delimiter, (_fit(row, columns, delimiter) for row in rows))


def sniff(first: str, known: Collection[str]) -> tuple[str, list[str]]:
    """The delimiter of a table and the cells of its header, empty if the first line is not one."""
    wanted = {folded(name) for name in known}
    headers = {d: cells for d in (",", ";", "\t", "|", SPACES) if wanted & set(map(folded, cells := _split(first, d)))}
    if headers:
        best = max(headers, key=lambda d: len(wanted & set(map(folded, headers[d]))))
        return best, headers[best]
    for delimiter in (*DELIMITERS, SPACES):
        cells = _split(first, delimiter)
        if len(cells) > 1 and is_file_name(cells[0]) and not (delimiter == "|" and AFTER_FILE.fullmatch(cells[0])):
            return delimiter, []  # behind `path label` a bar separates labels
    return ",", _split(first, ",")


def is_file_name(cell: str) -> bool:
    """Whether a cell looks like the path of a video, an image, or a folder of frames."""
    return suffix(cell) in MEDIA_SUFFIXES | FRAME_SUFFIXES or "/" in cell or "\\" in cell


def first_line(path: Path) -> str:
    """The first line of a list that is not blank, of a regular file only; empty if it is no text."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        data = file.read(HEAD)
    head = data.decode(encoding_of(data), "replace")
    lines = head.splitlines() if "\N{REPLACEMENT CHARACTER}" not in head[:-9] else []
    return next((line for line in lines if line.strip()), "")


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == SPACES:
        return _split_at_space(line)
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]
    except csv.Error:
        return [line]


def _split_at_space(line: str) -> list[str]:
    """The path and the label of a line; the path may contain spaces, the label too if the path has a known ending."""
    match = AFTER_FILE.fullmatch(line.strip())
    return list(match.groups()) if match else line.strip().rsplit(None, 1)


def _spaced(text: str, path: Path, start: int) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), start):
        if line.strip():
            yield f"{path}:{number}", _split_at_space(line)


def _delimited(text: str, path: Path, start: int, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            where = f"{path}:{reader.line_num + start - 1}"
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield where, cells
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num + start - 1}: invalid CSV ({error})") from None


def _fit(row: Row, columns: int, delimiter: str) -> Row:
    """The row without empty cells beyond the last column; `UserError` if it does not have as many cells as columns."""
    where, cells = row
    while len(cells) > columns and not cells[-1]:
        cells = cells[:-1]
    if len(cells) > columns:
        joined = f"{delimiter} ".join(cells[columns - 1 :])
        quoted = f'; put quotes around a cell that contains {NAMES[delimiter]}, as in "{joined[:60]}"'
        raise UserError(f"{where}: {len(cells)} cells, but {columns} columns{quoted}")
    if len(cells) < columns:
        raise UserError(
            f"{where}: {len(cells)} cell{'s' * (len(cells) != 1)}, but {columns} columns; fill in the others"
        )
    return where, cells


def _table_of(path: Path, records: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    header = tuple(dict.fromkeys(name for _, record in records for name in record))
    rows = [(where, [cell_text(record.get(name), f"{where}: {name}") for name in header]) for where, record in records]
    return Table(path, header, "", rows)


def cell_text(value: Any, where: str) -> str:
    """A value of JSON or Parquet as the text of a cell; `items` finds lists in it."""
    if value is None:
        return ""
    if isinstance(value, list) and not any(isinstance(item, dict | list) or item is None for item in value):
        return "".join(LIST + canonical(str(item)) for item in value) or LIST
    if isinstance(value, dict | list):
        raise UserError(f"{where} is {type(value).__name__}, expected text or a number")
    return canonical(str(value))


def items(cell: str) -> tuple[str, ...] | None:
    """The items of a list in a cell, as in JSON lines and Parquet; None if the cell holds text."""
    return tuple(filter(None, cell.split(LIST))) if cell.startswith(LIST) else None


def records_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of a file of JSON lines or a Parquet file, each with its location for messages."""
    yield from _json_lines(path) if suffix(path.name) == ".jsonl" else _parquet(path)


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if line.strip():
            where = f"{path}:{number}"
            with reading(where, "write one JSON object per line"):
                record = json.loads(line)
            if not isinstance(record, dict):
                raise UserError(f"{where}: not a JSON object with one field per column")
            yield where, record


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow.parquet

    with reading(path, "write the table again"):
        table = pyarrow.parquet.read_table(path)
        records = table.to_pylist()
    for number, record in enumerate(records, 1):
        yield f"{path}: row {number}", record
