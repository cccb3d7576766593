"""COIN: whole instructional videos from YouTube, each of one of 180 tasks; what it is told by is its procedure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import ClassOrder, document, fields_of, folder, labels, shelf
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, inside, present

VARIANTS: dict[str, str] = {"": "COIN: 180 tasks of instructional videos, appearance"}
PUBLISHED = {"train": 9_030, "test": 2_797}
SUBSETS: dict[str, Side] = {"training": "train", "testing": "test"}


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """COIN in folder `root`, by its official split. ValueError where there is none."""
    return present(annotated(variant, folder("coin", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The same as COIN.json has it, whatever videos are there."""
    order = ClassOrder(labels("coin"))
    path = shelf(root).need("table of the videos", "COIN.json")
    entries = list(_entries(path, order))
    footage = Footage(root)
    published = PUBLISHED
    return assemble(
        "coin", entries, order.classes, footage=footage, axis="appearance", official_counts=published, fold="train/test"
    )


def _entries(path: Path, order: ClassOrder) -> Iterator[LabeledVideo]:
    """Of `{"database": {video: {"class", "recipe_type", "subset", ...}}}`; a video's number must be of its class."""
    (database,) = [document(path, dict, "videos").get("database")]
    if not isinstance(database, dict):
        raise UserError(f"{path}: no table 'database' of videos")
    for video, record in database.items():
        where = f"{path}: {video!r}"
        label, number, subset = fields_of(record, where, "class", "recipe_type", "subset")
        truth = order.at(number, where)
        if order.of(label, where) != truth:
            raise UserError(f"{where}: class {label!r} has number {number}, which is {order.classes[truth]!r}")
        if subset not in SUBSETS:
            raise UserError(f"{where}: subset {subset!r} is neither training nor testing")
        file = f"videos/{truth}/{inside(video, where)}.mp4"
        yield LabeledVideo(id=video, side=SUBSETS[subset], truth=truth, file=file, where=where)
