"""Something-Something V2: 174 actions of hands with objects that differ in motion; files are named by number."""

from __future__ import annotations

import re
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
    lines,
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

VARIANTS: dict[str, str] = {"": "Something-Something V2: 174 actions with objects, motion"}
OFFICIAL_COUNTS = {"train": 168_913, "test": 24_777}
WORDS: dict[Side, str] = {"train": "train", "test": "validation"}
PACKAGE = "20bn-something-something-download-package-labels/labels"
FRAMES = re.compile(r"^(\d+)\s+\d+\s+(\d+)$")
"""A line of a list for extracted frames: video, number of frames, class."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """SSv2 in folder `root`, trained on train and tested on validation. `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("ssv2", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The dataset described by the annotations; videos may be missing.

    Groups are unknown: the authors did not release who recorded which video.
    """
    order, place = ClassOrder(labels("ssv2")), find_annotations(root, PACKAGE)
    # category.txt of the lists for frames is sorted with brackets, hence not in the authors' order of the class numbers
    official = place.find("something-something-v2-labels.json", "labels.json")
    if official is not None:
        numbers = read_json(official, dict, "classes")
        order.check(
            sorted(numbers, key=lambda name: order.parse(str(numbers[name]), f"{official}: {name!r}")), official
        )
    entries = [e for side in WORDS for e in _entries(_source(place, side), side, order)]
    return assemble(
        "ssv2", entries, order.classes, footage=Footage(root), axis="motion", official_counts=OFFICIAL_COUNTS
    )


def _source(place: AnnotationFiles, side: Side) -> Path:
    word, short = WORDS[side], {"train": "train", "test": "val"}[side]
    return place.require(
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
    for number, record in enumerate(read_json(path, list, "videos"), 1):
        where = f"{path}: video {number}"
        video, template = require_fields(record, where, "id", "template")
        yield where, relative_path(video, where), order.index(template, where)


def _from_list(path: Path, order: ClassOrder) -> Iterator[tuple[str, str, int]]:
    first = next((line for _, line in lines(path)), "")
    if FRAMES.match(first):
        for where, line in lines(path):
            match = FRAMES.match(line)
            if match is None:
                raise UserError(f"{where}: {line[:80]!r} is not a video number, a number of frames and a class number")
            yield where, match[1], order.parse(match[2], where)
        return
    for where, file, truth in numbered_lines(path, order):
        yield where, stem(relative_path(file, where)), truth
