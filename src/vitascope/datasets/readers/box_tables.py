"""Tables of boxes in video frames: AVA's csv with or without a header, and tables of one's own with a header.

Without a header the columns are AVA's: video, time, x1, y1, x2, y2, action, then the person in a truth file, the score
in predictions, or both. A header names them in any order. A row of only a video and a time is a frame without people.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.names import SPLITS, canonical, folded, split_of
from vitascope.core.text import nearest
from vitascope.datasets.readers.annotation_files import text_of
from vitascope.datasets.readers.tables import first_line
from vitascope.metrics.boxes import Frames

Array: TypeAlias = NDArray[Any]
T = TypeVar("T")

CORNERS = ("x1", "y1", "x2", "y2")
COLUMNS = ("video", "time", *CORNERS, "label")
"""Columns that every table of boxes has, in AVA's order."""
FRAME_NUMBERS = ("frame", "frame_index", "frame_id", "frame_idx", "frame_number", "frame_no")
"""Names of a column of times that counts frames, not seconds."""
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "video": ("video_id", "videoid", "video id", "video_name", "vid", "name"),
    "time": ("timestamp", "second", "seconds", "sec", "frame_stamp", "keyframe", *FRAME_NUMBERS),
    "x1": ("xmin", "x_min", "left", "entity_box_x1"),
    "y1": ("ymin", "y_min", "top", "entity_box_y1"),
    "x2": ("xmax", "x_max", "right", "entity_box_x2"),
    "y2": ("ymax", "y_max", "bottom", "entity_box_y2"),
    "label": ("action", "action_id", "label_id", "class", "class_id", "category", "category_id"),
    "person": ("person_id", "entity", "entity_id", "track", "track_id", "tube", "tube_id", "actor", "actor_id"),
    "score": ("confidence", "conf", "prob", "probability"),
    "split": ("subset",),
    "fps": ("frame_rate", "framerate"),
}
KNOWN = {other: name for name, others in OTHER_NAMES.items() for other in (name, *others)}
"""Name of the column by each of its spellings."""
LARGEST_FRACTION = 2.0
"""Coordinates up to this are fractions of the frame, larger ones pixels."""
DELIMITERS = (",", ";", "\t")
LAYOUT = "video, time, x1, y1, x2, y2, action, and then a person, a score or both"
REMEMBERED = 1 << 16
"""Different cells of a file of which one copy is kept: coordinates, times and names repeat in a million of rows."""
UNLABELED = "video, time, x1, y1, x2, y2, and then a score, before it perhaps an action"
Row: TypeAlias = tuple[int, list[str]]
"""Number of the line, and its cells."""


@dataclass(frozen=True)
class BoxTable:
    """The rows of a file as columns; videos, labels and persons are numbered in the order in which they appear."""

    path: Path
    videos: tuple[str, ...]
    """Names of the videos."""
    labels: tuple[str, ...]
    """Labels as they are written: numbers or names; an empty one where there are none."""
    video: Int64[Array, "n"]
    time: Float64[Array, "n"]
    """Seconds, or index of the frame; to six decimals, as AVA's evaluator has it."""
    box: Float64[Array, "n 4"]
    label: Int64[Array, "n"]
    person: Int64[Array, "n"] | None
    """Number of the person or tube; None without such a column."""
    score: Float64[Array, "n"] | None
    """None without such a column."""
    line: Int64[Array, "n"]
    """Number of the line, from 1."""
    empty: Frames
    """Frames without people, with numbers of `videos`."""
    header: bool
    time_column: str = ""
    """Name of the column of times; empty without a header."""
    splits: tuple[str, ...] = ()
    """`train`, `val`, `test` or nothing, by video; empty without such a column."""
    fps: tuple[float, ...] = ()
    """Frame rate by video, 0 where there is none; empty without such a column."""
    unused: tuple[str, ...] = ()
    """Columns of the header that are not read."""
    scaled: bool = False
    """Whether boxes in pixels have become fractions, by the size of the annotated images."""
    array: str = ""
    """Name of the list in a JSON file whose items are the rows, numbered from 0 by `line`."""

    @property
    def counts_frames(self) -> bool:
        """Whether times are numbers of frames, by the name of their column."""
        return self.time_column in FRAME_NUMBERS

    @property
    def column_named(self) -> bool:
        """Whether the name of the column of times is the author's."""
        return bool(self.time_column) and not self.array

    def where(self, row: int) -> str:
        """The location of a row for messages."""
        return f"{self.path}: {self.array}[{self.line[row]}]" if self.array else f"{self.path}:{self.line[row]}"


def read_boxes(path: Path, *, eighth: Literal["person", "score"] = "score", labeled: bool = True) -> BoxTable:
    """Read a table of boxes; `eighth` is what the last of eight columns without a header is.

    Unless `labeled`, the table may have no labels: without a header six columns are boxes, and the seventh the score.
    Raises UserError, with the line, for rows that do not fit, cells that are not finite numbers, and no rows at all.
    """
    rows, layout = list(_rows(path)), LAYOUT if labeled else UNLABELED
    header = _header(rows, path, COLUMNS if labeled else COLUMNS[:-1])
    place = header or _positions(rows, path, eighth, labeled=labeled)
    first, rows = (rows[0], rows[1:]) if header else ((0, []), rows)
    width, last = max((len(cells) for _, cells in rows), default=0), max(place.values())
    full, bare = _divided(rows, place)
    for line, cells in full:
        if len(cells) != width or width <= last:
            raise UserError(f"{path}:{line}: {len(cells)} cells where other rows have {width}; expected {layout}")
    if not rows:
        raise UserError(f"{path}: no rows; expected {layout} in each")
    names = [folded(cell).replace(" ", "_") for cell in first[1]] if header else []
    return _table(path, (full, bare), place, names)


def is_box_table(path: Path) -> bool:
    """Whether the first line of a file is a header with a video and four corners, or a row of AVA's form.

    A list of videos, with columns for a path and a label, is none, whatever else it has.
    """
    line = first_line(path)
    cells = next(csv.reader([line], delimiter=_delimiter(line), skipinitialspace=True), []) if line else []
    names = {folded(cell).replace(" ", "_") for cell in cells}
    if {"path", "file_name"} & names and {"label", "labels"} & names:
        return False
    headed = {KNOWN.get(name) for name in names} >= {"video", *CORNERS}
    return headed or (len(COLUMNS) <= len(cells) <= len(COLUMNS) + 2 and _is_number(cells[1:6]))


def read_frames(path: Path) -> tuple[tuple[str, ...], Frames]:
    """Read a list of frames, `video,time` in each row, such as AVA's excluded timestamps: names of videos, and frames.

    An empty list is one. Raises UserError as `read_boxes` does.
    """
    rows = list(_rows(path))
    if rows and not _is_number(rows[0][1][1:2]):
        rows = rows[1:]
    for line, cells in rows:
        if len(cells) != 2:
            raise UserError(f"{path}:{line}: {len(cells)} cells; expected two, a video and a time")
    names, video = _numbered(cells[0] for _, cells in rows)
    return names, Frames(video, _numbers(rows, 1, path, "time").round(6))


def _rows(path: Path) -> Iterator[Row]:
    text = text_of(path)
    first = next((line for line in text.split("\n") if line.strip()), "")
    delimiter = _delimiter(first)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    known: dict[str, str] = {}
    try:
        for cells in reader:
            if any(cells):
                once = known.setdefault if len(known) < REMEMBERED else known.get
                yield reader.line_num, [once(cell, cell) for cell in cells]
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not a table ({error})") from None


def _delimiter(line: str) -> str:
    return max(DELIMITERS, key=line.count)


def _is_number(cells: Sequence[str]) -> bool:
    try:
        return bool(cells) and all(float(cell) == float(cell) for cell in cells)
    except ValueError:
        return False


def _header(rows: Sequence[Row], path: Path, needed: Sequence[str]) -> dict[str, int]:
    """The place of each known column in the header; empty without one."""
    if not rows or _is_number(rows[0][1][1:2]):
        return {}
    names = [folded(cell).replace(" ", "_") for cell in rows[0][1]]
    place: dict[str, int] = {}
    for i, name in enumerate(names):
        column = KNOWN.get(name)
        if column in place:
            raise UserError(f"{path}:{rows[0][0]}: two columns for {column}: {names[place[column]]!r} and {name!r}")
        if column:
            place[column] = i
    for column in needed:
        if column not in place:
            columns = ", ".join(name[:40] for name in names[:12])
            near = nearest(column, [n for n in names if n not in KNOWN])
            raise UserError(f"{path}:{rows[0][0]}: no column {column!r}{near}; its first row is {columns}")
    return place


def _positions(rows: Sequence[Row], path: Path, eighth: str, *, labeled: bool) -> dict[str, int]:
    """The place of each column without a header."""
    sizes = {len(cells) for _, cells in rows if len(cells) != 2}
    width = max(sizes, default=7)
    bare = COLUMNS[:-1]
    layouts = {7: COLUMNS, 8: (*COLUMNS, eighth), 9: (*COLUMNS, "person", "score")}
    layouts |= {} if labeled else {6: bare, 7: (*bare, "score")}
    if width not in layouts:
        line = next(line for line, cells in rows if len(cells) == width)
        layout = LAYOUT if labeled else UNLABELED
        raise UserError(f"{path}:{line}: {width} cells; expected {layout}, or two for a frame without people")
    return {name: i for i, name in enumerate(layouts[width])}


def _divided(rows: Sequence[Row], place: Mapping[str, int]) -> tuple[list[Row], list[Row]]:
    """The rows with a box, and those that name a frame and no box."""
    frame, last = max(place["video"], place["time"]), max(place.values())
    first, *others = (place[name] for name in CORNERS)
    full: list[Row] = []
    bare: list[Row] = []
    for row in rows:
        cells = row[1]
        size = len(cells)
        boxless = size == 2 or (size > last and not cells[first] and not any(cells[i] for i in others))
        (bare if boxless and frame < size else full).append(row)
    return full, bare


def _table(path: Path, rows: tuple[list[Row], list[Row]], place: Mapping[str, int], header: Sequence[str]) -> BoxTable:
    full, bare = rows
    names, videos = _numbered(cells[place["video"]] for _, cells in (*full, *bare))
    labels, label = _numbered(cells[place["label"]] if "label" in place else "" for _, cells in full)
    time = _numbers(full, place["time"], path, "time").round(6)
    by_video = partial(_by_video, path=path, rows=(*full, *bare), place=place, videos=(names, videos))
    person = _numbered(cells[place["person"]] for _, cells in full)[1] if "person" in place else None
    return BoxTable(
        path,
        names,
        labels,
        videos[: len(full)],
        time,
        np.column_stack([_numbers(full, place[name], path, name) for name in CORNERS]),
        label,
        person,
        _numbers(full, place["score"], path, "score") if "score" in place else None,
        np.array([line for line, _ in full], np.int64),
        Frames(videos[len(full) :], _numbers(bare, place["time"], path, "time").round(6)),
        bool(header),
        header[place["time"]] if header else "",
        by_video("split", _split),
        by_video("fps", _rate),
        tuple(name for i, name in enumerate(header) if name and i not in place.values()),
    )


def _by_video(
    column: str,
    parse: Callable[[str, str], T],
    *,
    path: Path,
    rows: Sequence[Row],
    place: Mapping[str, int],
    videos: tuple[tuple[str, ...], Int64[Array, "n"]],
) -> tuple[T, ...]:
    """A column that says the same in all rows of a video that have it, by video; empty without the column.

    `UserError` if two rows of a video differ.
    """
    if column not in place:
        return ()
    values: dict[int, T] = {}
    for (line, cells), video in zip(rows, videos[1].tolist(), strict=True):
        cell = cells[place[column]] if place[column] < len(cells) else ""
        if cell.strip() and values.setdefault(video, value := parse(cell, f"{path}:{line}")) != value:
            raise UserError(
                f"{path}:{line}: {column} {cell!r:.60} of video {videos[0][video]!r} differs from other rows"
            )
    return tuple(values.get(i, parse("", "")) for i in range(len(videos[0])))


def _split(cell: str, where: str) -> str:
    if cell.strip() and not split_of(cell):
        raise UserError(f"{where}: split {cell!r:.60}{nearest(cell, SPLITS)}; use train, val or test")
    return split_of(cell)


def _rate(cell: str, where: str) -> float:
    rate = float(cell) if _is_number([cell]) else 0.0 if not cell.strip() else -1.0
    if not 0 <= rate < np.inf:
        raise UserError(f"{where}: fps {cell!r:.60} is not a frame rate")
    return rate


def _numbered(cells: Iterator[str]) -> tuple[tuple[str, ...], Int64[Array, "n"]]:
    """The different names, and the number of each cell among them."""
    table: dict[str, int] = {}
    raw = np.array([table.setdefault(cell, len(table)) for cell in cells], np.int64)
    names: dict[str, int] = {}
    same = np.array([names.setdefault(canonical(name), len(names)) for name in table], np.int64)
    return tuple(names), same[raw] if len(same) else raw


def _numbers(rows: Sequence[Row], place: int, path: Path, name: str) -> Float64[Array, "n"]:
    """A column of finite numbers; `UserError` names the line of the first cell that is none."""
    cells = [row[1][place] for row in rows]
    try:
        values = np.array(cells, np.float64)
    except ValueError:
        values = np.array([float(cell) if _is_number([cell]) else np.nan for cell in cells])
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        line, row = rows[bad[0]]
        raise UserError(f"{path}:{line}: {name} {row[place]!r:.60} is not a finite number")
    return values
