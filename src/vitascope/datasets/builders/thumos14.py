"""THUMOS14, temporal action localization: 20 actions in untrimmed videos; trained on its validation side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Segment
from vitascope.datasets.readers.activitynet_json import ListedAction, Untrimmed, database, localization, seconds
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    folder,
    header,
    labels,
    shelf,
    table,
    typed,
)
from vitascope.datasets.readers.video_files import Footage, Side, inside, present

VARIANTS: dict[str, str] = {
    "": "THUMOS14: 20 actions, when; 200 videos to train, the report's 212 to test",
    "211": "THUMOS14 with 211 test videos, as OpenTAD: without video_test_0000270, whose labels are wrong",
    "213": "THUMOS14 with all 213 test videos, one of which has only ambiguous actions",
}
BARE, WRONG = "video_test_0001292", "video_test_0000270"
"""A video of nothing but ambiguous actions, and one with wrong labels: whether they are tested differs."""
WITHOUT = {"": {BARE}, "211": {BARE, WRONG}, "213": set[str]()}
TRAIN, TEST = 200, 213
JSON = ("thumos14.json", "thumos_14_anno.json", "thumos14_anno.json", "thumos_gt.json", "thumos14_gt.json")
TABLES: dict[Side, tuple[str, ...]] = {
    "train": ("val_Annotation.csv", "thumos14_valid_groundtruth.csv", "thumos14_val_groundtruth.csv"),
    "test": ("test_Annotation.csv", "thumos14_test_groundtruth.csv"),
}
NAMED = ("video", "start", "end", "type")
NUMBERED = ("video-name", "t-init", "t-end", "label-idx")
UNNUMBERED = "-1"
"""The number of an ambiguous action."""


def build(variant: str, root: Path | None = None) -> Dataset[tuple[Segment, ...]]:
    """THUMOS14 in folder `root`, trained on Validation and tested on Test. ValueError where there is none."""
    return present(annotated(variant, folder("thumos14", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[tuple[Segment, ...]]:
    """The same as its lists have it, whatever videos are there: the community's json, or a csv a side."""
    order = ClassOrder(labels("thumos14"))
    place = shelf(root, "thumos", "thumos14", "thumos_annotations")
    path = place.find(*JSON)
    sides = _of_json(path) if path else {side: list(_of_table(place, side, order)) for side in TABLES}
    source = path.name if path else "the tables"
    there = {v.id for v in sides["test"]}
    if variant == "213" and BARE not in there:
        raise UserError(
            f"{root}: {source} has {len(there)} test videos and not {BARE}; the 213 are in "
            f"{' or '.join(TABLES['test'])}, or ask for thumos14"
        )
    sides["test"] = [v for v in sides["test"] if v.id not in WITHOUT[variant]]
    published = {"train": TRAIN, "test": TEST - len(WITHOUT[variant])}
    notes = [
        f"{source} has {len(sides[side])} {side} videos, {typed('thumos14', variant)} {count}: scores are not "
        "comparable with those on all"
        for side, count in zip(TABLES, published.values(), strict=True)
        if len(sides[side]) != count
    ]
    name = typed("thumos14", variant)
    return localization(
        name, sides, order, footage=Footage(root), official_counts=published, notes=notes, fold="validation/test"
    )


def _of_json(path: Path) -> dict[Side, list[Untrimmed]]:
    """Of a list in ActivityNet's form; what is called training there is the validation side of the challenge."""
    sides: dict[Side, list[Untrimmed]] = {"train": [], "test": []}
    for v in database(path):
        sides["test" if v.subset == "test" else "train"].append(v)
    return sides


def _of_table(place: AnnotationFiles, side: Side, order: ClassOrder) -> Iterator[Untrimmed]:
    path = place.need(f"json of the videos, nor table of the {side} actions", *JSON[:1], *TABLES[side])
    columns = NAMED if "type" in header(path) else NUMBERED
    found: dict[str, Untrimmed] = {}
    for where, row in table(path, *columns):
        name, start, end, label = (row[column] for column in columns)
        if columns == NUMBERED:
            label = "Ambiguous" if label == UNNUMBERED else order.classes[order.at(label, where)]
        action = ListedAction(seconds(start, where), seconds(end, where), label, where)
        lasting = seconds(row["video-duration"], where) if "video-duration" in row else None
        known = found.get(name) or Untrimmed(inside(name, where), "", (), lasting, where)
        found[name] = replace(known, actions=(*known.actions, action))
    yield from found.values()
