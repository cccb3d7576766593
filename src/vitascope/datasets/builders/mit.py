"""Moments in Time: three-second clips of people, animals, objects and nature in 339 actions (version 2: 305)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import (
    ClassOrder,
    dataset_folder,
    find_annotations,
    labels,
    read_rows,
    typed_name,
)
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, relative_path, require_videos

VARIANTS: dict[str, str] = {
    "": "Moments in Time, version 1: 339 actions, appearance; used in the report",
    "305": "Moments in Time, version 2: 305 actions, appearance",
}
OFFICIAL_COUNTS = {"": {"train": 802_264, "test": 33_900}, "305": {"train": 727_305, "test": 30_500}}
"""Clips by version; the report used 791,246 and 33,898 of version 1."""
FOLDERS: dict[Side, str] = {"train": "training", "test": "validation"}
OTHER = {"": "version 2; use mit/305", "305": "version 1; use mit"}


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """MiT in folder `root`, trained on training and tested on validation. `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("mit", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The dataset described by the annotations; videos may be missing.

    Groups are unknown: clips of one video are named after it in several ways.
    """
    order, place = ClassOrder(_classes(variant)), find_annotations(root)
    if (own := place.find("moments_categories.txt", "category_momentsv2.txt")) is not None:
        _check(variant, order, own)
    lists: dict[Side, Path] = {
        "train": place.require("list of the training clips", "trainingSet.csv", "train.csv"),
        "test": place.require("list of the validation clips", "validationSet.csv", "val.csv"),
    }
    entries = [e for side, path in lists.items() for e in _entries(path, side, order)]
    if variant == "" and {e.truth for e in entries} == {order.index(name, "mit") for name in _classes("305")}:
        raise UserError(f"{root}: these are the classes of {OTHER['']}")
    name = typed_name("mit", variant)
    official_counts = OFFICIAL_COUNTS[variant]
    footage = Footage(root)
    return assemble(name, entries, order.classes, footage=footage, axis="appearance", official_counts=official_counts)


def _classes(variant: str) -> tuple[str, ...]:
    return labels("mit_305" if variant else "mit")


def _check(variant: str, order: ClassOrder, path: Path) -> None:
    """Raise `UserError` if the classes of a file of lines `name,number` differ from the official ones."""
    rows = list(read_rows(path))
    if len(rows) == len(_classes("" if variant else "305")):
        raise UserError(f"{path}: {len(rows)} classes, as in {OTHER[variant]}")
    numbered = [row for _, row in rows if len(row) > 1]
    if numbered and len(numbered) == len(rows):
        rows.sort(key=lambda row: order.parse(row[1][1], row[0]))
    order.check([row[0] for _, row in rows], path)


def _entries(path: Path, side: Side, order: ClassOrder) -> Iterator[LabeledVideo]:
    """The clips of a table `class/file.mp4, class, votes for, votes against`."""
    for where, row in read_rows(path, min_columns=2):
        clip = relative_path(row[0], where)
        truth = order.index(row[1], where)
        # a clip with two classes is in two folders, so its id includes the folder
        yield LabeledVideo(id=clip, side=side, truth=truth, file=f"{FOLDERS[side]}/{clip}", where=where)
