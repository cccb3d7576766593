"""The files that authors publish beside their videos: found by the names they go by, read by line, held to our order.

The number of a class is a fact: `labels/<name>.txt` has the classes of a data set in that order, one a line. Lists that
number classes otherwise go round, so a file that brings names is held to ours, and one without names is not believed
where other orders are known.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.registry import unknown_variant
from vitascope.core.text import nearest

PLACES = ("annotations", "annotation", "labels", "splits", "lists")
"""Folders of a data set where people put its annotations."""
LISTS = frozenset((".csv", ".json", ".txt"))
NUMBERED = re.compile(r"^(.*[^\s,;])[\s,;]+(-?\d+)$")
"""A path and the number of its class, apart by a space, a comma or a semicolon; the path may hold all three."""
LABELS = Path(__file__).parents[1] / "labels"


@cache
def labels(name: str) -> tuple[str, ...]:
    """The classes of a data set in the order of their numbers; where that order is from stands in the file."""
    text = (LABELS / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("# source:"))


def folder(family: str, variant: str, variants: Mapping[str, str], root: Path | None) -> Path:
    """The folder that holds data set `family`; ValueError for an unknown variant, for none, and for one not there."""
    if variant not in variants:
        raise unknown_variant("datasets", family, variant, variants)
    if root is None:
        raise UserError(
            f"{typed(family, variant)}: where are its videos and annotations? say {typed(family, variant)}=FOLDER, or "
            f"`vitascope evaluate ... --data-root FOLDER` for the folder that holds {family}/"
        )
    root = root.expanduser()
    if not root.is_dir():
        beside = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
        raise UserError(f"{typed(family, variant)}: {root} is no folder{nearest(root.name, beside)}")
    return root


def typed(family: str, variant: str) -> str:
    """The name of a data set as it is typed."""
    return f"{family}/{variant}" if variant else family


@dataclass(frozen=True)
class AnnotationFiles:
    """The lists, tables and json files of a data set, by name in small letters; of a name those near the top first."""

    root: Path
    files: Mapping[str, Sequence[Path]]

    def all(self, *names: str) -> list[Path]:
        """Those of `names` that are there, in that order; capitals do not matter."""
        return [path for name in names for path in self.files.get(name.lower(), ())]

    def find(self, *names: str) -> Path | None:
        """The first of `names` that is there."""
        return next(iter(self.all(*names)), None)

    def need(self, what: str, *names: str) -> Path:
        """The same; ValueError that says what was looked for."""
        if (found := self.find(*names)) is None:
            raise UserError(
                f"{self.root}: no {what}; looked in it and in its {PLACES[0]}/ for {' or '.join(dict.fromkeys(names))}"
            )
        return found


def shelf(root: Path, *places: str) -> AnnotationFiles:
    """The annotation files in `root`, in its folders that are called as such, and in `places` below it."""
    top = sorted(root.iterdir())
    also = [p for p in top if p.name.lower() in PLACES and p.is_dir()]
    below = [q for p in (root, *also) for place in places if (q := p / place).is_dir()]
    found: dict[str, list[Path]] = {}
    for entries in (top, *(sorted(p.iterdir()) for p in dict.fromkeys((*also, *below)))):
        for path in entries:
            if path.suffix.lower() in LISTS:
                found.setdefault(path.name.lower(), []).append(path)
    return AnnotationFiles(root, found)


def same(text: str) -> str:
    """A class as everybody spells it: small letters and digits, one space for all between; no apostrophes."""
    return re.sub(r"[\W_]+", " ", text.lower().replace("'", "")).strip()


@dataclass(frozen=True)
class ClassOrder:
    """The classes of a data set, numbered."""

    classes: tuple[str, ...]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """{class as everybody spells it: its number}"""
        return {same(name): number for number, name in enumerate(self.classes)}

    def of(self, label: str, where: str) -> int:
        """The number of a class by name; spaces, underscores, brackets and capitals do not matter."""
        number = self.numbers.get(same(label))
        if number is None:
            known = nearest(label, self.classes)
            raise UserError(f"{where}: no class {label!r} among the {len(self.classes)} of this data set{known}")
        return number

    def at(self, number: str, where: str, *, first: int = 0) -> int:
        """The class of a number as a file has it, counted from `first`."""
        value = int(number) - first if re.fullmatch(r"-?\d+", number.strip()) else -1
        if not 0 <= value < len(self.classes):
            last = first + len(self.classes) - 1
            raise UserError(f"{where}: label {number!r} is out of range; classes are numbered {first} to {last}")
        return value

    def agree(self, theirs: Sequence[str], path: Path) -> None:
        """ValueError where the list of classes in `path` is another than ours, with the first difference."""
        for number, (their, our) in enumerate(zip(theirs, self.classes, strict=False)):
            if same(their) != same(our):
                raise UserError(
                    f"{path}: class {number} is {their!r} there and {our!r} in the authors' order; numbers from such a "
                    "list would be read wrongly, use the authors' files"
                )
        if len(theirs) != len(self.classes):
            raise UserError(f"{path}: {len(theirs)} classes, the data set has {len(self.classes)}")


def text_of(path: Path) -> str:
    """The text of an annotation file, UTF-8 with or without mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Each line that is not blank, with the place to name in an error."""
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", line.strip()


def cells(path: Path, delimiter: str = ",", *, least: int = 1) -> Iterator[tuple[str, list[str]]]:
    """Each row of a table without a header; ValueError for one of fewer than `least` cells."""
    reader = csv.reader(io.StringIO(text_of(path), newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if not any(row):
                continue
            if len(row) < least:
                raise UserError(f"{path}:{reader.line_num}: {delimiter.join(row)!r} has fewer than {least} columns")
            yield f"{path}:{reader.line_num}", [cell.strip() for cell in row]
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not a table ({error})") from None


def header(path: Path) -> list[str]:
    """The first row of a table; empty where there is none."""
    return next((row for _, row in cells(path)), [])


def table(path: Path, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row of a table with a header, {column: cell}; ValueError where one of `columns` is not among them."""
    rows = cells(path)
    _, head = next(rows, ("", []))
    for column in columns:
        if column not in head:
            has = ", ".join(head[:8]) or "nothing"
            raise UserError(f"{path}: no column {column!r}{nearest(column, head)}; its first line has {has}")
    for where, row in rows:
        if len(row) < len(head):
            raise UserError(f"{where}: {len(row)} cells, the first line has {len(head)}")
        yield where, dict(zip(head, row, strict=False))


def listed(path: Path, order: ClassOrder, *, first: int = 0) -> Iterator[tuple[str, str, int]]:
    """Each line `path number` or `path,number` of a list without header: where it stands, the path, the class.

    Numbers count from `first`.
    """
    for where, line in lines(path):
        match = NUMBERED.match(line)
        if match is None:
            raise UserError(f"{where}: {line[:80]!r} is not a path and the number of a class")
        yield where, match[1], order.at(match[2], where, first=first)


def document(path: Path, kind: type, what: str) -> Any:
    """The content of a json file, which must be a `kind` (list or dict) of `what`."""
    try:
        content = json.loads(text_of(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not json ({error.msg})") from None
    if not isinstance(content, kind):
        raise UserError(f"{path}: not a {'list' if kind is list else 'table'} of {what}")
    return content


def fields_of(record: Any, where: str, *names: str) -> list[str]:
    """The values of a json record under `names`, as text; ValueError where one is absent."""
    for name in names:
        if not isinstance(record, dict) or name not in record:
            raise UserError(f"{where}: no field {name!r}")
    return [str(record[name]) for name in names]
