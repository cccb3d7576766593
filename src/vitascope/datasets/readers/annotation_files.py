"""Find and read the annotation files of a dataset, and check their class numbering against the authors'.

`labels/<name>.txt` lists the classes of a dataset in the order of their official indices, one per line. Lists with
other numberings are in circulation: a file that names its classes is checked against the official order, and one that
does not is rejected for datasets where other orders are known.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from vitascope.core import schema
from vitascope.core.errors import UserError
from vitascope.core.files import read_bytes
from vitascope.core.names import both, canonical, folded, loose
from vitascope.core.registry import unknown_variant
from vitascope.core.schema import conform
from vitascope.core.text import nearest, whole_number

MAX_SHOWN, SHOWN = 8, 40
"""Number of names that a message shows, and letters of each."""
PLACES = ("annotations", "annotation", "labels", "splits", "lists")
"""Subfolders of a dataset that are searched for annotations."""
LISTS = frozenset((".csv", ".json", ".pbtxt", ".pkl", ".txt"))
NUMBERED = re.compile(r"^(.*[^\s,;])[\s,;]+(-?\d+)$")
"""A path and a class number, separated by a space, comma or semicolon; the path may contain all three."""
LABELS = Path(__file__).parents[1] / "labels"


@cache
def labels(name: str) -> tuple[str, ...]:
    """The classes of a dataset in the order of their indices; the file names the source of that order."""
    text = (LABELS / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("# source:"))


def dataset_folder(family: str, variant: str, variants: Mapping[str, str], root: Path | None) -> Path:
    """Check the variant and the folder of a dataset, and return the folder; `UserError` if either is wrong."""
    if variant not in variants:
        raise unknown_variant("datasets", family, variant, variants)
    name = typed_name(family, variant)
    if root is None:
        raise UserError(
            f"{name}: give the folder of its videos and annotations as {name}=FOLDER, or the folder that contains "
            f"{family}/ with --data-root FOLDER"
        )
    root = root.expanduser()
    if not root.is_dir():
        siblings = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
        raise UserError(f"{name}: {root} is not a folder{nearest(root.name, siblings)}")
    return root


def typed_name(family: str, variant: str) -> str:
    """The name of a dataset as typed on the command line."""
    return f"{family}/{variant}" if variant else family


@dataclass(frozen=True)
class AnnotationFiles:
    """The lists, tables, JSON files and pickles of a dataset."""

    root: Path
    files: Mapping[str, Sequence[Path]]
    """The files by lower-case name; of several with one name, those nearest to the root first."""

    def find_all(self, *names: str) -> list[Path]:
        """The files with one of `names`, in the order of `names`, ignoring case."""
        return [path for name in names for path in self.files.get(name.lower(), ())]

    def find(self, *names: str) -> Path | None:
        """The first file with one of `names`, or None."""
        return next(iter(self.find_all(*names)), None)

    def require(self, what: str, *names: str) -> Path:
        """The first file with one of `names`; `UserError` if there is none."""
        if (path := self.find(*names)) is None:
            wanted = " or ".join(dict.fromkeys(names))
            raise UserError(f"{self.root}: no {what}; put {wanted} there or into {PLACES[0]}/")
        return path


def find_annotations(root: Path, *places: str) -> AnnotationFiles:
    """The annotation files in `root`, in its annotation folders (`PLACES`), and in the folders `places` below those."""
    top = sorted(root.iterdir())
    folders = [p for p in top if p.name.lower() in PLACES and p.is_dir()]
    below = [q for p in (root, *folders) for place in places if (q := p / place).is_dir()]
    files: dict[str, list[Path]] = {}
    for entries in (top, *(sorted(p.iterdir()) for p in dict.fromkeys((*folders, *below)))):
        for path in entries:
            if path.suffix.lower() in LISTS:
                files.setdefault(path.name.lower(), []).append(path)
    return AnnotationFiles(root, files)


class _Spellings(dict[str, int]):
    """Class indices by label as written; labels that are no class get -1 and are not kept."""

    def __missing__(self, label: str) -> int:
        number = self.get(canonical(label), -1)
        if number >= 0:
            self[label] = number
        return number


@dataclass(frozen=True)
class ClassOrder:
    """The classes of a dataset in the order of their indices."""

    classes: tuple[str, ...]

    @cached_property
    def _tables(self) -> dict[Callable[[str], str], dict[str, list[int]]]:
        """Class indices by name in canonical, folded and loose form."""
        tables: dict[Callable[[str], str], dict[str, list[int]]] = {}
        for form in (canonical, folded, loose):
            for number, name in enumerate(self.classes):
                tables.setdefault(form, {}).setdefault(form(name), []).append(number)
        return tables

    def find(self, label: str, where: str = "") -> int | None:
        """The index of a class by name, exactly, else ignoring case, else punctuation; None if there is none.

        `UserError` if two classes fit: no two labels become one class.
        """
        for form, table in self._tables.items():
            numbers = table.get(form(label), [])
            if len(numbers) > 1:
                pair = both(*(self.classes[i] for i in numbers[:2]))
                raise UserError(f"{where}: {label!r} fits both {pair}; spell it as in the list of the classes")
            if numbers:
                return numbers[0]
        return None

    def codes(self, labels: Sequence[str]) -> Int64[np.ndarray, "n"]:
        """The index of the class that each label names exactly, -1 for others; each spelling is looked up once."""
        return np.fromiter(map(self._by_spelling.__getitem__, labels), np.int64, len(labels))

    @cached_property
    def _by_spelling(self) -> _Spellings:
        return _Spellings({canonical(name): number for number, name in enumerate(self.classes)})

    def index(self, label: str, where: str) -> int:
        """The index of a class by name, see `find`; `UserError` if it is unknown."""
        number = self.find(label, where)
        if number is None:
            near = nearest(label, self.classes)
            raise UserError(f"{where}: {label!r} is not one of the {len(self.classes)} classes of this dataset{near}")
        return number

    def parse(self, number: str, where: str, *, first: int = 0) -> int:
        """The class index for a number from a file that counts from `first`; `UserError` if out of range."""
        found = whole_number(number)
        value = -1 if found is None else found - first
        if not 0 <= value < len(self.classes):
            last = first + len(self.classes) - 1
            raise UserError(f"{where}: label {number!r:.60} is out of range; class numbers are {first} to {last}")
        return value

    def check(self, listed: Sequence[str], path: Path) -> None:
        """Raise `UserError` with the first difference if the classes listed in `path` are not the official ones."""
        for number, (label, official) in enumerate(zip(listed, self.classes, strict=False)):
            # what one list has beyond the other is refused below
            if loose(label) != loose(official):
                raise UserError(
                    f"{path}: class {number} is {label!r}, but {official!r} in the official order; use the authors' "
                    "files"
                )
        if len(listed) != len(self.classes):
            raise UserError(f"{path}: {len(listed)} classes, but the dataset has {len(self.classes)}")


def text_of(path: Path) -> str:
    """The text of an annotation file, UTF-8 with or without byte order mark, or UTF-16 with one."""
    data = read_bytes(path)
    try:
        text = data.decode(encoding_of(data))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    if "\0" in text:
        raise UserError(f"{path}: not text, it contains zero bytes; save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(data: bytes) -> str:
    """The encoding of a text by its byte order mark, UTF-8 without one."""
    return "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Each non-blank line, preceded by its location for error messages, `path:line`."""
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", line.strip()


def read_rows(path: Path, delimiter: str = ",", *, min_columns: int = 1) -> Iterator[tuple[str, list[str]]]:
    """Each row of a table without header, preceded by its location; `UserError` for fewer than `min_columns` cells."""
    reader = csv.reader(io.StringIO(text_of(path), newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if not any(row):
                continue
            if len(row) < min_columns:
                text = delimiter.join(row)
                raise UserError(f"{path}:{reader.line_num}: {text!r} has fewer than {min_columns} columns")
            yield f"{path}:{reader.line_num}", [cell.strip() for cell in row]
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not a table ({error})") from None


def read_header(path: Path) -> list[str]:
    """The first row of a table; empty if the table is."""
    return next((row for _, row in read_rows(path)), [])


def shown_names(names: Sequence[str]) -> str:
    """The first of some names from a file, in one line."""
    return ", ".join(" ".join(name.split())[:SHOWN] for name in names[:MAX_SHOWN]) or "none"


def read_table(path: Path, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row of a table with header as {column: cell}, preceded by its location; `UserError` for a missing column."""
    rows = read_rows(path)
    _, head = next(rows, ("", []))
    for column in columns:
        if column not in head:
            columns_present = shown_names(head)
            raise UserError(f"{path}: no column {column!r}{nearest(column, head)}; its columns are {columns_present}")
    for where, row in rows:
        if len(row) < len(head) or any(row[len(head) :]):
            raise UserError(f"{where}: {len(row)} cells, but the header has {len(head)}")
        yield where, dict(zip(head, row, strict=False))  # what a row has beyond the header is blank, see above


def numbered_lines(path: Path, order: ClassOrder, *, first: int = 0) -> Iterator[tuple[str, str, int]]:
    """Each line `path number` or `path,number` of a list: its location, the path, the class index.

    Numbers count from `first`.
    """
    for where, line in lines(path):
        match = NUMBERED.match(line)
        if match is None:
            raise UserError(f"{where}: {line[:80]!r} is not a path and a class number")
        yield where, match[1], order.parse(match[2], where, first=first)


def read_json(path: Path, kind: type, what: str) -> Any:
    """The content of a JSON file, which must be a `kind` (list or dict) of `what`."""
    content = schema.parse(text_of(path), str(path), "get the file again, or correct it")
    if not isinstance(content, kind):
        raise UserError(f"{path}: expected a JSON {'array' if kind is list else 'object'} of {what}")
    return content


def _once(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    """A JSON object; `UserError` if a name occurs twice, of which a parser keeps the last."""
    record = dict(pairs)
    if len(record) < len(pairs):
        name = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise UserError(f"{path}: {name!r} is listed twice in one JSON object; remove one")
    return record


def require_fields(record: Any, where: str, *names: str) -> list[str]:
    """The values of a JSON record under `names`, as text; `UserError` if one is missing or neither text nor number."""
    if not isinstance(record, dict):
        conform(record, dict[str, Any], where)
    for name in names:
        if name not in record:
            raise UserError(f"{where}: no field {name!r}")
        if type(record[name]) not in (str, int):
            conform(record[name], str | int, f"{where}: {name}")
    return [str(record[name]) for name in names]
