"""Read frame-wise action labels in the MS-TCN layout: `groundTruth/`, `splits/` and `mapping.txt`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.names import alike_notes, canonical
from vitascope.core.text import nearest, whole_number
from vitascope.core.types import Dataset, Fold, Timeline
from vitascope.datasets.readers.annotation_files import ClassOrder, lines, text_of
from vitascope.datasets.readers.video_files import (
    AnnotatedVideo,
    Footage,
    locate_videos,
    relative_path,
    store_key,
)

TRUTH, SPLITS, MAPPING = "groundTruth", "splits", "mapping.txt"
RATE_FILE = "fps.txt"
"""File of a user's own dataset with one number, the rate of the labels in frames per second."""
NO_RATE_FILE = f"no {RATE_FILE}"
"""First words of the note that the rate is assumed."""
RATE = 30.0
"""Default rate of the labels, frames per second."""
MAX_RATE = 1e4
PLACES = ("", "annotations", "data")


@dataclass(frozen=True, slots=True)
class LabelLayout:
    """The properties of a dataset in the MS-TCN layout."""

    name: str
    fps: float
    """Rate of the labels, frames per second."""
    folds: int = 0
    """Number of official splits; 0 accepts any number."""
    folders: tuple[str, ...] = ()
    """Names of the folder of the labels below the root."""
    subject: Callable[[str], str | None] = lambda video: None
    """Subject from the name of a video; no fold divides a subject."""
    file: Callable[[str, Footage], str] = lambda video, footage: f"videos/{video}.avi"
    """Path of a video in the authors' distribution."""


def find_labels(root: Path, folders: Sequence[str] = ()) -> Path | None:
    """The folder at or below `root` that contains `groundTruth/`, or None."""
    for place in (*PLACES, *folders):
        if (root / place / TRUTH).is_dir():
            return root / place
    return None


def segmentation_dataset(root: Path, layout: LabelLayout) -> Dataset[Timeline]:
    """The dataset of the labels at or below `root`; videos may be missing. `UserError` names what is invalid."""
    place = find_labels(root, layout.folders)
    if place is None:
        raise UserError(f"{root}: no folder {TRUTH}/ with one <video>.txt per video, beside {SPLITS}/ and {MAPPING}")
    order = read_classes(place / MAPPING)
    folds = list(read_folds(place))
    if layout.folds and len(folds) != layout.folds:
        raise UserError(f"{place / SPLITS}: {len(folds)} splits, but {layout.name} has {layout.folds}; add the others")
    videos = list(dict.fromkeys(i for fold in folds for i in (*fold.train, *fold.test)))
    footage = Footage(root)
    entries = [_annotated(video, place, order, layout, footage) for video in videos]
    entries = _drop_divided_groups(entries, folds)
    examples, missing = locate_videos(entries, footage)
    count = len({i for fold in folds for i in fold.test})
    return Dataset(
        name=layout.name,
        key=store_key(layout.name, root),
        examples=examples,
        classes=order.classes,
        folds=tuple(folds),
        missing_files=missing,
        root=str(root),
        kind="segmentation",
        notes=(
            *alike_notes(order.classes, "labels"),
            *_notes(place, videos, count if len(folds) > 1 else len(videos)),
            *footage.notes(),
        ),
    )


def _notes(place: Path, videos: Sequence[str], tested: int) -> Iterator[str]:
    unlisted = {p.stem for p in (place / TRUTH).glob("*.txt")} - set(videos)
    if unlisted:
        yield f"{len(unlisted)} labeled videos in no split left out, e.g. {min(unlisted)}"
    if tested < len(videos):
        yield f"{len(videos) - tested} of {len(videos)} videos are for training only: none of the splits tests them"


def custom_dataset(name: str, root: Path) -> Dataset[Timeline]:
    """The dataset of a user's own labels, at the rate in `fps.txt` or else at 30 frames per second, with a note."""
    place = find_labels(root) or root
    path = place / RATE_FILE
    if path.is_file():
        return segmentation_dataset(root, LabelLayout(name, _read_rate(path)))
    dataset = segmentation_dataset(root, LabelLayout(name, RATE))
    note = f"{NO_RATE_FILE} beside {MAPPING}: {RATE:g} labels per second assumed"
    return replace(dataset, notes=(note, *dataset.notes))


def _read_rate(path: Path) -> float:
    try:
        fps = float(text_of(path))
    except ValueError:
        fps = 0.0
    if not 0 < fps < MAX_RATE:
        raise UserError(f"{path}: expected one number, the labels per second")
    return fps


def read_classes(path: Path) -> ClassOrder:
    """The classes of a `mapping.txt`: lines `number name` in any order, numbered from 0."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; write one line `number name` per class, numbered from 0")
    names: dict[int, str] = {}
    for where, line in lines(path):
        number, name = (*canonical(line).split(None, 1), "")[:2]
        index = whole_number(number)
        if index is None or index < 0 or not name or index in names:
            raise UserError(f"{where}: {line!r:.80} is not an unused number followed by a class name")
        if name in names.values():
            raise UserError(f"{where}: the class {name!r} is listed twice; give every class its own name")
        names[index] = name
    if sorted(names) != list(range(len(names))) or not names:
        raise UserError(f"{path}: classes are numbered {sorted(names)[:5]} ...; expected 0 to {len(names) - 1}")
    return ClassOrder(tuple(names[i] for i in range(len(names))))


def read_folds(place: Path) -> Iterator[Fold]:
    """The splits in `place`, the folder of `groundTruth/`; `UserError` if there are none."""
    bundles = {p.stem.partition("split")[2]: p for p in (place / SPLITS).glob("test.split*.bundle")}
    numbers = sorted((int(number), path) for number, path in bundles.items() if number.isdecimal())
    if not numbers:
        raise UserError(f"{place / SPLITS}: no train.split1.bundle and test.split1.bundle (lists of <video>.txt)")
    for number, path in numbers:
        train = path.with_name(path.name.replace("test", "train", 1))
        if not train.is_file():
            raise UserError(f"{train}: no such file; {path.name} needs its training list")
        sides = {side: _read_bundle(list_) for side, list_ in (("train", train), ("test", path))}
        both = set(sides["train"]) & set(sides["test"])
        if both:
            raise UserError(f"{path}: {min(both)} is in both training and test of split {number}")
        yield Fold(name=f"split {number}", train=sides["train"], test=sides["test"])


def _read_bundle(path: Path) -> tuple[str, ...]:
    videos: dict[str, str] = {}
    for where, line in lines(path):
        video = relative_path(line, where).removesuffix(".txt").rpartition("/")[2]
        if video in videos:
            raise UserError(f"{where}: {video} is listed twice, first in {videos[video]}")
        videos[video] = where
    if not videos:
        raise UserError(f"{path}: lists no videos")
    return tuple(videos)


def _annotated(
    video: str, place: Path, order: ClassOrder, layout: LabelLayout, footage: Footage
) -> AnnotatedVideo[Timeline]:
    path = _label_file(video, place / TRUTH)
    truth = read_timeline(path, order, layout.fps)
    return AnnotatedVideo(
        id=video,
        side="test",
        truth=truth,
        file=layout.file(video, footage),
        also=(video,),
        group=layout.subject(video),
        duration=truth.frames / layout.fps,
        where=str(path),
    )


def _label_file(video: str, folder: Path) -> Path:
    """The file with the labels of a video; its name may be in the other Unicode normal form."""
    path = folder / f"{video}.txt"
    if path.is_file():
        return path
    labeled = {canonical(p.stem): p for p in folder.glob("*.txt")}
    if canonical(video) not in labeled:
        raise UserError(f"{path}: no such file, but a split lists {video}{nearest(video, labeled)}")
    return labeled[canonical(video)]


def read_timeline(path: Path, order: ClassOrder, fps: float) -> Timeline:
    """Read the labels of a video, one line per frame; `UserError` names the first line that is not a class."""
    labels = text_of(path).rstrip().split("\n")
    codes = order.codes(labels)
    unknown = np.flatnonzero(codes < 0)
    if unknown.size:
        name = canonical(labels[unknown[0]])
        problem = f"{name!r} is not a class of {MAPPING}{nearest(name, order.classes)}" if name else "the line is empty"
        raise UserError(f"{path}:{unknown[0] + 1}: expected one label per frame, but {problem}")
    first = np.flatnonzero(np.diff(codes, prepend=-1))
    runs = zip(codes[first].tolist(), np.diff(first, append=len(codes)).tolist(), strict=True)
    return Timeline(tuple(runs), fps)


def _drop_divided_groups(
    entries: Sequence[AnnotatedVideo[Timeline]], folds: Sequence[Fold]
) -> list[AnnotatedVideo[Timeline]]:
    """`entries` without groups if an official split divides one."""
    group = {e.id: e.group for e in entries}
    divided = any({group[i] for i in f.train} & {group[i] for i in f.test} - {None} for f in folds)
    return [replace(e, group=None) if divided else e for e in entries]
