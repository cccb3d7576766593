"""The rows of one or several tables of boxes as one set with shared numbers of videos, labels and persons."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.names import split_of
from vitascope.datasets.readers.box_tables import BoxTable
from vitascope.metrics.boxes import Frames

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class BoxSet:
    """Rows of tables of boxes as columns."""

    tables: tuple[BoxTable, ...]
    videos: tuple[str, ...]
    """Names of the videos."""
    labels: tuple[str, ...]
    """Labels as they are written; an empty one is a box of no class."""
    table: Int64[Array, "n"]
    """Index of the table of a row."""
    row: Int64[Array, "n"]
    """Its place in that table."""
    video: Int64[Array, "n"]
    time: Float64[Array, "n"]
    """Seconds or number of the frame, as written."""
    box: Float64[Array, "n 4"]
    label: Int64[Array, "n"]
    person: Int64[Array, "n"] | None
    """Number of the person, -1 where its table has none; None if no table has persons."""
    empty: Frames
    """Frames without people."""
    splits: tuple[str, ...]
    """Split by video, empty where none is given."""
    fps: tuple[float, ...]
    """Frame rate by video, 0 where none is given."""

    @property
    def counts_frames(self) -> bool:
        """Whether times are numbers of frames."""
        return self.tables[0].counts_frames

    def where(self, row: int) -> str:
        """The location of a row for messages."""
        table: BoxTable = self.tables[int(self.table[row])]
        return table.where(int(self.row[row]))

    def keep(self, kept: Bool[Array, "n"]) -> BoxSet:
        """The rows that are `kept`; their frames stay, without people if no row is left."""
        columns = ("table", "row", "video", "time", "box", "label")
        lost = Frames(self.video[~kept], self.time[~kept])
        empty = Frames(*(np.concatenate(pair) for pair in zip(self.empty, lost, strict=True)))
        person = None if self.person is None else self.person[kept]
        return replace(self, **{name: getattr(self, name)[kept] for name in columns}, person=person, empty=empty)

    def keyframes(self) -> dict[int, list[float]]:
        """The annotated times of each video, ascending."""
        video, time = (np.concatenate(pair) for pair in ((self.video, self.empty.video), (self.time, self.empty.time)))
        order = np.lexsort((time, video))
        video, time = video[order], time[order]
        begins = np.flatnonzero(np.append(True, np.diff(video) != 0))
        parts = zip(video[begins].tolist(), np.split(time, begins[1:]), strict=True)
        return {number: np.unique(times).tolist() for number, times in parts}


def joined(tables: Sequence[BoxTable]) -> BoxSet:
    """Tables as one set; `UserError` for two units of time, or a video whose tables are of different splits.

    Several tables whose file names contain a split, such as `train.csv`, give it to their videos.
    """
    if len({table.counts_frames for table in tables}) > 1:
        one = next(table for table in tables if table.counts_frames)
        other = next(table for table in tables if not table.counts_frames)
        raise UserError(f"{one.path} counts frames ({one.time_column}) and {other.path} does not; use one unit of time")
    videos, video = _shared([table.videos for table in tables])
    labels, label = _shared([table.labels for table in tables])
    return BoxSet(
        tables=tuple(tables),
        videos=videos,
        labels=labels,
        table=np.repeat(np.arange(len(tables)), [len(table.time) for table in tables]),
        row=np.concatenate([np.arange(len(table.time)) for table in tables]),
        video=np.concatenate([of[table.video] for of, table in zip(video, tables, strict=True)]),
        time=np.concatenate([table.time for table in tables]),
        box=np.concatenate([table.box for table in tables]),
        label=np.concatenate([of[table.label] for of, table in zip(label, tables, strict=True)]),
        person=_persons(tables),
        empty=Frames(
            np.concatenate([of[table.empty.video] for of, table in zip(video, tables, strict=True)]),
            np.concatenate([table.empty.time for table in tables]),
        ),
        splits=_of_videos(tables, videos, [_splits(table, several=len(tables) > 1) for table in tables], "split", ""),
        fps=_of_videos(tables, videos, [table.fps for table in tables], "fps", 0.0),
    )


def _shared(names: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[Int64[Array, "_"]]]:
    """The different names of all tables, and for each table the number of its names among them."""
    number: dict[str, int] = {}
    places = [np.array([number.setdefault(name, len(number)) for name in of], np.int64) for of in names]
    return tuple(number), places


def _persons(tables: Iterable[BoxTable]) -> Int64[Array, "n"] | None:
    """Persons with numbers of their own in every table."""
    columns: list[Int64[Array, "_"]] = []
    first, known = 0, False
    for table in tables:
        person = np.full(len(table.time), -1) if table.person is None else table.person
        columns.append(np.where(person < 0, -1, person + first))
        first, known = first + int(person.max(initial=-1)) + 1, known or table.person is not None
    return np.concatenate(columns) if known else None


def _splits(table: BoxTable, *, several: bool) -> tuple[str, ...]:
    """The splits of the videos of a table: of its column, else of its name if there are several tables."""
    words = {split_of(word) for word in re.split(r"[\W_]+|(?<=\D)(?=\d)", table.path.stem)} - {""}
    if table.splits or not several or len(words) != 1:
        return table.splits
    return tuple(words) * len(table.videos)


def _of_videos(
    tables: Sequence[BoxTable], videos: Sequence[str], columns: Sequence[Sequence[Any]], what: str, none: Any
) -> tuple[Any, ...]:
    """A value for each video, of the tables that have it; `UserError` if two tables differ."""
    values: dict[str, Any] = {}
    for table, column in zip(tables, columns, strict=True):
        for name, value in zip(table.videos if column else (), column, strict=True):
            if values.setdefault(name, value) != value:
                raise UserError(
                    f"{table.path}: {what} {value} of video {name!r}, {values[name]} in another table; a video has one"
                )
    return tuple(values.get(name, none) for name in videos)
