"""Something-Something V2: 174 things that hands do with somethings, told apart by motion; files are named by number."""

from __future__ import annotations

import re
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
    lines,
    listed,
    shelf,
)
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, inside, present, stem

VARIANTS: dict[str, str] = {"": "Something-Something V2: 174 actions with objects, motion"}
PUBLISHED = {"train": 168_913, "test": 24_777}
WORDS: dict[Side, str] = {"train": "train", "test": "validation"}
PACKAGE = "20bn-something-something-download-package-labels/labels"
FRAMES = re.compile(r"^(\d+)\s+\d+\s+(\d+)$")
"""A line of the lists for extracted frames: video, frames, class."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """SSv2 in folder `root`, trained on train and tested on validation. ValueError where there is none."""
    return present(annotated(variant, folder("ssv2", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The same as its lists have it, whatever videos are there.

    Groups are not known: the list of who filmed what was not published.
    """
    order, place = ClassOrder(labels("ssv2")), shelf(root, PACKAGE)
    # category.txt, which comes with the lists for frames, is no list of classes: sorted with brackets, it is in another
    # order than the numbers beside it, which are the authors'.
    official = place.find("something-something-v2-labels.json", "labels.json")
    if official is not None:
        numbers = document(official, dict, "classes")
        order.agree(sorted(numbers, key=lambda name: order.at(str(numbers[name]), f"{official}: {name!r}")), official)
    entries = [e for side in WORDS for e in _entries(_source(place, side), side, order)]
    return assemble("ssv2", entries, order.classes, footage=Footage(root), axis="motion", official_counts=PUBLISHED)


def _source(place: AnnotationFiles, side: Side) -> Path:
    word, short = WORDS[side], {"train": "train", "test": "val"}[side]
    return place.need(
        f"list of the {word} videos",
        f"something-something-v2-{word}.json",
        f"{word}.json",
        f"somesomev2_rgb_{word}_split.txt",
        *(f"{name}.{ending}" for ending in ("csv", "txt") for name in (word, short, f"ssv2_{short}")),
        f"sthv2_{short}_list_videos.txt",
    )


def _entries(path: Path, side: Side, order: ClassOrder) -> Iterator[LabeledVideo]:
    read = _from_json if path.suffix.lower() == ".json" else _from_list
    for where, video, truth in read(path, order):
        file = f"20bn-something-something-v2/{video}.webm"
        yield LabeledVideo(id=video, side=side, truth=truth, file=file, where=where)


def _from_json(path: Path, order: ClassOrder) -> Iterator[tuple[str, str, int]]:
    for number, record in enumerate(document(path, list, "videos"), 1):
        where = f"{path}: video {number}"
        video, template = fields_of(record, where, "id", "template")
        yield where, inside(video, where), order.of(template, where)


def _from_list(path: Path, order: ClassOrder) -> Iterator[tuple[str, str, int]]:
    first = next((line for _, line in lines(path)), "")
    if FRAMES.match(first):
        for where, line in lines(path):
            match = FRAMES.match(line)
            if match is None:
                raise UserError(f"{where}: {line[:80]!r} is not the number of a video, its frames and its class")
            yield where, match[1], order.at(match[2], where)
        return
    for where, file, truth in listed(path, order):
        yield where, stem(inside(file, where)), truth
