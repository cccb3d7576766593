"""Folders of class folders: everything met below them is an example, or ignored and named, or refused.

Below the folder, or below the only folder in it that has videos, are `train/` and `val/` (or `test/`) with class
folders, or class folders. A class folder holds videos, folders of frames or images, and folders of them, which are then
splits by their names, or groups: all their videos come from one person or recording.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.media import FRAME_SUFFIXES, STILL_SUFFIXES, is_clutter, kind_of, stem, suffix
from vitascope.core.names import both, canonical, folded, split_of
from vitascope.datasets.readers.ignored import Ignored
from vitascope.datasets.readers.listing import VideoRow

RESULTS = "results.jsonl"
"""File in the folder of a run, which may have been written beside the videos."""
MAX_RUNS = 100
"""Number of folders in a folder of runs; more are not looked into."""
NOT_PIXELS = re.compile(r"(optical_?)?flow(_?[xy])?|masks?|depths?|seg(mentation)?s?|annotations?")
"""Names of folders beside those of the frames (`PIXELS`) whose images are not frames."""
PIXELS = frozenset(("rgb", "frames", "images", "img", "imgs", "videos", "video", "clips"))
MARK = re.compile(
    r"[ ._-]+(thumb(nail)?s?|preview|poster|cover|snapshot|storyboard|\w*resdefault|\w*qdefault|\d{1,2})$"
)
"""What a thumbnail's name may have after that of its video."""


@dataclass
class Folder:
    """What is in one folder; `path` is relative to the root, empty for the root itself."""

    root: Path
    path: str
    real: str
    """The path without links."""
    above: frozenset[str] = frozenset()
    """Real paths of the folders above, as links may be cyclic."""
    videos: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Names of the other files, and of hidden folders."""
    folders: list[str] = field(default_factory=list)
    links: set[str] = field(default_factory=set)
    """Those of the folders that are links."""
    special: list[str] = field(default_factory=list)
    """Names of pipes, devices and sockets."""

    def __post_init__(self) -> None:
        with os.scandir(self.root / self.path) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                self._list_of(entry).append(entry.name)

    def _list_of(self, entry: os.DirEntry[str]) -> list[str]:
        if is_clutter(entry.name):
            return self.others
        if entry.is_dir():
            self.links |= {entry.name} if entry.is_symlink() else set()
            return self.folders
        if not (entry.is_file() or entry.is_symlink()):
            return self.special
        kind = kind_of(entry.name)
        return self.videos if kind == "video" else self.images if kind == "image" else self.others

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.rpartition("/")[2]

    @property
    def has_frames(self) -> bool:
        """Whether the folder is one of images, of any kind that frames can have."""
        return not self.videos and (bool(self.images) or any(suffix(n) in FRAME_SUFFIXES for n in self.others))

    def join(self, name: str) -> str:
        """The path of something in the folder, relative to the root."""
        return f"{self.path}/{name}" if self.path else name

    def below(self) -> Iterator[Folder]:
        """The folders in it, except links to one of those above and the results of a run."""
        above = self.above | {self.real}
        for name in self.folders:
            real = os.path.join(self.real, name)
            real = os.path.realpath(real) if name in self.links else real
            if real not in above:
                folder = Folder(self.root, self.join(name), real, above)
                if not folder.is_run():
                    yield folder

    def is_run(self) -> bool:
        """Whether the folder holds results of this package."""
        runs = self.folders if len(self.folders) <= MAX_RUNS and not self.videos and not self.images else ()
        return RESULTS in self.others or any((self.root / self.join(n) / RESULTS).exists() for n in runs)

    def has_media(self) -> bool:
        """Whether a video or an image is in it or below."""
        return bool(self.videos) or self.has_frames or any(f.has_media() for f in self.below())

    def has_videos(self) -> bool:
        """Whether a video is in it or below."""
        return bool(self.videos) or any(f.has_videos() for f in self.below())


@dataclass
class ClassFolders:
    """The examples of a folder of class folders, how they were found, and what was ignored."""

    root: Path
    rows: list[VideoRow] = field(default_factory=list)
    layout: str = "class folders"
    ignored: Ignored = field(default_factory=Ignored)
    notes: list[str] = field(default_factory=list)
    kinds: dict[str, list[str]] = field(default_factory=dict)
    """The examples by kind: videos, folders of frames, images."""

    def read(self) -> None:
        """Find the examples; `UserError` names folders that cannot be understood in one way."""
        media = self._descend()
        splits = self._splits(media)
        for split, folder in splits.items():
            self._ignore_files(folder, [*folder.videos, *folder.images])
            for one in self._with_media(folder):
                self._read_class(one, split)
        for folder in () if splits else media:
            self._read_class(folder, "")
        if media and not splits and all(map(_is_sequence, media)):
            self.notes.append(
                "each image is an example, but those of every class are numbered without a gap: if they are the frames "
                "of one video, move its folder into a class folder"
            )
        self._check_kinds()
        self._check_groups()

    def _descend(self) -> list[Folder]:
        """The folders of the splits or classes: where only one folder has videos and is none of them, those in it."""
        folder = Folder(self.root, "", os.path.realpath(self.root))
        while True:
            self._ignore_files(folder, [*folder.videos, *folder.images])
            media = self._with_media(folder)
            only = media[0] if len(media) == 1 and not folder.videos and not folder.images else None
            if only is None or split_of(only.name) or only.videos or only.images or not _has_classes(only):
                return media
            self.layout = f"class folders in {only.path}/"
            folder = only

    def _with_media(self, folder: Folder) -> list[Folder]:
        """The folders in it that have videos or images; the others are ignored by name."""
        read = {f.name: f for f in folder.below()}
        media = [f for f in read.values() if f.has_media()]
        if any(f.name.lower() in PIXELS for f in media):
            media = [f for f in media if not NOT_PIXELS.fullmatch(f.name.lower())]
        kept = {f.name for f in media}
        for name in folder.folders:
            if name not in read:
                self.ignored.add_folder(folder.join(name), "results, or a link to a folder above it")
            elif name not in kept:
                self.ignored.add_folder(folder.join(name), _why_unused(read[name]))
        return media

    def _splits(self, media: Sequence[Folder]) -> dict[str, Folder]:
        """The folders of the splits; empty if the folders are classes."""
        parts = [f for f in media if split_of(f.name) and any(g.has_media() for g in f.below())]
        trained = any(split_of(f.name) == "train" and _has_classes(f) for f in parts)
        if len(parts) < len(media) and not trained:
            return {}
        splits: dict[str, Folder] = {}
        for part in parts:
            if (other := splits.setdefault(split_of(part.name), part)) is not part:
                pair = both(f"{other.path}/", f"{part.path}/")
                raise UserError(f"{self.root}: {pair} both stand for {split_of(part.name)}; rename or remove one")
        names = " and ".join(f"{part.path}/" for part in parts)
        rest = [f.path for f in media if f.name not in {p.name for p in parts}]
        if rest and splits:
            raise UserError(
                f"{self.root}: {names} divide the class folders, but {rest[0]}/ has videos too; move them into class "
                "folders there, or out"
            )
        self.layout = f"class folders in {names}" if splits else self.layout
        return splits

    def _read_class(self, folder: Folder, split: str) -> None:
        before = len(self.rows)
        self._read_items(folder, canonical(folder.name), split, "")
        if len(self.rows) == before:
            self.ignored.add_folder(folder.path, "nothing in it is used")

    def _read_items(self, folder: Folder, label: str, split: str, group: str) -> None:
        """The examples in a class folder, or in a folder in it, which is then their group."""
        videos, images = self._without_thumbnails(folder)
        if videos and images:
            raise UserError(
                f"{self.root}: {folder.path}/ has {len(videos)} video{'s' * (len(videos) != 1)} ({videos[0]} ...) and "
                f"{len(images)} image{'s' * (len(images) != 1)} ({images[0]} ...); move one kind out, or list the "
                "examples in manifest.csv"
            )
        kind = "videos" if videos else "images"
        for name in videos or images:
            self._add(folder.join(name), label, split, group, kind)
        self._ignore_files(folder)
        for one in self._with_media(folder):
            part = "" if split or group else split_of(one.name)
            if _holds_thumbnails(one, videos):
                self.ignored.add_folder(one.path, f"{len(one.images)} thumbnails")
            elif part:
                self.layout = "class folders with folders of the splits in them"
                self._read_items(one, label, part, "")
            elif one.has_frames and not one.has_videos():
                self._add(one.path, label, split, group, "folders of frames")
                self._ignore_below_frames(one)
            else:
                self._read_items(one, label, split, group or canonical(one.name))

    def _add(self, path: str, label: str, split: str, group: str, kind: str) -> None:
        self.kinds.setdefault(kind, []).append(path)
        self.rows.append(VideoRow(path=path, file=str(self.root / path), label=label, split=split, group=group or None))

    def _without_thumbnails(self, folder: Folder) -> tuple[list[str], list[str]]:
        """The videos and images of a folder; thumbnails of its videos, and sequences in other formats, are ignored."""
        names = {folded(stem(name)) for name in folder.videos if suffix(name) not in STILL_SUFFIXES}
        stills = {n for n in (*folder.videos, *folder.images, *folder.others) if is_thumbnail(n, names)}
        for name in sorted(stills):
            self.ignored.add("thumbnail", folder.join(name))
        folder.others = [name for name in folder.others if name not in stills]
        return [n for n in folder.videos if n not in stills], [n for n in folder.images if n not in stills]

    def _ignore_files(self, folder: Folder, unlabeled: Sequence[str] = ()) -> None:
        """Count the files of a folder that are no videos or images, and those in no class folder."""
        self.ignored.add_files(folder.path, folder.others)
        for reason, names in (("file in no class folder", unlabeled), ("pipe or device", folder.special)):
            for name in names:
                self.ignored.add(reason, folder.join(name))

    def _ignore_below_frames(self, folder: Folder) -> None:
        self.ignored.add_files(folder.path, [n for n in folder.others if suffix(n) not in FRAME_SUFFIXES])
        for name in folder.folders:
            self.ignored.add_folder(folder.join(name), "below a folder of frames")

    def _check_kinds(self) -> None:
        """Raise `UserError` if some examples are images and others videos."""
        images = self.kinds.get("images", [])
        moving = [path for kind, paths in self.kinds.items() if kind != "images" for path in paths]
        if images and moving:
            raise UserError(
                f"{self.root}: {len(moving)} videos ({moving[0]} ...) and {len(images)} images ({images[0]} ...) in "
                "class folders; move one kind out, or list the examples in manifest.csv"
            )

    def _check_groups(self) -> None:
        """Drop the groups where they cannot be kept together; else say what they are."""
        groups = {row.group for row in self.rows if row.group}
        if not groups:
            return
        first = next(row.group for row in self.rows if row.group)
        if problem := _divided(self.rows):
            self.rows = [replace(row, group=None) for row in self.rows]
            self.notes.append(f"folders in class folders, such as {first}/, are not taken as groups: {problem}")
        else:
            self.notes.append(
                f"videos in folders in class folders are grouped by those, {len(groups)} in all, such as {first}/"
            )


def _divided(rows: Sequence[VideoRow]) -> str:
    """Why the examples cannot be divided by group; empty if they can."""
    sides: dict[str, set[str]] = {}
    of_class: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row.group or row.path, set()).add(row.split)
        of_class.setdefault(row.label, set()).add(row.group or row.path)
    if any(len(splits) > 1 for splits in sides.values()):
        return "the split divides them"
    label = next((label for label, groups in of_class.items() if len(groups) < 2), "")
    return f"class {label!r} has only one" if label and not rows[0].split else ""


def _has_classes(folder: Folder) -> bool:
    """Whether the folders in it are class folders, rather than folders of frames named by number."""
    inner = [f for f in folder.below() if f.has_media()]
    return bool(inner) and not all(_is_sequence(f) for f in inner)


def _is_sequence(folder: Folder) -> bool:
    """Whether the images in a folder are numbered without a gap, as the frames of one video."""
    digits = [re.findall(r"\d+", name.rpartition(".")[0])[-1:] for name in folder.images]
    numbers = [int(found[0]) for found in digits if found and len(found[0]) < 12]
    complete = not folder.videos and 1 < len(numbers) == len(digits)
    return complete and max(numbers) - min(numbers) == len(numbers) - 1


def _why_unused(folder: Folder) -> str:
    """Why a folder has no examples."""
    if folder.has_media():
        return "no frames of the videos beside it"
    if not folder.others:
        return "no video below" if folder.folders else "empty"
    return f"no video: {folder.others[0]}{' ...' * (len(folder.others) > 1)}"


def _holds_thumbnails(folder: Folder, videos: Sequence[str]) -> bool:
    """Whether all images in a folder are named after the videos beside it: several, or in a folder named so."""
    names = {folded(stem(name)) for name in videos}
    if folder.videos or not names or not all(is_thumbnail(name, names) for name in folder.images):
        return False
    return len(folder.images) > 1 or (bool(folder.images) and MARK.search(f" {folder.name.lower()}") is not None)


def is_thumbnail(name: str, videos: set[str]) -> bool:
    """Whether a picture is named after one of the `videos` (folded names without ending)."""
    if suffix(name) not in STILL_SUFFIXES:
        return False
    front = stem(folded(name.rpartition(".")[0]))
    while front not in videos:
        shorter = MARK.sub("", front)
        if shorter == front:
            return False
        front = shorter
    return True
