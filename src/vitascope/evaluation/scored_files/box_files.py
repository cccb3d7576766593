"""Tables of boxes as columns with shared numbers: classes, units and what is odd about the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.text import counted, nearest, whole_number
from vitascope.datasets.readers.box_tables import LARGEST_FRACTION, BoxTable, read_boxes, read_frames
from vitascope.datasets.readers.label_map import LAST_AVA, ava_classes, read_label_map
from vitascope.evaluation.scored_files.scored import unknown_videos
from vitascope.metrics import boxes
from vitascope.metrics.boxes import Boxes, Frames

Array: TypeAlias = NDArray[Any]
AVA_SECONDS = (900.0, 1800.0)
"""Range of AVA's keyframes."""


@dataclass(frozen=True)
class Classes:
    """The evaluated classes, and the numbers that labels stand for."""

    names: Mapping[int, str]
    """Names by number, ascending."""
    numbers: Mapping[str, int]
    """Number of each label of the truth that is a name; empty if labels are numbers."""
    about: str
    """How they were chosen."""
    actions: range | None = None
    """All numbers that labels can have, where they are known."""

    def number(self, label: str) -> int | None:
        """The number of a label, None if it stands for none."""
        return self.numbers.get(label) if self.numbers else whole_number(label)


@dataclass(frozen=True)
class BoxFiles:
    """Truth and predictions with the same numbers of videos and classes."""

    classes: Classes
    videos: tuple[str, ...]
    """Names of all videos, those of the truth first."""
    known: int
    """Number of videos of the truth."""
    truth: Boxes
    empty: Frames
    excluded: Frames | None
    predictions: tuple[Boxes, ...]
    tables: tuple[BoxTable, ...]
    """Truth, then predictions, as they were read."""
    unit: str
    """`fraction` or `pixel`."""
    notes: tuple[str, ...]
    """What is odd about the truth."""


def read_box_files(truth: Path, predictions: Sequence[Path], exclude: Path | None, classes: str) -> BoxFiles:
    """Read the files and number their videos and classes alike; UserError for what no evaluator should be given."""
    true = read_boxes(truth, eighth="person")
    tables = [read_boxes(path) for path in predictions]
    for table in tables:
        _check_scores(table)
    chosen = _classes(true, tables, classes)
    names, excluded = read_frames(exclude) if exclude else ((), None)
    numbers: dict[str, int] = {}
    for name in (*true.videos, *(name for table in tables for name in table.videos), *names):
        numbers.setdefault(name, len(numbers))
    made = [_boxes(table, chosen, numbers) for table in (true, *tables)]
    for table in (true, *tables):
        _check_actions(table, chosen)
    _check_truth(true, made[0], chosen)
    unit = _unit(made[0])
    for table, side in zip(tables, made[1:], strict=True):
        _check_unit(table, side, (unit, truth))
        _check_videos(table, true)
    frames = Frames(_renumbered(true.empty.video, true.videos, numbers), true.empty.time)
    if excluded is not None:
        excluded = excluded._replace(video=_renumbered(excluded.video, names, numbers))
    notes = [chosen.about, *_odd(made[0], unit, "true")]
    return BoxFiles(
        chosen,
        tuple(numbers),
        len(true.videos),
        made[0],
        frames,
        excluded,
        tuple(made[1:]),
        (true, *tables),
        unit,
        tuple(notes),
    )


def prediction_notes(files: BoxFiles, index: int) -> Iterator[str]:
    """What is odd about one of the files of predictions."""
    table, side, known = files.tables[index + 1], files.predictions[index], files.videos[: files.known]
    if table.score is None:
        yield "no scores: every row counts 1, as in the official evaluator"
    if note := unknown_videos(table.videos, known, "the predictions"):
        yield note
    missing = len(set(known) - set(table.videos))
    if missing:
        yield f"no predictions in {counted(missing, 'video')} of the truth"
    odd = [label for label in table.labels if files.classes.numbers and files.classes.number(label) is None]
    if odd:
        near = nearest(odd[0], files.classes.numbers)
        yield f"{counted(len(odd), 'label')} not in the truth, such as {odd[0]!r}{near}"
    yield from _odd(side, files.unit, "predicted")


def _boxes(table: BoxTable, classes: Classes, numbers: Mapping[str, int]) -> Boxes:
    each = [classes.number(label) for label in table.labels]
    known = np.array([-1 if number is None else number for number in each], np.int64)
    score = np.ones(len(table.time)) if table.score is None else table.score
    video = _renumbered(table.video, table.videos, numbers)
    return Boxes(video, table.time, table.box, known[table.label] if len(known) else table.label, score)


def _renumbered(video: Int64[Array, "n"], names: Sequence[str], numbers: Mapping[str, int]) -> Int64[Array, "n"]:
    place = np.array([numbers[name] for name in names], np.int64)
    return place[video] if len(place) else video


def _classes(truth: BoxTable, tables: Sequence[BoxTable], chosen: str) -> Classes:
    """The classes of `--classes`: a label map, `ava`, `all`, or by default those that the files suggest."""
    whole = [whole_number(label) for label in truth.labels]
    numbered = [number for number in whole if number is not None]
    if chosen in ("", "ava", "all"):
        if chosen == "ava" or (not chosen and len(numbered) == len(whole) and _is_ava(truth, tables, numbered)):
            about = "AVA's 60 evaluated classes; others: --classes all, or a label map"
            return Classes(ava_classes(), {}, about, range(1, LAST_AVA + 1))
        if len(numbered) == len(whole):
            return Classes(
                {n: str(n) for n in sorted(numbered)}, {}, f"all {counted(len(whole), 'class', 'classes')} of the truth"
            )
        names = sorted(truth.labels)
        return Classes(
            dict(enumerate(names, 1)),
            {name: i for i, name in enumerate(names, 1)},
            f"all {counted(len(names), 'class', 'classes')} of the truth",
        )
    names_by_number = dict(sorted(read_label_map(Path(chosen)).items()))
    about = f"{counted(len(names_by_number), 'class', 'classes')} of {chosen}"
    if len(numbered) == len(whole):
        return Classes(names_by_number, {}, about)
    return Classes(names_by_number, {name: number for number, name in names_by_number.items()}, about)


def _is_ava(truth: BoxTable, tables: Sequence[BoxTable], numbers: Sequence[int]) -> bool:
    """Whether files without headers have AVA's seconds, and actions up to 80, some of them above 60."""
    others = [n for table in tables for n in map(whole_number, table.labels) if n is not None]
    low, high = AVA_SECONDS
    seconds = len(truth.time) > 0 and bool(((truth.time >= low) & (truth.time <= high)).all())
    return (
        not truth.header
        and seconds
        and max((*numbers, *others), default=0) > 60
        and max(numbers, default=0) <= LAST_AVA
    )


def _check_truth(table: BoxTable, side: Boxes, classes: Classes) -> None:
    bad = np.flatnonzero((side.box[:, 2:] < side.box[:, :2]).any(axis=1))
    if bad.size:
        raise UserError(
            f"{table.where(int(bad[0]))}: the true box {_shown(side.box[bad[0]])} is inverted; expected x1, y1, x2, y2 "
            f"with x1 <= x2 and y1 <= y2 ({counted(bad.size, 'such row')})"
        )
    if not np.isin(side.label, list(classes.names)).any():
        raise UserError(
            f"{table.path}: no row has one of the evaluated classes ({classes.about}); its labels are "
            f"{', '.join(table.labels[:8])}; choose with --classes"
        )


def _check_actions(table: BoxTable, classes: Classes) -> None:
    """Raise for actions that AVA does not have."""
    for number, label in enumerate(table.labels):
        if classes.actions and whole_number(label) not in classes.actions:
            row = int(np.flatnonzero(table.label == number)[0])
            raise UserError(f"{table.where(row)}: action {label!r:.40} is none of AVA's, which are 1 to {LAST_AVA}")


def _check_scores(table: BoxTable) -> None:
    """Raise where the last column of a table without header holds persons instead of scores."""
    if table.header or table.score is None or not len(table.score):
        return
    whole = (table.score == np.rint(table.score)).all()
    if whole and table.score.max() > 1:
        raise UserError(
            f"{table.path}: its last column has whole numbers up to {table.score.max():g}, as persons have, and no "
            "scores; if they are scores, name the columns in a header: video,time,x1,y1,x2,y2,label,score"
        )


def _unit(side: Boxes) -> str:
    return "fraction" if not len(side.box) or np.abs(side.box).max() <= LARGEST_FRACTION else "pixel"


def _check_unit(table: BoxTable, side: Boxes, true: tuple[str, Path]) -> None:
    unit, path = true
    if len(side.box) and (found := _unit(side)) != unit:
        largest = np.abs(side.box).max()
        raise UserError(
            f"{table.path}: coordinates up to {largest:g} are {found}s, but those of {path} are {unit}s; "
            "divide pixels by width and height of the frame"
        )


def _check_videos(table: BoxTable, truth: BoxTable) -> None:
    if not set(table.videos) & set(truth.videos):
        raise UserError(
            f"{table.path}: none of its {counted(len(table.videos), 'video')} is in {truth.path}, such as "
            f"{table.videos[0]!r}{nearest(table.videos[0], truth.videos)}"
        )


def _odd(side: Boxes, unit: str, what: str) -> Iterator[str]:
    """Notes on repeated rows, and on boxes that reach outside the frame."""
    frame = boxes.frame_codes(side)[0]
    corners = (np.unique(side.box[:, i], return_inverse=True)[1] for i in range(4))
    code = boxes.joint_codes(frame, side.label, *corners)
    repeated = len(code) - int(code.max(initial=-1)) - 1
    if repeated:
        yield f"{counted(repeated, f'{what} row')} repeated: same frame, box and label; all are counted"
    outside = (side.box < 0).any(axis=1) | ((side.box > 1).any(axis=1) if unit == "fraction" else False)
    if outside.any():
        many = counted(int(outside.sum()), f"{what} box", f"{what} boxes")
        yield f"{many} outside the frame in part; kept unchanged"


def _shown(box: Array) -> str:
    return ", ".join(f"{value:g}" for value in box.tolist())
