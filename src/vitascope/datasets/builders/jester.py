"""Jester: 27 gestures before a webcam, told apart by motion; each is a folder of frames, twelve a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import ClassOrder, cells, folder, labels, lines, shelf
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, inside, present

VARIANTS: dict[str, str] = {"": "Jester: 27 hand gestures, motion"}
PUBLISHED = {"train": 118_562, "test": 14_787}
WORDS: dict[Side, str] = {"train": "train", "test": "validation"}
RATE = 12.0
"""Frames a second, as the authors extracted them."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """Jester in folder `root`, trained on train and tested on validation. ValueError where there is none."""
    return present(annotated(variant, folder("jester", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The same as its lists have it, whatever videos are there.

    Groups are not known: the list of who filmed what was not published.
    """
    order, place = ClassOrder(labels("jester")), shelf(root, "jester-v1", "20bn-jester-v1/annotations")
    if (own := place.find("jester-v1-labels.csv", "labels.csv")) is not None:
        order.agree([line for _, line in lines(own)], own)
    entries: list[LabeledVideo] = []
    for side, word in WORDS.items():
        path = place.need(f"list of the {word} gestures", f"jester-v1-{word}.csv", f"{word}.csv")
        entries += _entries(path, side, order)
    footage = Footage(root, frames=True)
    return assemble("jester", entries, order.classes, footage=footage, axis="motion", official_counts=PUBLISHED)


def _entries(path: Path, side: Side, order: ClassOrder) -> Iterator[LabeledVideo]:
    """Of a list `number;gesture`."""
    for where, row in cells(path, ";", least=2):
        video = inside(row[0], where)
        file = f"20bn-jester-v1/{video}"
        yield LabeledVideo(id=video, side=side, truth=order.of(row[1], where), file=file, fps=RATE, where=where)
