"""Jester: 27 hand gestures in front of a webcam that differ in motion; folders of frames at 12 frames per second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import (
    ClassOrder,
    dataset_folder,
    find_annotations,
    labels,
    lines,
    read_rows,
)
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, relative_path, require_videos

VARIANTS: dict[str, str] = {"": "Jester: 27 hand gestures, motion"}
OFFICIAL_COUNTS = {"train": 118_562, "test": 14_787}
WORDS: dict[Side, str] = {"train": "train", "test": "validation"}
RATE = 12.0
"""Frame rate of the authors' extracted frames, frames per second."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """Jester in folder `root`, trained on train and tested on validation. `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("jester", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The dataset described by the annotations; videos may be missing.

    Groups are unknown: the authors did not release who recorded which video.
    """
    order, place = ClassOrder(labels("jester")), find_annotations(root, "jester-v1", "20bn-jester-v1/annotations")
    if (own := place.find("jester-v1-labels.csv", "labels.csv")) is not None:
        order.check([line for _, line in lines(own)], own)
    entries: list[LabeledVideo] = []
    for side, word in WORDS.items():
        path = place.require(f"list of the {word} gestures", f"jester-v1-{word}.csv", f"{word}.csv")
        entries += _entries(path, side, order)
    footage = Footage(root, frames=True)
    return assemble("jester", entries, order.classes, footage=footage, axis="motion", official_counts=OFFICIAL_COUNTS)


def _entries(path: Path, side: Side, order: ClassOrder) -> Iterator[LabeledVideo]:
    """The videos of a list of lines `number;gesture`."""
    for where, row in read_rows(path, ";", min_columns=2):
        video = relative_path(row[0], where)
        file = f"20bn-jester-v1/{video}"
        yield LabeledVideo(id=video, side=side, truth=order.index(row[1], where), file=file, fps=RATE, where=where)
