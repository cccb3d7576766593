"""Untrimmed videos with annotated actions: read JSON in ActivityNet's format leniently and clean it.

Every action that is dropped or suspicious is counted in `Dataset.notes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.names import SPLITS, alike_notes, canonical, split_of
from vitascope.core.schema import conform
from vitascope.core.text import nearest
from vitascope.core.types import Dataset, Segment
from vitascope.datasets.readers.annotation_files import ClassOrder, read_json
from vitascope.datasets.readers.video_files import AnnotatedVideo, Footage, Side, assemble, relative_path

SAME = 1e-3
"""Tolerance, seconds, of start and end for two actions of one class to count as repeated."""
LATE = 0.05
"""Seconds by which an action may exceed its video without a note, since durations are rounded."""
DURATIONS = ("duration", "duration_second")
UNNAMED = frozenset({"Ambiguous"})
"""Labels of actions that belong to no class; such actions are dropped and counted."""
Truth = tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class ListedAction:
    """One annotated action, before cleaning."""

    start: float
    """Start, seconds."""
    end: float
    """End, seconds."""
    label: str
    """Name of the class."""
    where: str
    """Location of the annotation, for error messages."""


@dataclass(frozen=True, slots=True)
class UntrimmedVideo:
    """One untrimmed video and its annotated actions, before cleaning."""

    id: str
    subset: str
    """`train`, `val` or `test`; empty if not annotated."""
    actions: tuple[ListedAction, ...]
    duration: float | None = None
    """Duration, seconds."""
    where: str = ""
    """Location of the annotation, for error messages."""
    fps: float | None = None
    """Frame rate of the video, frames per second, if the list has it."""


def seconds(value: Any, where: str) -> float:
    """Parse a time in seconds from a number or text; `UserError` if it is not a nonnegative number."""
    try:
        time = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        time = math.nan
    if not 0 <= time < math.inf:
        raise UserError(f"{where}: {value!r:.60} is not a time in seconds from the start of the video")
    return time


def parse_subset(word: Any, where: str) -> str:
    """`train`, `val` or `test` from any of the usual spellings."""
    name = split_of(str(word))
    if not name:
        near = nearest(str(word).lower(), SPLITS)
        raise UserError(f"{where}: subset {word!r} is not training, validation or testing{near}")
    return name


def read_database(path: Path) -> list[UntrimmedVideo]:
    """Read the videos of `{"database": {id: {"subset", "duration", "annotations": [{"segment", "label"}]}}}`.

    Classes go by name; `label_id` is ignored, since its numbering varies. `UserError` names the invalid video.
    """
    content = read_json(path, dict, "videos")
    videos = content.get("database")
    if not isinstance(videos, dict) or not videos:
        raise UserError(f"{path}: no object 'database' of videos{nearest('database', content)}")
    result = []
    for name, record in videos.items():
        where = f"{path}: {name!r}"
        if not isinstance(record, dict):
            raise UserError(f"{where}: expected a JSON object with 'subset' and 'annotations'")
        subset = parse_subset(record.get("subset", ""), where)
        result.append(parse_video(relative_path(name, where), record, subset, where))
    return result


def parse_video(name: str, record: Mapping[str, Any], subset: str, where: str) -> UntrimmedVideo:
    """Parse the record of one video; `UserError` if it is malformed."""
    annotations = record.get("annotations", [])
    if not isinstance(annotations, list):
        raise UserError(f"{where}: 'annotations' is not a list")
    value = next((record[key] for key in DURATIONS if record.get(key) is not None), None)
    duration = None if value is None else seconds(value, f"{where}: duration")
    actions = tuple(_action(action, f"{where}: action {number}") for number, action in enumerate(annotations))
    fps = None if record.get("fps") is None else seconds(record["fps"], f"{where}: fps")
    return UntrimmedVideo(name, subset, actions, duration or None, where, fps or None)


def _action(record: Any, where: str) -> ListedAction:
    times = record.get("segment") if isinstance(record, dict) else None
    if not isinstance(times, list) or len(times) != 2 or "label" not in record:
        raise UserError(f"{where}: expected a 'segment' [start, end] and a 'label'")
    if type(record["label"]) not in (str, int):
        conform(record["label"], str | int, f"{where}: label")
    label = canonical(str(record["label"]))
    return ListedAction(seconds(times[0], where), seconds(times[1], where), label, where)


@dataclass
class AnnotationIssues:
    """Counts of the actions that were kept and dropped in cleaning."""

    valid: int = 0
    """Actions that were kept."""
    unnamed: int = 0
    """Actions without a class, dropped."""
    empty: int = 0
    """Actions that do not end after their start, dropped."""
    repeated: int = 0
    """Repeated actions, dropped."""
    late: int = 0
    """Actions that end after their video, kept."""
    bare: int = 0
    """Videos without actions, kept."""

    def notes(self) -> Iterator[str]:
        """One sentence per kind of issue that occurred."""
        issues = (
            (self.unnamed, "without a class (ambiguous) dropped"),
            (self.empty, "that do not end after their start dropped"),
            (self.repeated, "listed twice, counted once"),
            (self.late, "that end after their video kept unchanged; no prediction can match the part beyond it"),
        )
        yield from (f"{count} of {self.total} actions {issue}" for count, issue in issues if count)
        if self.bare:
            videos, them = ("video", "it") if self.bare == 1 else ("videos", "them")
            yield f"{self.bare} {videos} without actions kept; every prediction in {them} is a false positive"

    @property
    def total(self) -> int:
        """Number of annotated actions."""
        return self.valid + self.unnamed + self.empty + self.repeated


def clean_actions(video: UntrimmedVideo, index: Callable[[str, str], int], issues: AnnotationIssues) -> Truth:
    """The actions of a video without empty, repeated and ambiguous ones, which are counted in `issues`.

    Follows ActionFormer and the report's repository; the official evaluator does not clean. `index(label, where)` is
    the class index of a name.
    """
    segments: list[Segment] = []
    for action in video.actions:
        if action.label in UNNAMED:
            issues.unnamed += 1
            continue
        label = index(action.label, action.where)
        if action.end <= action.start:
            issues.empty += 1
        elif any(s.label == label and _same_times(s, action) for s in segments):
            issues.repeated += 1
        else:
            issues.late += video.duration is not None and action.end > video.duration + LATE
            segments.append(Segment(action.start, action.end, label))
    issues.valid += len(segments)
    issues.bare += not segments
    return tuple(segments)


def _same_times(one: Segment, other: ListedAction) -> bool:
    return abs(one.start - other.start) <= SAME and abs(one.end - other.end) <= SAME


def localization_dataset(
    name: str,
    sides: Mapping[Side, Sequence[UntrimmedVideo]],
    order: ClassOrder,
    *,
    footage: Footage,
    official_counts: Mapping[str, int],
    notes: Iterable[str] = (),
    fold: str = "train/val",
) -> Dataset[Truth]:
    """The localization dataset of the untrimmed videos of each split; see `video_files.assemble`.

    Videos are found by id, with or without a leading `v_`.
    """
    issues = AnnotationIssues()
    entries = [
        _annotated(v, side, clean_actions(v, order.index, issues)) for side, videos in sides.items() for v in videos
    ]
    return assemble(
        name,
        entries,
        order.classes,
        footage=footage,
        axis="",
        official_counts=official_counts,
        fold=fold,
        kind="localization",
        notes=(*notes, *issues.notes()),
    )


def _annotated(video: UntrimmedVideo, side: Side, truth: Truth) -> AnnotatedVideo[Truth]:
    also = (video.id.removeprefix("v_"), f"v_{video.id}")
    return AnnotatedVideo(
        id=video.id,
        side=side,
        truth=truth,
        file=f"{video.id}.mp4",
        also=also,
        fps=video.fps,
        duration=video.duration,
        where=video.where,
    )


def custom_dataset(name: str, path: Path, footage: Footage) -> Dataset[Truth]:
    """The dataset of a user's JSON file in ActivityNet's format: trained on `training`, tested on `testing`.

    Without training videos the validation videos are trained on, as for THUMOS14; without testing videos they are the
    test set. If no testing video has an action, their labels are taken to be withheld. `UserError` if the training or
    the test set is empty or there is no class.
    """
    subsets: dict[str, list[UntrimmedVideo]] = {"train": [], "val": [], "test": []}
    for v in read_database(path):
        subsets[v.subset].append(v)
    notes = []
    if subsets["test"] and not any(v.actions for v in subsets["test"]) and subsets["val"]:
        notes.append(f"{len(subsets['test'])} testing videos without an action left out: their labels are not public")
        subsets["test"] = []
    train, test = ("train" if subsets["train"] else "val"), ("test" if subsets["test"] else "val")
    if train == test or not subsets[train] or not subsets[test]:
        counts = ", ".join(f"{len(v)} {k}" for k, v in subsets.items() if v)
        raise UserError(f"{path}: both training and test videos are required, but 'subset' gives {counts}")
    classes = sorted({a.label for v in (*subsets[train], *subsets[test]) for a in v.actions} - UNNAMED)
    if not classes:
        raise UserError(f"{path}: no video has an action; list each under 'annotations' as 'segment' and 'label'")
    unused = sum(len(v) for k, v in subsets.items() if k not in (train, test))
    notes += alike_notes(classes, "labels")
    notes += [f"{unused} validation videos left out: training and testing videos suffice"] if unused else []
    sides: dict[Side, list[UntrimmedVideo]] = {"train": subsets[train], "test": subsets[test]}
    return localization_dataset(
        name,
        sides,
        ClassOrder(tuple(classes)),
        footage=footage,
        official_counts={},
        notes=notes,
        fold=f"{train}/{test}",
    )
