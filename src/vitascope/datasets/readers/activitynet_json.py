"""Untrimmed videos and the actions in them: lists in ActivityNet's form read leniently, cleaned, and counted.

What is wrong with a list is not passed over in silence: whatever is dropped or odd is counted in `Dataset.notes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Dataset, Segment
from vitascope.datasets.readers.annotation_files import ClassOrder, document
from vitascope.datasets.readers.video_files import Footage, Listed, Side, assemble, inside

SAME = 1e-3
"""Seconds within which both ends of two actions of one class must lie to be one action listed twice."""
LATE = 0.05
"""Seconds by which an action may end after its video without a word: durations are rounded."""
SUBSETS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
DURATIONS = ("duration", "duration_second")
UNNAMED = frozenset({"Ambiguous"})
"""Labels that say that nobody could tell: never among the classes, dropped and counted."""
Truth = tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class ListedAction:
    """One action as a list has it: seconds, and its class by name."""

    start: float
    end: float
    label: str
    where: str


@dataclass(frozen=True, slots=True)
class Untrimmed:
    """One video as a list has it."""

    id: str
    subset: str
    """`train`, `val`, `test`; empty where the list does not say."""
    actions: tuple[ListedAction, ...]
    duration: float | None = None
    """Seconds."""
    where: str = ""


def seconds(value: Any, where: str) -> float:
    """A time of a list, number or text; ValueError for anything else, and for one before the start of the video."""
    try:
        time = float(value)
    except (TypeError, ValueError):
        time = math.nan
    if not 0 <= time < math.inf:
        raise UserError(f"{where}: {value!r} is no time in seconds from the start of the video")
    return time


def subset(word: Any, where: str) -> str:
    """`train`, `val` or `test`, however it is spelled."""
    known = SUBSETS.get(str(word).strip().lower())
    if known is None:
        raise UserError(
            f"{where}: subset {word!r}{nearest(str(word).lower(), SUBSETS)} is none of training, validation and testing"
        )
    return known


def database(path: Path) -> list[Untrimmed]:
    """The videos of `{"database": {id: {"subset", "duration", "annotations": [{"segment", "label"}]}}}`.

    Classes go by their names; `label_id` is not read, for lists number classes differently. ValueError with the video
    at fault.
    """
    content = document(path, dict, "videos")
    videos = content.get("database")
    if not isinstance(videos, dict) or not videos:
        raise UserError(f"{path}: no table 'database' of videos{nearest('database', content)}")
    found = []
    for name, record in videos.items():
        where = f"{path}: {name!r}"
        if not isinstance(record, dict):
            raise UserError(f"{where}: not a table with 'subset' and 'annotations'")
        found.append(video(inside(name, where), record, subset(record.get("subset", ""), where), where))
    return found


def video(name: str, record: Mapping[str, Any], of: str, where: str) -> Untrimmed:
    """One video of such a list."""
    listed = record.get("annotations", [])
    if not isinstance(listed, list):
        raise UserError(f"{where}: 'annotations' is no list")
    lasting = next((record[key] for key in DURATIONS if record.get(key) is not None), None)
    duration = None if lasting is None else seconds(lasting, f"{where}: duration")
    actions = tuple(_action(action, f"{where}: action {number}") for number, action in enumerate(listed))
    return Untrimmed(name, of, actions, duration or None, where)


def _action(record: Any, where: str) -> ListedAction:
    given = record.get("segment") if isinstance(record, dict) else None
    if not isinstance(given, (list, tuple)) or len(given) != 2 or not isinstance(record.get("label"), (str, int)):
        raise UserError(f"{where}: no 'segment' of two times and 'label'")
    return ListedAction(seconds(given[0], where), seconds(given[1], where), str(record["label"]), where)


@dataclass
class AnnotationIssues:
    """What was odd about the actions of a list."""

    kept: int = 0
    unnamed: int = 0
    empty: int = 0
    repeated: int = 0
    late: int = 0
    bare: int = 0
    """Videos without an action."""

    def notes(self) -> Iterator[str]:
        """The oddities in words, those that there are."""
        said = (
            (self.unnamed, "of no class (ambiguous) dropped"),
            (self.empty, "that end before they start, or as they do, dropped"),
            (self.repeated, "listed twice, counted once"),
            (self.late, "that end after their video kept as they are: nothing can find what lies there"),
        )
        yield from (f"{count} of {self.total} actions {what}" for count, what in said if count)
        if self.bare:
            yield f"{self.bare} videos without an action kept: what is found there is wrong"

    @property
    def total(self) -> int:
        """Actions listed."""
        return self.kept + self.unnamed + self.empty + self.repeated


def cleaned(video: Untrimmed, number: Callable[[str, str], int], tally: AnnotationIssues) -> Truth:
    """The actions of a video, the first of those listed twice, none of no length; what was odd goes into `tally`.

    As ActionFormer and the report's repository clean them (the official evaluator does not). `number(label, where)` is
    the class of a name.
    """
    kept: list[Segment] = []
    for action in video.actions:
        if action.label in UNNAMED:
            tally.unnamed += 1
            continue
        label = number(action.label, action.where)
        if action.end <= action.start:
            tally.empty += 1
        elif any(s.label == label and _same(s, action) for s in kept):
            tally.repeated += 1
        else:
            tally.late += video.duration is not None and action.end > video.duration + LATE
            kept.append(Segment(action.start, action.end, label))
    tally.kept += len(kept)
    tally.bare += not kept
    return tuple(kept)


def _same(one: Segment, other: ListedAction) -> bool:
    return abs(one.start - other.start) <= SAME and abs(one.end - other.end) <= SAME


def localization(
    name: str,
    sides: Mapping[Side, Sequence[Untrimmed]],
    order: ClassOrder,
    *,
    footage: Footage,
    official_counts: Mapping[str, int],
    notes: Iterable[str] = (),
    fold: str = "train/val",
) -> Dataset[Truth]:
    """The dataset of the actions in the videos of each side; see `footage.assemble`.

    Videos are found under their id, with `v_` before it or without.
    """
    tally = AnnotationIssues()
    entries = [_listed(v, side, cleaned(v, order.of, tally)) for side, videos in sides.items() for v in videos]
    return assemble(
        name,
        entries,
        order.classes,
        footage=footage,
        axis="",
        official_counts=official_counts,
        fold=fold,
        kind="localization",
        notes=(*notes, *tally.notes()),
    )


def _listed(video: Untrimmed, side: Side, truth: Truth) -> Listed[Truth]:
    also = (video.id.removeprefix("v_"), f"v_{video.id}")
    return Listed(
        id=video.id,
        side=side,
        truth=truth,
        file=f"{video.id}.mp4",
        also=also,
        duration=video.duration,
        where=video.where,
    )


def own(name: str, path: Path, footage: Footage) -> Dataset[Truth]:
    """Somebody's own list in ActivityNet's form: what is trained on is `training`, tested is `testing` or `validation`.

    Without training videos the validation side is trained on, as THUMOS14 has it. Test videos without a single action
    are taken for a challenge's, and left alone. ValueError where either side is empty or there is no class.
    """
    of: dict[str, list[Untrimmed]] = {"train": [], "val": [], "test": []}
    for v in database(path):
        of[v.subset].append(v)
    notes = []
    if of["test"] and not any(v.actions for v in of["test"]) and of["val"]:
        notes.append(f"{len(of['test'])} testing videos without an action left out: their labels are not public")
        of["test"] = []
    train, test = ("train" if of["train"] else "val"), ("test" if of["test"] else "val")
    if train == test or not of[train] or not of[test]:
        has = ", ".join(f"{len(v)} {k}" for k, v in of.items() if v)
        raise UserError(f"{path}: videos to train on and others to test are needed, it has {has} by 'subset'")
    classes = sorted({a.label for v in (*of[train], *of[test]) for a in v.actions} - UNNAMED)
    if not classes:
        raise UserError(f"{path}: no video has an action; each is a 'segment' and a 'label' under 'annotations'")
    unused = sum(len(v) for k, v in of.items() if k not in (train, test))
    notes += [f"{unused} validation videos left out: training and testing are divided without them"] if unused else []
    sides: dict[Side, list[Untrimmed]] = {"train": of[train], "test": of[test]}
    return localization(
        name,
        sides,
        ClassOrder(tuple(classes)),
        footage=footage,
        official_counts={},
        notes=notes,
        fold=f"{train}/{test}",
    )
