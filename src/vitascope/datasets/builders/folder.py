"""Somebody's own videos: a folder of class folders, or one with a `manifest.csv` that lists paths and labels.

Or untrimmed ones: a json in ActivityNet's form says which actions are in them and when, or `groundTruth/` has a label
for every frame.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Dataset, Example, Span, digest
from vitascope.datasets.readers import activitynet_json, mstcn_labels
from vitascope.datasets.readers.video_files import MEDIA, Footage, present
from vitascope.datasets.splits import check_labels, folds_of

VARIANTS: dict[str, str] = {}
MANIFEST = "manifest.csv"
COLUMNS = ("path", "label", "split", "start", "end", "group", "fps", "id")
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class VideoRow:
    """One line of a manifest, or one file of a class folder."""

    path: str
    label: str
    split: str = ""
    span: Span | None = None
    group: str | None = None
    fps: float | None = None
    id: str = ""

    @property
    def name(self) -> str:
        """The id given, or the path with its span."""
        return self.id or (self.path if self.span is None else f"{self.path}#{self.span[0]:.12g}-{self.span[1]:.12g}")


def build(variant: str, root: Path | None = None, *, names: Iterable[str] = ()) -> Dataset[Any]:
    """The dataset in folder `root`. `names` are those of other data sets, for who mistyped one.

    Raises ValueError where it is empty, has one class, or points outside itself.
    """
    root = Path(variant if root is None else root)
    timed = dense(root)
    if timed:
        return present(timed)
    if not root.is_dir():
        what = "not a folder" if root.exists() else f"no such folder{_beside(root, names)}"
        raise UserError(f"{root}: {what}; give a folder of class folders, one with a {MANIFEST}, or a dataset by name")
    rows = manifest(root / MANIFEST) if (root / MANIFEST).is_file() else list(_class_folders(root))
    if not rows:
        loose = " in class folders" if any(p.suffix.lower() in MEDIA for p in root.iterdir()) else ""
        raise UserError(f"{root}: no videos found{loose}; expected {root}/<class>/<video> or {root}/{MANIFEST}")
    return _dataset(root, rows)


def dense(root: Path) -> Dataset[Any] | None:
    """The dataset of a folder, or of a json in one, whose labels have times, whatever videos are there; None for none.

    A folder with a `manifest.csv` or with two such lists has none: then the list itself is to be given.
    """
    name = (root.parent if root.is_file() else root).resolve().name or "root"
    if root.is_file() and root.suffix.lower() == ".json":
        return activitynet_json.own(name, root, Footage(root.parent))
    if not root.is_dir() or (root / MANIFEST).is_file():
        return None
    if mstcn_labels.home(root):
        return mstcn_labels.own(name, root)
    found = [p for p in sorted((*root.glob("*.json"), *root.glob("annotations/*.json"))) if _has_database(p)]
    if len(found) > 1:
        raise UserError(f"{root}: {found[0].name} and {found[1].name} both list actions; give the one that is meant")
    return activitynet_json.own(name, found[0], Footage(root)) if found else None


def _has_database(path: Path) -> bool:
    """Whether a json file is a list of videos in ActivityNet's form."""
    try:
        return "database" in json.loads(path.read_bytes())
    except (ValueError, TypeError):
        return False


def _beside(root: Path, names: Iterable[str]) -> str:
    """The dataset or the folder that was meant, perhaps."""
    there = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
    return nearest(str(root), names) or nearest(root.name, there)


def _dataset(root: Path, rows: Sequence[VideoRow]) -> Dataset[int]:
    classes = tuple(sorted({r.label for r in rows}))
    if len(classes) == 1:
        raise UserError(f"{root}: only one class, {classes[0]!r}; two are needed to tell apart")
    number = {label: i for i, label in enumerate(classes)}
    _unique([r.name for r in rows], root)
    absent = {r.name: "no such file" for r in rows if not os.path.lexists(root / r.path)}
    if len(absent) == len(rows):
        raise UserError(f"{root}: none of the {len(rows)} videos listed exists; first: {rows[0].path}")
    examples = tuple(
        Example(id=r.name, path=str(root / r.path), truth=number[r.label], span=r.span, group=r.group, fps=r.fps)
        for r in rows
    )
    folds = folds_of(examples, [r.split for r in rows], classes, where=str(root))
    check_labels(examples, folds, classes, where=str(root))
    name = root.resolve().name or "root"
    key = f"{name}-{digest(str(root.resolve()))[:8]}"
    return Dataset(
        name=name, key=key, examples=examples, classes=classes, folds=folds, missing_files=absent, root=str(root)
    )


def _unique(names: Sequence[str], root: Path) -> None:
    seen: set[str] = set()
    for name in names:
        if name != name.encode(errors="replace").decode():
            raise UserError(f"{root}: the file name {name!r} is not UTF-8; rename the file")
        if name in seen:
            raise UserError(f"{root}: {name!r} is listed twice; give an `id` column, or remove one of the lines")
        seen.add(name)


def _class_folders(root: Path) -> Iterator[VideoRow]:
    top = [d for d in sorted(root.iterdir()) if d.is_dir() and not d.name.startswith(".")]
    if top and all(d.name.lower() in SPLITS for d in top):
        for folder in top:
            yield from _of_classes(root, folder, SPLITS[folder.name.lower()])
    else:
        yield from _of_classes(root, root, "")


def _of_classes(root: Path, parent: Path, split: str) -> Iterator[VideoRow]:
    for folder in sorted(d for d in parent.iterdir() if d.is_dir() and not d.name.startswith(".")):
        for item in sorted(folder.iterdir()):
            if not item.name.startswith(".") and (item.is_dir() or item.suffix.lower() in MEDIA):
                yield VideoRow(item.relative_to(root).as_posix(), folder.name, split)


def manifest(path: Path, *, labeled: bool = True) -> list[VideoRow]:
    """The lines of a manifest; without labels where they need not be. ValueError that names the line at fault."""
    try:
        return list(_lines(path, labeled))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}: not a table of comma-separated values ({error})") from None


def _lines(path: Path, labeled: bool) -> Iterator[VideoRow]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = [c.strip() for c in reader.fieldnames or ()]
        for needed in ("path", "label") if labeled else ("path",):
            if needed not in columns:
                has = ", ".join(columns) or "nothing"
                raise UserError(f"{path}: no column {needed!r}{nearest(needed, columns)}; its first line has {has}")
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
    """`path` made canonical; one that leaves the folder of the manifest is refused."""
    root = os.path.abspath(os.path.dirname(where))
    full = os.path.normpath(os.path.join(root, path))
    if not full.startswith(root + os.sep):
        raise UserError(f"{where}: {path!r} lies outside {root}; move the video in, or link it there")
    return os.path.relpath(full, root).replace(os.sep, "/")


def _span(start: str, end: str, where: str) -> Span | None:
    if not start and not end:
        return None
    span = (_seconds(start, f"{where}: start"), _seconds(end, f"{where}: end") if end else float("inf"))
    if span[1] <= span[0]:
        raise UserError(f"{where}: end {end} is not after start {start or 0}; both are seconds")
    return span


def _seconds(text: str, where: str) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        raise UserError(f"{where} {text!r} is not a number") from None
    if not 0 <= value < float("inf"):
        raise UserError(f"{where} {text!r} must be zero or more")
    return value
