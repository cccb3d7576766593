"""THUMOS14, temporal action localization: 20 actions in untrimmed videos; trained on its validation set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Segment
from vitascope.datasets.readers.activitynet_json import (
    ListedAction,
    UntrimmedVideo,
    localization_dataset,
    read_database,
    seconds,
)
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    dataset_folder,
    find_annotations,
    labels,
    read_header,
    read_table,
    typed_name,
)
from vitascope.datasets.readers.video_files import Footage, Side, relative_path, require_videos

VARIANTS: dict[str, str] = {
    "": "THUMOS14: 20 actions, temporal localization; 200 training and 212 test videos, as in the report",
    "211": "THUMOS14 with 211 test videos, as in OpenTAD: without video_test_0000270, whose labels are wrong",
    "213": "THUMOS14 with all 213 test videos, one of which has only ambiguous actions",
}
BARE, WRONG = "video_test_0001292", "video_test_0000270"
"""A video with only ambiguous actions, and one with wrong labels, which only some test sets include."""
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
"""Class number of ambiguous actions."""


def build(variant: str, root: Path | None = None) -> Dataset[tuple[Segment, ...]]:
    """THUMOS14 in folder `root`, trained on Validation and tested on Test. `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("thumos14", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[tuple[Segment, ...]]:
    """The dataset described by the annotations (one JSON file, or a CSV file per split); videos may be missing."""
    order = ClassOrder(labels("thumos14"))
    place = find_annotations(root, "thumos", "thumos14", "thumos_annotations")
    path = place.find(*JSON)
    sides = _of_json(path) if path else {side: list(_of_table(place, side, order)) for side in TABLES}
    source = path.name if path else "the tables"
    test_ids = {v.id for v in sides["test"]}
    if variant == "213" and BARE not in test_ids:
        raise UserError(
            f"{root}: {source} has {len(test_ids)} test videos, without {BARE}; add {' or '.join(TABLES['test'])} with "
            "all 213, or use thumos14"
        )
    sides["test"] = [v for v in sides["test"] if v.id not in WITHOUT[variant]]
    official_counts = {"train": TRAIN, "test": TEST - len(WITHOUT[variant])}
    name = typed_name("thumos14", variant)
    notes = [
        f"{source} has {len(sides[side])} {side} videos but {name} has {count}: scores are not comparable with those "
        "on all videos"
        for side, count in zip(TABLES, official_counts.values(), strict=True)
        if len(sides[side]) != count
    ]
    return localization_dataset(
        name, sides, order, footage=Footage(root), official_counts=official_counts, notes=notes, fold="validation/test"
    )


def _of_json(path: Path) -> dict[Side, list[UntrimmedVideo]]:
    """The videos of a JSON file in ActivityNet's format, whose training set is the validation set of the challenge."""
    sides: dict[Side, list[UntrimmedVideo]] = {"train": [], "test": []}
    for v in read_database(path):
        sides["test" if v.subset == "test" else "train"].append(v)
    return sides


def _of_table(place: AnnotationFiles, side: Side, order: ClassOrder) -> Iterator[UntrimmedVideo]:
    path = place.require(f"JSON file of the videos or table of the {side} actions", *JSON[:1], *TABLES[side])
    columns = NAMED if "type" in read_header(path) else NUMBERED
    videos: dict[str, UntrimmedVideo] = {}
    for where, row in read_table(path, *columns):
        name, start, end, label = (row[column] for column in columns)
        if columns == NUMBERED:
            label = "Ambiguous" if label == UNNUMBERED else order.classes[order.parse(label, where)]
        action = ListedAction(seconds(start, where), seconds(end, where), label, where)
        duration = seconds(row["video-duration"], where) if "video-duration" in row else None
        video = videos.get(name) or UntrimmedVideo(relative_path(name, where), "", (), duration, where)
        videos[name] = replace(video, actions=(*video.actions, action))
    yield from videos.values()
