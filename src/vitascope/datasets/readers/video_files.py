"""Build a `Dataset` from annotated examples: scan the folder once, and find the video of each example by name.

Copies of a dataset differ in folders, spelling and formats but rarely in file names, so a video is looked up by its
name without extension; of several with one name, the one whose folders best match the authors' is taken.
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
from vitascope.core.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from vitascope.core.types import Dataset, Example, Fold, Kind, Span, digest
from vitascope.datasets.readers.annotation_files import normalized

FRAME = re.compile(rf"\d{{3,}}\.(?:{'|'.join(sorted(s[1:] for s in IMAGE_SUFFIXES))})$", re.IGNORECASE)
"""End of the name of an extracted frame: a folder whose first file matches is a video, and is not searched further."""
Side: TypeAlias = Literal["train", "test"]
SIDES: tuple[Side, Side] = ("train", "test")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedVideo(Generic[T]):
    """One annotated example, and the location of its video in the authors' distribution."""

    id: str
    side: Side
    truth: T
    file: str
    """Path relative to the root, with forward slashes."""
    also: tuple[str, ...] = ()
    """Alternative file names, without extension."""
    span: Span | None = None
    """Start and end of the example in its video, seconds."""
    group: str | None = None
    """Source video, subject or session, which no fold divides."""
    fps: float | None = None
    """Frame rate of a folder of frames, frames per second."""
    duration: float | None = None
    """Duration of the video, seconds."""
    where: str = ""
    """Location of the annotation, for error messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledVideo(AnnotatedVideo[int]):
    """An annotated video whose truth is a class index."""


class Footage:
    """Index of the videos below a folder by name without extension; with `frames`, also of folders of frames."""

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
        """The path below the root of the video that the authors distribute as `file`; None if it is missing."""
        for name in (stem(file), *also):
            if name in self._first:
                return self._best_match(file, name)
        return None

    def _best_match(self, file: str, name: str) -> str:
        if name not in self._more:
            return self._first[name]
        official = folder_names(file)
        return min(
            (self._first[name], *self._more[name]),
            key=lambda path: (-len(official & folder_names(path)), path.count("/"), path),
        )


def folder_names(path: str) -> set[str]:
    """The folder names of a path in normalized spelling."""
    return {normalized(part) for part in path.split("/")[:-1]}


def stem(path: str) -> str:
    """The name of a file without a video extension; other dots are part of the name."""
    name = path.rpartition("/")[2]
    front, dot, ending = name.rpartition(".")
    return front if front and f"{dot}{ending.lower()}" in VIDEO_SUFFIXES else name


def walk(root: Path, *, frames: bool = False, pictures: bool = False) -> Iterator[str]:
    """The videos below `root` and, with `frames`, the folders of frames; with `pictures`, the images instead.

    Paths are relative to `root`, in no particular order. Only directories are read, no file is opened.
    """
    extensions = IMAGE_SUFFIXES if pictures else VIDEO_SUFFIXES
    visited = {os.path.realpath(root)}
    queue = [""]
    while queue:
        below = queue.pop()
        deeper: list[str] = []
        first = True
        with os.scandir(os.path.join(root, below)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = f"{below}/{entry.name}" if below else entry.name
                if entry.is_dir():
                    if not entry.is_symlink() or _is_new(entry.path, visited):
                        deeper.append(path)
                    continue
                if first and below and not pictures and FRAME.search(entry.name):
                    if frames:
                        yield below
                    deeper = []
                    break
                first = False
                if os.path.splitext(entry.name)[1].lower() in extensions:
                    yield path
        queue += deeper


def _is_new(link: str, visited: set[str]) -> bool:
    """True for a link to a folder not yet visited, which it then is: links may be cyclic."""
    real = os.path.realpath(link)
    new = real not in visited
    visited.add(real)
    return new


def relative_path(file: str, where: str) -> str:
    """Normalize a path from a list; `UserError` if it leaves the root.

    Of an absolute path, which stems from another machine, the file and its last two folders are kept: files are looked
    up by name.
    """
    path = posixpath.normpath(file.replace("\\", "/"))
    if path.startswith("/") or re.match(r"[A-Za-z]:/|\w+:/", path):
        return "/".join(path.strip("/").split("/")[-3:])
    if path == ".." or path.startswith("../"):
        raise UserError(f"{where}: {file!r} is outside the folder of the dataset; move or link the videos into it")
    return path


def assemble(
    name: str,
    entries: Sequence[AnnotatedVideo[T]],
    classes: tuple[str, ...],
    *,
    footage: Footage,
    axis: Literal["appearance", "motion", ""],
    official_counts: Mapping[str, int],
    fold: str = "train/val",
    kind: Kind = "recognition",
    notes: tuple[str, ...] = (),
) -> Dataset[T]:
    """The dataset of `entries`; `UserError` for a repeated id or an empty split. Missing videos become `missing_files`.

    An official split may have classes only in training or only in test. A group that it divides is dropped, since no
    fold may divide a group.
    """
    _check_unique(entries, footage.root)
    for side in SIDES:
        if not any(e.side == side for e in entries):
            raise UserError(f"{footage.root}: the annotations of {name} list no {side} examples")
    examples, missing = locate_videos(entries, footage)
    divided = _groups_on_both_sides(entries)
    sides = {side: tuple(e.id for e in entries if e.side == side) for side in SIDES}
    return Dataset(
        name=name,
        key=store_key(name, footage.root),
        examples=examples,
        classes=classes,
        folds=(Fold(name=fold, train=sides["train"], test=sides["test"]),),
        axis=axis,
        missing_files=missing,
        root=str(footage.root),
        official_counts=dict(official_counts),
        kind=kind,
        notes=notes,
        divided_groups={e.id: e.group for e in entries if e.group is not None and e.group in divided},
    )


def locate_videos(
    entries: Sequence[AnnotatedVideo[T]], footage: Footage
) -> tuple[tuple[Example[T], ...], dict[str, str]]:
    """The examples with the paths of their videos, and the missing videos as {id: reason}."""
    divided = _groups_on_both_sides(entries)
    examples: list[Example[T]] = []
    missing: dict[str, str] = {}
    for e in entries:
        path = footage.find(e.file, e.also)
        if path is None:
            missing[e.id] = f"no {stem(e.file)} below {footage.root}"
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
    return tuple(examples), missing


def store_key(name: str, root: Path) -> str:
    """Key of the dataset's vectors in the store, shared by all variants, since they label the same videos."""
    return f"{name.partition('/')[0]}-{digest(str(root.resolve()))[:8]}"


def _check_unique(entries: Iterable[AnnotatedVideo[Any]], root: Path) -> None:
    listed: dict[str, str] = {}
    for e in entries:
        if e.id in listed:
            raise UserError(f"{e.where or root}: {e.id!r} is listed twice; first in {listed[e.id] or root}")
        listed[e.id] = e.where


def _groups_on_both_sides(entries: Sequence[AnnotatedVideo[Any]]) -> set[str | None]:
    """The groups with both training and test examples."""
    pairs = {(e.group, e.side) for e in entries if e.group is not None}
    return {group for group, count in Counter(group for group, _ in pairs).items() if count > 1}


def require_videos(dataset: Dataset[T]) -> Dataset[T]:
    """Return `dataset` if at least one of its videos exists; otherwise raise `UserError` with an expected path."""
    if len(dataset.missing_files) == len(dataset.examples):
        raise UserError(
            f"{dataset.root}: none of the {len(dataset.examples):,} videos of {dataset.name} was found; expected e.g. "
            f"{dataset.examples[0].path}, or a file of that name anywhere below the folder"
        )
    return dataset
