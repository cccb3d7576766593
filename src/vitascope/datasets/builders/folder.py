"""A user's own videos: a folder of class folders, or one with a `manifest.csv` of paths and labels.

Untrimmed videos come with a JSON file in ActivityNet's format, or with `groundTruth/`, a label for every frame.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.files import read_json
from vitascope.core.media import MEDIA_SUFFIXES
from vitascope.core.text import nearest
from vitascope.core.types import Dataset, Example, Span, digest
from vitascope.datasets.readers import activitynet_json, mstcn_labels
from vitascope.datasets.readers.video_files import Footage, require_videos
from vitascope.datasets.recordings import with_recordings
from vitascope.datasets.splits import check_labels, make_folds

VARIANTS: dict[str, str] = {}
MANIFEST = "manifest.csv"
HEAD = 1000
COLUMNS = ("path", "label", "split", "start", "end", "group", "fps", "id")
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class VideoRow:
    """One row of a manifest, or one file of a class folder."""

    path: str
    label: str
    split: str = ""
    span: Span | None = None
    group: str | None = None
    fps: float | None = None
    id: str = ""

    @property
    def name(self) -> str:
        """The id of the example: as given, otherwise the path with the span."""
        return self.id or (self.path if self.span is None else f"{self.path}#{self.span[0]:.12g}-{self.span[1]:.12g}")


def build(variant: str, root: Path | None = None, *, names: Iterable[str] = ()) -> Dataset[Any]:
    """The dataset in folder `root`. `names` of other datasets serve to correct a typo in an error message.

    Raises `UserError` if the folder is empty, has a single class, or its manifest refers to files outside it.
    """
    root = Path(variant if root is None else root)
    temporal = temporal_dataset(root)
    if temporal:
        return require_videos(temporal)
    if not root.is_dir():
        what = "not a folder" if root.exists() else f"no such folder{_nearest_name(root, names)}"
        raise UserError(f"{root}: {what}; give a folder of class folders, one with {MANIFEST}, or a dataset name")
    rows = manifest(root / MANIFEST) if (root / MANIFEST).is_file() else list(_class_folders(root))
    if not rows:
        place = " in class folders" if any(p.suffix.lower() in MEDIA_SUFFIXES for p in root.iterdir()) else ""
        raise UserError(f"{root}: no videos{place}; expected {root}/<class>/<video> or {root}/{MANIFEST}")
    return _dataset(root, rows)


def temporal_dataset(root: Path) -> Dataset[Any] | None:
    """The dataset of a JSON file, or of a folder that contains temporal annotations; None if it has none.

    Videos may be missing. Temporal annotations beside a `manifest.csv` are ignored; give their file instead.
    """
    name = (root.parent if root.is_file() else root).resolve().name or "root"
    if root.is_file() and root.suffix.lower() == ".json":
        return activitynet_json.custom_dataset(name, root, Footage(root.parent))
    if not root.is_dir() or (root / MANIFEST).is_file():
        return None
    if mstcn_labels.find_labels(root):
        return mstcn_labels.custom_dataset(name, root)
    lists = [p for p in sorted((*root.glob("*.json"), *root.glob("annotations/*.json"))) if _has_database(p)]
    if len(lists) > 1:
        raise UserError(f"{root}: both {lists[0].name} and {lists[1].name} list actions; give one of the files")
    return activitynet_json.custom_dataset(name, lists[0], Footage(root)) if lists else None


def _has_database(path: Path) -> bool:
    """True if a JSON file is in ActivityNet's format."""
    if not path.is_file():
        return False
    try:
        return "database" in read_json(path, "", dict[str, Any])
    except UserError:  # reading it tells why
        return b'"database"' in path.read_bytes()[:HEAD]


def _nearest_name(root: Path, names: Iterable[str]) -> str:
    """A hint at the dataset or the sibling folder with the most similar name."""
    siblings = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
    return nearest(str(root), names) or nearest(root.name, siblings)


def _dataset(root: Path, rows: Sequence[VideoRow]) -> Dataset[int]:
    classes = tuple(sorted({r.label for r in rows}))
    if len(classes) == 1:
        raise UserError(f"{root}: only one class, {classes[0]!r}; at least two are required")
    number = {label: i for i, label in enumerate(classes)}
    _unique([r.name for r in rows], root)
    missing = {r.name: "no such file" for r in rows if not os.path.lexists(root / r.path)}
    if len(missing) == len(rows):
        raise UserError(f"{root}: none of the {len(rows)} listed videos exists; the first is {rows[0].path}")
    listed = tuple(
        Example(id=r.name, path=str(root / r.path), truth=number[r.label], span=r.span, group=r.group, fps=r.fps)
        for r in rows
    )
    examples = with_recordings(listed, root)
    folds = make_folds(examples, [r.split for r in rows], classes, where=str(root))
    check_labels(listed, folds, classes, where=str(root))
    name = root.resolve().name or "root"
    key = f"{name}-{digest(str(root.resolve()))[:8]}"
    return Dataset(
        name=name, key=key, examples=examples, classes=classes, folds=folds, missing_files=missing, root=str(root)
    )


def _unique(names: Sequence[str], root: Path) -> None:
    listed: set[str] = set()
    for name in names:
        if name != name.encode(errors="replace").decode():
            raise UserError(f"{root}: the file name {name!r} is not UTF-8; rename the file")
        if name in listed:
            raise UserError(f"{root}: {name!r} is listed twice; add an `id` column or remove one of the rows")
        listed.add(name)


def _class_folders(root: Path) -> Iterator[VideoRow]:
    top = [d for d in sorted(root.iterdir()) if d.is_dir() and not d.name.startswith(".")]
    if top and all(d.name.lower() in SPLITS for d in top):
        for folder in top:
            yield from _files_by_class(root, folder, SPLITS[folder.name.lower()])
    else:
        yield from _files_by_class(root, root, "")


def _files_by_class(root: Path, parent: Path, split: str) -> Iterator[VideoRow]:
    for folder in sorted(d for d in parent.iterdir() if d.is_dir() and not d.name.startswith(".")):
        for item in sorted(folder.iterdir()):
            if not item.name.startswith(".") and (item.is_dir() or item.suffix.lower() in MEDIA_SUFFIXES):
                yield VideoRow(item.relative_to(root).as_posix(), folder.name, split)


def manifest(path: Path, *, labeled: bool = True) -> list[VideoRow]:
    """Read the rows of a manifest; labels may be missing unless `labeled`. `UserError` names the invalid line."""
    try:
        return list(_lines(path, labeled))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}: invalid CSV ({error})") from None


def _lines(path: Path, labeled: bool) -> Iterator[VideoRow]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = [c.strip() for c in reader.fieldnames or ()]
        for needed in ("path", "label") if labeled else ("path",):
            if needed not in columns:
                has = ", ".join(columns) or "none"
                raise UserError(f"{path}: no column {needed!r}{nearest(needed, columns)}; its columns are {has}")
        reader.fieldnames = columns
        for line, record in enumerate(reader, 2):
            yield _row(record, f"{path}:{line}", labeled)


def _row(record: dict[str, str | None], where: str, labeled: bool) -> VideoRow:
    cell = {c: (record.get(c) or "").strip() for c in COLUMNS}
    if not cell["path"] or (labeled and not cell["label"]):
        raise UserError(f"{where}: {'path and label' if labeled else 'path'} must not be empty")
    split = SPLITS.get(cell["split"].lower(), "")
    if cell["split"] and not split:
        raise UserError(f"{where}: split {cell['split']!r}{nearest(cell['split'], SPLITS)}; use train, val or test")
    fps = _seconds(cell["fps"], f"{where}: fps")
    return VideoRow(
        path=_inside(cell["path"], where),
        label=cell["label"],
        split=split,
        span=_span(cell["start"], cell["end"], where),
        group=cell["group"] or None,
        fps=fps or None,
        id=cell["id"],
    )


def _inside(path: str, where: str) -> str:
    """Normalize `path`; `UserError` if it leaves the folder of the manifest."""
    root = os.path.abspath(os.path.dirname(where))
    full = os.path.normpath(os.path.join(root, path))
    if not full.startswith(root + os.sep):
        raise UserError(f"{where}: {path!r} is outside {root}; move or link the video into it")
    return os.path.relpath(full, root).replace(os.sep, "/")


def _span(start: str, end: str, where: str) -> Span | None:
    if not start and not end:
        return None
    span = (_seconds(start, f"{where}: start"), _seconds(end, f"{where}: end") if end else float("inf"))
    if span[1] <= span[0]:
        raise UserError(f"{where}: end {end} is not after start {start or 0} (seconds)")
    return span


def _seconds(text: str, where: str) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        raise UserError(f"{where} {text!r} is not a number") from None
    if not 0 <= value < float("inf"):
        raise UserError(f"{where} {text!r} must be zero or more")
    return value
