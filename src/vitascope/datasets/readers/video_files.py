"""From annotated examples to a `Dataset`: the folder is read once, and each example finds its video by name.

Copies of a data set differ in folders, spaces and formats, hardly ever in the names of the files. So a video is looked
for by its name without the ending; where several bear it, the one whose folders are most like the authors' is meant.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Example, Fold, Kind, Span, digest
from vitascope.datasets.readers.annotation_files import same

VIDEO = "mp4 m4v mov mkv webm avi flv wmv ts mts mpg mpeg 3gp ogv y4m 264 h264 265 h265 gif"
IMAGE = "jpg jpeg png bmp webp tif tiff"
MEDIA = frozenset(f".{suffix}" for suffix in f"{VIDEO} {IMAGE}".split())
VIDEOS = frozenset(f".{suffix}" for suffix in VIDEO.split())
PICTURES = frozenset(f".{suffix}" for suffix in IMAGE.split())
FRAME = re.compile(rf"\d{{3,}}\.(?:{'|'.join(IMAGE.split())})$", re.IGNORECASE)
"""How the name of a frame ends: a folder whose first file is one is a video, and is not looked into."""
Side: TypeAlias = Literal["train", "test"]
SIDES: tuple[Side, Side] = ("train", "test")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Generic[T]):
    """One annotated example, and where its video lies in the copy that the authors distribute."""

    id: str
    side: Side
    truth: T
    file: str
    """Below the root, with forward slashes."""
    also: tuple[str, ...] = ()
    """Other names, without ending, that the file goes by."""
    span: Span | None = None
    group: str | None = None
    fps: float | None = None
    duration: float | None = None
    """Seconds."""
    where: str = ""
    """The line that lists it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledVideo(Listed[int]):
    """One that has a class."""


class Footage:
    """The videos below a folder, by name without ending; with `frames`, folders of frames too."""

    def __init__(self, root: Path, *, frames: bool = False) -> None:
        self.root = root
        self._first: dict[str, str] = {}
        self._more: dict[str, list[str]] = {}
        for path in walk(root, frames=frames):
            name = stem(path)
            if name in self._first:
                self._more.setdefault(name, []).append(path)
            else:
                self._first[name] = path

    def find(self, file: str, also: Sequence[str] = ()) -> str | None:
        """The path below the root of the video that the authors call `file`; None where there is none."""
        for name in (stem(file), *also):
            if name in self._first:
                return self._likest(file, name)
        return None

    def _likest(self, file: str, name: str) -> str:
        if name not in self._more:
            return self._first[name]
        theirs = folders(file)
        return min(
            (self._first[name], *self._more[name]),
            key=lambda path: (-len(theirs & folders(path)), path.count("/"), path),
        )


def folders(path: str) -> set[str]:
    """The folders of a path as everybody spells them."""
    return {same(part) for part in path.split("/")[:-1]}


def stem(path: str) -> str:
    """The name of a file without the ending of a video; dots in it may mean something else."""
    name = path.rpartition("/")[2]
    front, dot, ending = name.rpartition(".")
    return front if front and f"{dot}{ending.lower()}" in VIDEOS else name


def walk(root: Path, *, frames: bool = False, pictures: bool = False) -> Iterator[str]:
    """The videos below `root`, and with `frames` the folders of frames; with `pictures`, the pictures instead.

    Paths are relative to `root`, in no order. No file is opened or asked for its size.
    """
    endings = PICTURES if pictures else VIDEOS
    met = {os.path.realpath(root)}
    left = [""]
    while left:
        below = left.pop()
        deeper: list[str] = []
        first = True
        with os.scandir(os.path.join(root, below)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = f"{below}/{entry.name}" if below else entry.name
                if entry.is_dir():
                    if not entry.is_symlink() or _is_new(entry.path, met):
                        deeper.append(path)
                    continue
                if first and below and not pictures and FRAME.search(entry.name):
                    if frames:
                        yield below
                    deeper = []
                    break
                first = False
                if os.path.splitext(entry.name)[1].lower() in endings:
                    yield path
        left += deeper


def _is_new(link: str, met: set[str]) -> bool:
    """Whether a link leads to a folder not met by link before: links may go in a circle."""
    real = os.path.realpath(link)
    new = real not in met
    met.add(real)
    return new


def inside(file: str, where: str) -> str:
    """A path from somebody's list, canonical. One that climbs out of the root is refused.

    Lists made elsewhere hold absolute paths: of those the last two folders are kept, for the file is found by name.
    """
    path = posixpath.normpath(file.replace("\\", "/"))
    if path.startswith("/") or re.match(r"[A-Za-z]:/|\w+:/", path):
        return "/".join(path.strip("/").split("/")[-3:])
    if path == ".." or path.startswith("../"):
        raise UserError(f"{where}: {file!r} lies outside the folder of the data set; move the videos in, or link them")
    return path


def assemble(
    name: str,
    entries: Sequence[Listed[T]],
    classes: tuple[str, ...],
    *,
    footage: Footage,
    axis: Literal["appearance", "motion", ""],
    official_counts: Mapping[str, int],
    fold: str = "train/val",
    kind: Kind = "recognition",
    notes: tuple[str, ...] = (),
) -> Dataset[T]:
    """The dataset of `entries`, those without a video in `absent`; ValueError for an id listed twice, an empty side.

    An official split may train a class that it does not test, or the other way about. A group that it puts on both
    sides is none: groups are what no fold divides.
    """
    _unique(entries, footage.root)
    for side in SIDES:
        if not any(e.side == side for e in entries):
            raise UserError(f"{footage.root}: the annotations of {name} list no {side} example")
    examples, absent = placed(entries, footage)
    sides = {side: tuple(e.id for e in entries if e.side == side) for side in SIDES}
    return Dataset(
        name=name,
        key=key(name, footage.root),
        examples=examples,
        classes=classes,
        folds=(Fold(name=fold, train=sides["train"], test=sides["test"]),),
        axis=axis,
        missing_files=absent,
        root=str(footage.root),
        official_counts=dict(official_counts),
        kind=kind,
        notes=notes,
    )


def placed(entries: Sequence[Listed[T]], footage: Footage) -> tuple[tuple[Example[T], ...], dict[str, str]]:
    """The examples with their videos, and those whose video is not there: {id: why}."""
    divided = _divided(entries)
    examples: list[Example[T]] = []
    absent: dict[str, str] = {}
    for e in entries:
        path = footage.find(e.file, e.also)
        if path is None:
            absent[e.id] = f"no {stem(e.file)} below {footage.root}"
        examples.append(
            Example(
                id=e.id,
                path=f"{footage.root}/{path or e.file}",
                truth=e.truth,
                span=e.span,
                group=None if e.group in divided else e.group,
                fps=e.fps,
                duration=e.duration,
            )
        )
    return tuple(examples), absent


def key(name: str, root: Path) -> str:
    """What the store files vectors under: one for all variants, which ask the same videos other questions."""
    return f"{name.partition('/')[0]}-{digest(str(root.resolve()))[:8]}"


def _unique(entries: Iterable[Listed[Any]], root: Path) -> None:
    seen: dict[str, str] = {}
    for e in entries:
        if e.id in seen:
            raise UserError(f"{e.where or root}: {e.id!r} is listed twice; first in {seen[e.id] or root}")
        seen[e.id] = e.where


def _divided(entries: Sequence[Listed[Any]]) -> set[str | None]:
    """The groups that stand on both sides."""
    pairs = {(e.group, e.side) for e in entries if e.group is not None}
    return {group for group, count in Counter(group for group, _ in pairs).items() if count > 1}


def present(dataset: Dataset[T]) -> Dataset[T]:
    """`dataset`, of which at least one video must be there; ValueError that says where the first should be."""
    if len(dataset.missing_files) == len(dataset.examples):
        raise UserError(
            f"{dataset.root}: {dataset.name} lists {len(dataset.examples):,} videos and none of them is there; the "
            f"first is {dataset.examples[0].path}, or anywhere below under that name"
        )
    return dataset
