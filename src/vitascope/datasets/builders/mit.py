"""Moments in Time: three seconds of somebody, an animal or the weather doing one of 339 things (version 2: 305)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import ClassOrder, cells, folder, labels, shelf, typed
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, inside, present

VARIANTS: dict[str, str] = {
    "": "Moments in Time, version 1: 339 actions, appearance; what the report counts",
    "305": "Moments in Time, version 2: 305 actions, appearance",
}
PUBLISHED = {"": {"train": 802_264, "test": 33_900}, "305": {"train": 727_305, "test": 30_500}}
"""By version. Of version 1 the report had 791,246 and 33,898 left."""
FOLDERS: dict[Side, str] = {"train": "training", "test": "validation"}
OTHER = {"": "version 2; ask for mit/305", "305": "version 1; ask for mit"}


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """MiT in folder `root`, trained on training and tested on validation. ValueError where there is none."""
    return present(annotated(variant, folder("mit", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The same as its lists have it, whatever videos are there.

    Groups are not known: clips of one video bear its name in several ways.
    """
    order, place = ClassOrder(_classes(variant)), shelf(root)
    if (own := place.find("moments_categories.txt", "category_momentsv2.txt")) is not None:
        _check(variant, order, own)
    lists: dict[Side, Path] = {
        "train": place.need("list of the training clips", "trainingSet.csv", "train.csv"),
        "test": place.need("list of the validation clips", "validationSet.csv", "val.csv"),
    }
    entries = [e for side, path in lists.items() for e in _entries(path, side, order)]
    if variant == "" and {e.truth for e in entries} == {
        order.numbers[name] for name in ClassOrder(_classes("305")).numbers
    }:
        raise UserError(f"{root}: just the classes of {OTHER['']}")
    name = typed("mit", variant)
    published = PUBLISHED[variant]
    footage = Footage(root)
    return assemble(name, entries, order.classes, footage=footage, axis="appearance", official_counts=published)


def _classes(variant: str) -> tuple[str, ...]:
    return labels("mit_305" if variant else "mit")


def _check(variant: str, order: ClassOrder, path: Path) -> None:
    """The file `name,number` of classes must be ours."""
    rows = list(cells(path))
    if len(rows) == len(_classes("" if variant else "305")):
        raise UserError(f"{path}: {len(rows)} classes are {OTHER[variant]}")
    numbered = [row for _, row in rows if len(row) > 1]
    if numbered and len(numbered) == len(rows):
        rows.sort(key=lambda row: order.at(row[1][1], row[0]))
    order.agree([row[0] for _, row in rows], path)


def _entries(path: Path, side: Side, order: ClassOrder) -> Iterator[LabeledVideo]:
    """The clips of a table `class/file.mp4, class, for, against`; the last two count who agreed."""
    for where, row in cells(path, least=2):
        clip = inside(row[0], where)
        truth = order.of(row[1], where)
        # one clip may show two things: it is then in two folders, and both are in its id
        yield LabeledVideo(id=clip, side=side, truth=truth, file=f"{FOLDERS[side]}/{clip}", where=where)
