"""A user's own list of videos: a manifest, the metadata table of a data hub, or lists of `path label` per split."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vitascope.core.addresses import is_url
from vitascope.core.errors import UserError
from vitascope.core.names import SPLITS, both, canonical, case_note, folded, split_of
from vitascope.core.text import nearest
from vitascope.core.types import Span
from vitascope.datasets.readers.annotation_files import shown_names
from vitascope.datasets.readers.label_cells import BAR, EXACT, labels_of
from vitascope.datasets.readers.listed_paths import PathFinder
from vitascope.datasets.readers.tables import LIST, SPACES, Table, read_table

COLUMNS = ("path", "label", "split", "start", "end", "group", "fps", "id")
ALIASES = {"path": ("path", "file_name"), "label": ("label", "labels", "class")}
"""Other names of a column: `file_name` is that of the Hugging Face hub, `labels` holds any number, `class` one."""
KNOWN = frozenset((*COLUMNS, "file_name", "labels", "class"))
FILE_NAME = "_file_name"
"""End of the names of columns that name files, where a table of the hub has several: `video_file_name`."""
COUNTED = re.compile(r"(.*\S)\s+\d+")
"""The path and the number of frames of a line `folder frames label`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRow:
    """One row of a list, or one file of a class folder."""

    path: str
    """Path below the folder of the videos, with forward slashes."""
    file: str
    """Path of the file as it is on disk."""
    label: str
    labels: tuple[str, ...] | None = None
    """The labels, where the list says that there may be several."""
    exact_label: bool = False
    """Whether a bar in the label is part of it."""
    split: str = ""
    span: Span | None = None
    group: str | None = None
    fps: float | None = None
    id: str = ""
    missing: str = ""
    """Reason that there is no file; empty if there is one."""

    @property
    def name(self) -> str:
        """The id of the example: as given, otherwise the path with the span."""
        path = canonical(self.path)
        return self.id or (path if self.span is None else f"{path}#{self.span[0]:.12g}-{self.span[1]:.12g}")


@dataclass(frozen=True, slots=True)
class VideoList:
    """The rows of one or several lists, and how they were understood."""

    rows: tuple[VideoRow, ...]
    layout: str
    """What the rows come from, in words."""
    notes: tuple[str, ...] = ()
    grouped: bool = False
    """Whether the groups tell all recordings, and one file may hold several."""


def read_list(
    path: Path, *, labeled: bool = True, split: str = "", prefix: str = "", roots: Sequence[Path] = ()
) -> VideoList:
    """Read a list; labels may be missing unless `labeled`. `UserError` names the line that is invalid.

    Paths are relative to one of `roots` (the folder of the list), below which they must stay, after `prefix`; `split`
    is that of all rows.
    """
    finder = PathFinder(roots or (path.parent,))
    table = read_table(path, KNOWN)
    columns, notes = _columns(table, labeled)
    named = folded(table.header[columns["label"]]) if table.header and "label" in columns else ""
    rows = []
    for where, cells in _plain(table, finder):
        cell = {column: cells[position] for column, position in columns.items()}
        rows.append(video_row(cell, where, named if labeled else None, decimal_comma=table.delimiter == ";"))
        rows[-1] = replace(rows[-1], path=f"{prefix}{rows[-1].path}", file=where, split=split or rows[-1].split)
    located = tuple(_located(rows, finder))
    notes += [case_note(finder.by_case, "paths")] if finder.by_case else []
    return VideoList(located, f"{path.name} ({_described(table, columns)}): {len(rows)} rows", tuple(notes))


def _described(table: Table, columns: Mapping[str, int]) -> str:
    """The columns of a table that are used and not used, and its delimiter."""
    if not table.header:
        return f"path and label without header, {table.form}"
    unused = [name for i, name in enumerate(table.header) if i not in columns.values() and name]
    rest = f"; not used: {', '.join(unused)}" if unused else ""
    used = [table.header[position] for position in columns.values()]
    return f"columns {', '.join(used)}, {table.form}{rest}"


def _columns(table: Table, labeled: bool) -> tuple[dict[str, int], list[str]]:
    """The position of each known column, and notes on names that were not spelled exactly."""
    if not table.header:
        return {"path": 0, "label": 1}, []
    found: dict[str, int] = {}
    notes: list[str] = []
    for column in COLUMNS:
        for name in ALIASES.get(column, (column,)):
            position = _position(name, table, notes)
            if position is not None and column not in found:
                found[column] = position
    if "path" not in found and (name := file_column(table.header, str(table.path))):
        found = {"path": table.header.index(name), **found}
    for needed in ("path", "label") if labeled else ("path",):
        if needed not in found:
            has = shown_names(table.header)
            raise UserError(f"{table.path}: no column {needed!r}{nearest(needed, table.header)}; its columns are {has}")
    return found, [*notes, *_near_misses(table, found)]


def file_column(header: Sequence[str], where: str) -> str:
    """The column of a table that names the video of a row as the hub does; empty if there is none.

    That is `file_name`, else `video_file_name`, else the only one that ends so; `UserError` if there are several.
    """
    found = [name for name in header if folded(name) == "file_name" or folded(name).endswith(FILE_NAME)]
    best = next((name for wanted in ("file_name", "video_file_name") for name in found if folded(name) == wanted), "")
    if len(found) > 1 and not best:
        raise UserError(f"{where}: {both(*found[:2])} both name files; call the column of the videos file_name")
    return best or next(iter(found), "")


def _position(name: str, table: Table, notes: list[str]) -> int | None:
    """The position of a column by name, exactly, else regardless of capitals; `UserError` if there are two."""
    for form in (canonical, folded):
        positions = [i for i, column in enumerate(table.header) if form(column) == name]
        if len(positions) > 1:
            pair = both(*(table.header[i] for i in positions[:2]))
            raise UserError(f"{table.path}: the columns {pair} both stand for {name!r}; remove or rename one")
        if positions:
            if form is folded:
                notes.append(f"{table.path.name}: column {table.header[positions[0]]!r} is taken as {name!r}")
            return positions[0]
    return None


def _near_misses(table: Table, found: Mapping[str, int]) -> Iterator[str]:
    """A note on every unused column whose name is nearly that of a column that would be used."""
    absent = [column for column in COLUMNS if column not in found]
    for i, name in enumerate(table.header):
        close = [] if i in found.values() else difflib.get_close_matches(folded(name), absent, n=1, cutoff=0.8)
        if close:
            yield f"{table.path.name}: column {name!r} is not used; did you mean {close[0]!r}?"


def _plain(table: Table, finder: PathFinder) -> Iterator[tuple[str, list[str]]]:
    """The rows of a table; of a list of folders of frames without the number of frames."""
    counted: bool | None = None
    for where, cells in table.rows:
        match = COUNTED.fullmatch(cells[0]) if not table.header and table.delimiter == SPACES else None
        if counted is None:
            counted = match is not None and finder.exact(finder.inside(match[1], where)) is not None
        if counted and match is None:
            raise UserError(f"{where}: {' '.join(cells)[:80]!r} is not a folder, a number of frames and a label")
        yield where, [match[1], cells[1]] if counted and match else cells


def video_row(cell: Mapping[str, str], where: str, named: str | None, *, decimal_comma: bool) -> VideoRow:
    """The row of the cells by column; its file is not located yet.

    `named` is the name of the column of the label, empty without a header, None if a label is not needed.
    """
    cell = {column: text if column == "path" else canonical(text) for column, text in cell.items()}
    for column, text in cell.items():
        if text.startswith(LIST) and column != "label":
            raise UserError(f"{where}: {column} is a list, expected text or a number")
        if "\n" in text or "\r" in text:
            start = text.splitlines()[0][:40]
            raise UserError(f"{where}: a line break in {column} {start!r} ...; is a quote missing?")
    label = cell.get("label", "")
    labels = labels_of(label, named or "")
    if not cell["path"] or (named is not None and not label and labels is None):
        raise UserError(f"{where}: {'path' if named is None else 'path and label'} must not be empty")
    word = cell.get("split", "")
    if word and not split_of(word):
        raise UserError(f"{where}: split {word!r}{nearest(word, SPLITS)}; use train, val or test")
    times = {c: cell.get(c, "").replace(",", "." if decimal_comma else ",") for c in ("start", "end", "fps")}
    return VideoRow(
        path=cell["path"],
        file="",
        label=label if labels is None else BAR.join(labels),
        labels=labels,
        exact_label=named == EXACT,
        split=split_of(word),
        span=_span(times["start"], times["end"], where),
        group=cell.get("group") or None,
        fps=_seconds(times["fps"], f"{where}: fps") or None,
        id=cell.get("id", ""),
    )


def _located(rows: Sequence[VideoRow], finder: PathFinder) -> Iterator[VideoRow]:
    """The rows with their files; `file` is their location in the list until then.

    A file that one row names exactly is not given to another row that names it in other capitals.
    """
    places = {row.path: finder.inside(row.path, row.file) for row in rows}
    found = {path: finder.exact(place) for path, place in places.items()}
    taken = {place for place in found.values() if place}
    for path, place in places.items():
        if found[path] is None and (similar := finder.similar(place)) is not None:
            if similar in taken:
                finder.by_case.pop(place[0][1], None)
            else:
                found[path] = similar
                taken.add(similar)
    for row in rows:
        root, path = found[row.path] or places[row.path][0]
        missing = "" if found[row.path] else "no such file"
        yield replace(
            row,
            path=_listed(places[row.path], root),
            file=path if is_url(path) else str(Path(root) / path),
            missing=missing,
        )


def _listed(places: Sequence[tuple[str, str]], root: str) -> str:
    """The path as listed, relative to `root`."""
    return next(path for other, path in places if other == root)


def _span(start: str, end: str, where: str) -> Span | None:
    if not start and not end:
        return None
    span = (_seconds(start, f"{where}: start"), _seconds(end, f"{where}: end") if end else float("inf"))
    if span[1] <= span[0]:
        raise UserError(f"{where}: end {end} is not after start {start or 0} (seconds)")
    return span


def _seconds(text: str, where: str) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        raise UserError(f"{where} {text!r} is not a number") from None
    if not 0 <= value < float("inf"):
        raise UserError(f"{where} {text!r} must be zero or more")
    return value
