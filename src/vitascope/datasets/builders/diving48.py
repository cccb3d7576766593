"""Diving-48, version 2: 48 dives by take-off, somersaults, twists and position; around them is always a pool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    document,
    fields_of,
    folder,
    labels,
    listed,
    shelf,
)
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, inside, present, stem

VARIANTS: dict[str, str] = {"": "Diving-48 with the corrected labels (V2): 48 dives, motion"}
PUBLISHED = {"train": 15_027, "test": 1_970}
V1 = "is version 1, whose labels are wrong; use Diving48_V2_train.json and Diving48_V2_test.json"


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """Diving-48 in folder `root`, by its official split. ValueError where there is none, or its first version."""
    return present(annotated(variant, folder("diving48", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The same as its lists have it, whatever videos are there.

    A group is a competition video: its dives have its name and a number, and the split parts no competition.
    """
    order, place = ClassOrder(labels("diving48")), shelf(root)
    if (own := place.find("Diving48_vocab.json")) is not None:
        parts = document(own, list, "classes")
        order.agree(["+".join(p) if isinstance(p, list) else str(p) for p in parts], own)
    sides: tuple[Side, Side] = ("train", "test")
    entries = [e for side in sides for e in _entries(_source(place, side), side, order)]
    return assemble(
        "diving48",
        entries,
        order.classes,
        footage=Footage(root),
        axis="motion",
        official_counts=PUBLISHED,
        fold="train/test",
    )


def _source(place: AnnotationFiles, side: Side) -> Path:
    word = {"train": "train", "test": "val"}[side]
    lists = (f"diving48_{word}_list_videos.txt", f"{side}.csv", f"{word}.csv", f"{side}.txt", f"{word}.txt")
    first = place.find(f"Diving48_V2_{side}.json", *lists)
    if first is None and (old := place.find(f"Diving48_{side}.json")) is not None:
        raise UserError(f"{old} {V1}")
    return first or place.need(f"list of the {side} dives", f"Diving48_V2_{side}.json", *lists)


def _entries(path: Path, side: Side, order: ClassOrder) -> list[LabeledVideo]:
    read = _from_json if path.suffix.lower() == ".json" else _from_list
    entries = [
        LabeledVideo(id=v, side=side, truth=truth, file=f"rgb/{v}.mp4", group=v.rpartition("_")[0] or None, where=where)
        for where, v, truth in read(path, order)
    ]
    if len(entries) > PUBLISHED[side]:
        raise UserError(f"{path}: {len(entries):,} dives, version 2 has {PUBLISHED[side]:,}; this {V1}")
    return entries


def _from_json(path: Path, order: ClassOrder) -> Iterator[tuple[str, str, int]]:
    for number, record in enumerate(document(path, list, "dives"), 1):
        where = f"{path}: dive {number}"
        video, label = fields_of(record, where, "vid_name", "label")
        yield where, inside(video, where), order.at(label, where)


def _from_list(path: Path, order: ClassOrder) -> Iterator[tuple[str, str, int]]:
    """Lists of paths and numbers. Folders in them that are numbers are labels of version 1, and are passed over."""
    for where, file, truth in listed(path, order):
        yield where, stem(inside(file, where)), truth
