"""Diving-48, version 2: 48 dives that differ in take-off, somersaults, twists and position, never in the scene."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.media import stem
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    dataset_folder,
    find_annotations,
    labels,
    numbered_lines,
    read_json,
    require_fields,
)
from vitascope.datasets.readers.video_files import (
    Footage,
    LabeledVideo,
    Side,
    assemble,
    relative_path,
    require_videos,
)

VARIANTS: dict[str, str] = {"": "Diving-48 with the corrected labels (V2): 48 dives, motion"}
OFFICIAL_COUNTS = {"train": 15_027, "test": 1_970}
V1 = "version 1, whose labels are faulty; use Diving48_V2_train.json and Diving48_V2_test.json"


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """Diving-48 in folder `root`, with the official split; `UserError` if its files are missing or of version 1."""
    return require_videos(annotated(variant, dataset_folder("diving48", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The dataset described by the annotations; videos may be missing.

    A group is a competition video, which gives its dives their names; the split divides no competition.
    """
    order, place = ClassOrder(labels("diving48")), find_annotations(root)
    if (own := place.find("Diving48_vocab.json")) is not None:
        parts = read_json(own, list, "classes")
        order.check(["+".join(map(str, p)) if isinstance(p, list) else str(p) for p in parts], own)
    sides: tuple[Side, Side] = ("train", "test")
    entries = [e for side in sides for e in _entries(_source(place, side), side, order)]
    return assemble(
        "diving48",
        entries,
        order.classes,
        footage=Footage(root),
        axis="motion",
        official_counts=OFFICIAL_COUNTS,
        fold="train/test",
    )


def _source(place: AnnotationFiles, side: Side) -> Path:
    word = {"train": "train", "test": "val"}[side]
    lists = (f"diving48_{word}_list_videos.txt", f"{side}.csv", f"{word}.csv", f"{side}.txt", f"{word}.txt")
    first = place.find(f"Diving48_V2_{side}.json", *lists)
    if first is None and (old := place.find(f"Diving48_{side}.json")) is not None:
        raise UserError(f"{old}: {V1}")
    return first or place.require(f"list of the {side} dives", f"Diving48_V2_{side}.json", *lists)


def _entries(path: Path, side: Side, order: ClassOrder) -> list[LabeledVideo]:
    read = _from_json if path.suffix.lower() == ".json" else _from_list
    entries = [
        LabeledVideo(id=v, side=side, truth=truth, file=f"rgb/{v}.mp4", group=v.rpartition("_")[0] or None, where=where)
        for where, v, truth in read(path, order)
    ]
    if len(entries) > OFFICIAL_COUNTS[side]:
        raise UserError(f"{path}: {len(entries):,} dives, but version 2 has {OFFICIAL_COUNTS[side]:,}; this is {V1}")
    return entries


def _from_json(path: Path, order: ClassOrder) -> Iterator[tuple[str, str, int]]:
    for number, record in enumerate(read_json(path, list, "dives"), 1):
        where = f"{path}: dive {number}"
        video, label = require_fields(record, where, "vid_name", "label")
        yield where, relative_path(video, where), order.parse(label, where)


def _from_list(path: Path, order: ClassOrder) -> Iterator[tuple[str, str, int]]:
    """The dives of a list of paths and class numbers; numeric folders, the labels of version 1, are ignored."""
    for where, file, truth in numbered_lines(path, order):
        yield where, stem(relative_path(file, where)), truth
