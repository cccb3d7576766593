"""COIN: instructional videos from YouTube, each showing one of 180 tasks; the procedure distinguishes the classes."""

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
    read_json,
    require_fields,
)
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, relative_path, require_videos

VARIANTS: dict[str, str] = {"": "COIN: 180 tasks of instructional videos, appearance"}
OFFICIAL_COUNTS = {"train": 9_030, "test": 2_797}
SUBSETS: dict[str, Side] = {"training": "train", "testing": "test"}


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """COIN in folder `root`, with the official split; `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("coin", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The dataset described by COIN.json; videos may be missing."""
    order = ClassOrder(labels("coin"))
    path = find_annotations(root).require("table of the videos", "COIN.json")
    entries = list(_entries(path, order))
    return assemble(
        "coin",
        entries,
        order.classes,
        footage=Footage(root),
        axis="appearance",
        official_counts=OFFICIAL_COUNTS,
        fold="train/test",
    )


def _entries(path: Path, order: ClassOrder) -> Iterator[LabeledVideo]:
    """The videos of `{"database": {video: {"class", "recipe_type", "subset", ...}}}`; number and class must agree."""
    (database,) = [read_json(path, dict, "videos").get("database")]
    if not isinstance(database, dict):
        raise UserError(f"{path}: no object 'database' of videos")
    for video, record in database.items():
        where = f"{path}: {video!r}"
        label, number, subset = require_fields(record, where, "class", "recipe_type", "subset")
        truth = order.parse(number, where)
        if order.index(label, where) != truth:
            raise UserError(f"{where}: class {label!r} has number {number}, which is {order.classes[truth]!r}")
        if subset not in SUBSETS:
            raise UserError(f"{where}: subset {subset!r} is not training or testing")
        file = f"videos/{truth}/{relative_path(video, where)}.mp4"
        yield LabeledVideo(id=video, side=SUBSETS[subset], truth=truth, file=file, where=where)
