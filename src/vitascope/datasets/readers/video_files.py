"""Build a `Dataset` from annotated examples: scan the folder once, and find the video of each example by name.

Copies of a dataset differ in folders, spelling and formats but rarely in file names, so a video is looked up by its
name without extension; of several with one name, the one whose folders best match the authors' is taken.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from vitascope.core.errors import UserError
from vitascope.core.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_clutter, stem, suffix
from vitascope.core.names import NameIndex, case_note, loose
from vitascope.core.types import Dataset, Example, Fold, Kind, Span, digest
from vitascope.datasets.readers.ignored import Ignored
from vitascope.video.segment_folder import is_segment

LONGEST_NAME = 255
"""Bytes of a file name; file systems refuse longer ones."""
FRAME = re.compile(rf"\d{{3,}}\.(?:{'|'.join(sorted(s[1:] for s in IMAGE_SUFFIXES))})$", re.IGNORECASE)
"""End of the name of an extracted frame: a folder whose first file matches is a video, and is not searched further."""
FIRST = 3
"""Entries of a folder by which frames are recognized."""
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
    """Index of the videos below a folder by name without extension; with `frames`, also of folders of frames.

    A folder with one of `names` that begins with a frame is not read to its end: it may have tens of thousands. Nor is
    one that begins with a file called after a second, which is a part of the video.
    """

    def __init__(self, root: Path, *, frames: bool = False, names: Collection[str] = ()) -> None:
        self.root = root
        self._first: dict[str, str] = {}
        self._more: dict[str, list[str]] = {}
        for path in walk(root, frames=frames, names=names):
            name = stem(path)
            if name in self._first:
                self._more.setdefault(name, []).append(path)
            else:
                self._first[name] = path
        self.names = NameIndex(self._first)
        self.tied: dict[str, tuple[str, str]] = {}
        """Two files of one name, of which no folder says which is meant: the one that is used, and another."""

    @property
    def paths(self) -> list[str]:
        """The videos, relative to the folder."""
        return [*self._first.values(), *(path for paths in self._more.values() for path in paths)]

    def find(self, file: str, also: Sequence[str] = ()) -> str | None:
        """The path below the root of the video that the authors distribute as `file`; None if it is missing.

        `UserError` if two names fit equally well.
        """
        names = (stem(file), *also)
        name = next((n for n in names if n in self._first), None)
        name = name or next((found for n in names if (found := self.names.find(n, str(self.root)))), None)
        return None if name is None else self._best_match(file, name)

    def _best_match(self, file: str, name: str) -> str:
        if name not in self._more:
            return self._first[name]
        official = folder_names(file)
        ranked = sorted(
            (-len(official & folder_names(path)), path.count("/"), path)
            for path in (self._first[name], *self._more[name])
        )
        if ranked[0][0] == ranked[1][0]:
            self.tied[name] = (ranked[0][2], ranked[1][2])
        return ranked[0][2]

    def forget(self) -> None:
        """Forget what earlier searches found inexactly, as when several names were tried."""
        self.names.by_case.clear()
        self.tied.clear()

    def notes(self) -> tuple[str, ...]:
        """Notes on videos that were found regardless of capitals only, or are one of several of their name."""
        notes = [case_note(self.names.by_case, "videos")] if self.names.by_case else []
        if self.tied:
            taken, other = next(iter(self.tied.values()))
            notes.append(
                f"{len(self.tied)} videos have several files of one name: e.g. {taken} is used, {other} is not"
            )
        return tuple(notes)


def folder_names(path: str) -> set[str]:
    """The folder names of a path in loose spelling."""
    return {loose(part) for part in path.split("/")[:-1]}


def walk(
    root: Path,
    *,
    frames: bool = False,
    pictures: bool = False,
    ignored: Ignored | None = None,
    names: Collection[str] = (),
) -> Iterator[str]:
    """The videos below `root` and, with `frames`, the folders of frames; with `pictures`, the images instead.

    Paths are relative to `root`, in no particular order. A folder of frames has numbered images and no video; only
    videos are searched below it. Only directories are read, no file is opened; other files are added to `ignored`.
    Of a folder with one of `names` and frames, or files called after seconds, only the beginning is read.
    """
    extensions = IMAGE_SUFFIXES if pictures else VIDEO_SUFFIXES
    visited = {os.path.realpath(root)}
    queue = [("", frames)]
    while queue:
        below, with_frames = queue.pop()
        if with_frames and below.rpartition("/")[2] in names and _begins_with_part(root, below):
            yield below
            continue
        files, folders = _entries(root, below, visited)
        media = [name for name in files if suffix(name) in extensions]
        framed = bool(below) and not pictures and not media and any(map(FRAME.search, files))
        if framed and with_frames:
            yield below
        yield from (_join(below, name) for name in media if not is_clutter(name))
        queue += [(_join(below, name), with_frames and not framed) for name in folders]
        if ignored is not None and not framed:
            ignored.add_files(below, sorted({*files} - {*media}))


def _begins_with_part(root: Path, folder: str) -> bool:
    """Whether one of the first entries of a folder, as the system lists them, is a frame or a second of a video."""
    with os.scandir(os.path.join(root, folder)) as entries:
        return any(FRAME.search(entry.name) or is_segment(entry.name) for entry in islice(entries, FIRST))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _entries(root: Path, below: str, visited: set[str]) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders not yet visited in a folder; hidden and special files are left out."""
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(os.path.join(root, below)) as entries:
        for entry in entries:
            if entry.is_dir():
                if not is_clutter(entry.name) and (not entry.is_symlink() or _is_new(entry.path, visited)):
                    folders.append(entry.name)
            elif entry.is_file() or entry.is_symlink():
                files.append(entry.name)
    return files, folders


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
    if "\0" in path or any(len(os.fsencode(part)) > LONGEST_NAME for part in path.split("/")):
        raise UserError(f"{where}: {file!r:.80} is no file name: names have at most {LONGEST_NAME} bytes")
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
    notes += footage.notes()
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
    footage.forget()
    paths = _drop_shared(entries, [footage.find(e.file, e.also) for e in entries], footage)
    examples: list[Example[T]] = []
    missing: dict[str, str] = {}
    for e, path in zip(entries, paths, strict=True):
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


def _drop_shared(
    entries: Sequence[AnnotatedVideo[Any]], paths: Sequence[str | None], footage: Footage
) -> list[str | None]:
    """`paths` without those found regardless of capitals only that are also another entry's."""
    by_case = footage.names.by_case
    if not by_case:
        return list(paths)
    claims: dict[str | None, set[str]] = {}
    for e, path in zip(entries, paths, strict=True):
        claims.setdefault(path, set()).add(stem(e.file))
    kept: list[str | None] = []
    for e, path in zip(entries, paths, strict=True):
        inexact = by_case.keys() & {stem(e.file), *e.also} if len(claims[path]) > 1 else set()
        for name in inexact:
            del by_case[name]
        kept.append(None if inexact else path)
    return kept


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
