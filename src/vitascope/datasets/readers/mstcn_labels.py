"""Procedures labeled frame by frame, in the layout of MS-TCN: `groundTruth/`, `splits/` and `mapping.txt`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Dataset, Fold, Timeline
from vitascope.datasets.readers.annotation_files import ClassOrder, lines, text_of
from vitascope.datasets.readers.video_files import Footage, Listed, inside, key, placed

TRUTH, SPLITS, MAPPING = "groundTruth", "splits", "mapping.txt"
RATE_FILE = "fps.txt"
"""Of somebody's own labels: one number, the labeled frames per second."""
RATE = 30.0
"""Where nothing is said."""
FASTEST = 1e4
PLACES = ("", "annotations", "data")


@dataclass(frozen=True, slots=True)
class LabelLayout:
    """What is known of a data set in this layout."""

    name: str
    fps: float
    """Labeled frames per second."""
    folds: int = 0
    """As published; 0: as many as there are."""
    folders: tuple[str, ...] = ()
    """Names that its folder goes by."""
    subject: Callable[[str], str | None] = lambda video: None
    """Who is filmed, of the name of a video; no fold divides a subject."""
    file: Callable[[str, Footage], str] = lambda video, footage: f"videos/{video}.avi"
    """Where the authors' copy has a video."""


def home(root: Path, folders: Sequence[str] = ()) -> Path | None:
    """The folder at or below `root` that holds such labels."""
    for place in (*PLACES, *folders):
        if (root / place / TRUTH).is_dir():
            return root / place
    return None


def segmentation(root: Path, layout: LabelLayout) -> Dataset[Timeline]:
    """The dataset of the labels at or below `root`, whatever videos are there. ValueError that names what is wrong."""
    place = home(root, layout.folders)
    if place is None:
        raise UserError(f"{root}: no {TRUTH}/ with one <video>.txt each; {SPLITS}/ and {MAPPING} lie beside it")
    order = classes(place / MAPPING)
    folds = list(_folds(place))
    if layout.folds and len(folds) != layout.folds:
        raise UserError(f"{place / SPLITS}: {len(folds)} splits, {layout.name} has {layout.folds}; get the others too")
    videos = list(dict.fromkeys(i for fold in folds for i in (*fold.train, *fold.test)))
    footage = Footage(root)
    entries = [_listed(video, place, order, layout, footage) for video in videos]
    entries = _whole(entries, folds)
    examples, absent = placed(entries, footage)
    count = len({i for fold in folds for i in fold.test})
    return Dataset(
        name=layout.name,
        key=key(layout.name, root),
        examples=examples,
        classes=order.classes,
        folds=tuple(folds),
        missing_files=absent,
        root=str(root),
        kind="segmentation",
        notes=tuple(_notes(place, videos, count)),
    )


def _notes(place: Path, videos: Sequence[str], tested: int) -> Iterator[str]:
    unlisted = {p.stem for p in (place / TRUTH).glob("*.txt")} - set(videos)
    if unlisted:
        yield f"{len(unlisted)} labeled videos in no split left out, for instance {min(unlisted)}"
    if tested < len(videos):
        yield f"{len(videos) - tested} of {len(videos)} videos are tested in no split"


def own(name: str, root: Path) -> Dataset[Timeline]:
    """Somebody's own labels; the rate in `fps.txt`, else 30 frames per second, which a note then says."""
    place = home(root) or root
    path = place / RATE_FILE
    if path.is_file():
        return segmentation(root, LabelLayout(name, _rate(path)))
    dataset = segmentation(root, LabelLayout(name, RATE))
    said = f"no {RATE_FILE} beside {MAPPING}: {RATE:g} labeled frames per second assumed"
    return replace(dataset, notes=(said, *dataset.notes))


def _rate(path: Path) -> float:
    try:
        fps = float(text_of(path))
    except ValueError:
        fps = 0.0
    if not 0 < fps < FASTEST:
        raise UserError(f"{path}: one number is wanted, the labeled frames per second")
    return fps


def classes(path: Path) -> ClassOrder:
    """The classes of a `mapping.txt`: lines `number name` that count from 0, in any order."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; it has one line `number name` a class, from 0")
    found: dict[int, str] = {}
    for where, line in lines(path):
        number, _, name = line.partition(" ")
        if not number.isdecimal() or not name.strip() or int(number) in found:
            raise UserError(f"{where}: {line!r} is not a new number and the name of its class")
        found[int(number)] = name.strip()
    if sorted(found) != list(range(len(found))) or not found:
        raise UserError(f"{path}: classes are numbered {sorted(found)[:5]} ...; 0 to {len(found) - 1} are wanted")
    return ClassOrder(tuple(found[i] for i in range(len(found))))


def _folds(place: Path) -> Iterator[Fold]:
    tested = {p.stem.partition("split")[2]: p for p in (place / SPLITS).glob("test.split*.bundle")}
    numbers = sorted((int(number), path) for number, path in tested.items() if number.isdecimal())
    if not numbers:
        raise UserError(f"{place / SPLITS}: no test.split1.bundle with train.split1.bundle: lists of <video>.txt")
    for number, path in numbers:
        train = path.with_name(path.name.replace("test", "train", 1))
        if not train.is_file():
            raise UserError(f"{train}: no such file, {path.name} is there; a split is both")
        sides = {side: _bundle(list_) for side, list_ in (("train", train), ("test", path))}
        both = set(sides["train"]) & set(sides["test"])
        if both:
            raise UserError(f"{path}: {min(both)} is tested and trained in split {number}")
        yield Fold(name=f"split {number}", train=sides["train"], test=sides["test"])


def _bundle(path: Path) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for where, line in lines(path):
        video = inside(line, where).removesuffix(".txt").rpartition("/")[2]
        if video in found:
            raise UserError(f"{where}: {video} is listed twice, first in {found[video]}")
        found[video] = where
    if not found:
        raise UserError(f"{path}: lists no video")
    return tuple(found)


def _listed(video: str, place: Path, order: ClassOrder, layout: LabelLayout, footage: Footage) -> Listed[Timeline]:
    path = place / TRUTH / f"{video}.txt"
    if not path.is_file():
        there = [p.stem for p in (place / TRUTH).glob("*.txt")]
        raise UserError(f"{path}: no such file, a split lists {video}{nearest(video, there)}")
    truth = timeline(path, order, layout.fps)
    return Listed(
        id=video,
        side="test",
        truth=truth,
        file=layout.file(video, footage),
        also=(video,),
        group=layout.subject(video),
        duration=truth.frames / layout.fps,
        where=str(path),
    )


def timeline(path: Path, order: ClassOrder, fps: float) -> Timeline:
    """The labels of a video, one a line; ValueError names the first line that is no class."""
    labels = [line.strip() for line in text_of(path).rstrip().split("\n")]
    number: Mapping[str, int] = {name: i for i, name in enumerate(order.classes)}
    runs: list[tuple[int, int]] = []
    at = 1
    for name, run in groupby(labels):
        if name not in number:
            what = f"{name!r}{nearest(name, number)}" if name else "an empty line"
            raise UserError(f"{path}:{at}: {what}; no class of {MAPPING}, one label a frame is wanted")
        runs.append((number[name], sum(1 for _ in run)))
        at += runs[-1][1]
    return Timeline(tuple(runs), fps)


def _whole(entries: Sequence[Listed[Timeline]], folds: Sequence[Fold]) -> list[Listed[Timeline]]:
    """`entries` without groups, where a split of the authors divides one."""
    group = {e.id: e.group for e in entries}
    divided = any({group[i] for i in f.train} & {group[i] for i in f.test} - {None} for f in folds)
    return [replace(e, group=None) if divided else e for e in entries]
