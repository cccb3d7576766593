"""UCF101: 101 human actions from YouTube in three official splits, which part no group of clips from one video."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    folder,
    labels,
    lines,
    listed,
    shelf,
    typed,
)
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, inside, present, stem

VARIANTS: dict[str, str] = {
    "": "UCF101, split 1: 101 actions, appearance",
    "1": "UCF101, split 1 by its number",
    "2": "UCF101, split 2",
    "3": "UCF101, split 3",
}
PUBLISHED = {
    "1": {"train": 9_537, "test": 3_783},
    "2": {"train": 9_586, "test": 3_734},
    "3": {"train": 9_624, "test": 3_696},
}
GROUP = re.compile(r"^v_(.+_g\d+)_c\d+$")
"""Clips are named by class, group (one video, one scene) and number."""
PLACE = "ucfTrainTestlist"


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """UCF101 in folder `root`, by one of its splits. ValueError where there is none."""
    return present(annotated(variant, folder("ucf101", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The same as its lists have it, whatever videos are there."""
    split, order, place = variant or "1", ClassOrder(labels("ucf101")), shelf(root, PLACE)
    if (own := place.find("classInd.txt")) is not None:
        order.agree([line.partition(" ")[2] for _, line in lines(own)], own)
    entries = [*_train(place, split, order), *_test(place, split, order)]
    return assemble(
        typed("ucf101", variant),
        entries,
        order.classes,
        footage=Footage(root),
        axis="appearance",
        official_counts=PUBLISHED[split],
        fold=f"split {split}",
    )


def _train(place: AnnotationFiles, split: str, order: ClassOrder) -> Iterator[LabeledVideo]:
    """Of a list `Class/v_Class_g08_c01.avi number`; numbers count from 1 and must be of the class of the folder."""
    path = place.need(f"training list of split {split}", f"trainlist0{split}.txt", f"trainlist{split}.txt")
    for where, file, truth in listed(path, order, first=1):
        entry = _entry(file, "train", order, where)
        if entry.truth != truth:
            raise UserError(f"{where}: {file} is numbered {truth + 1}, which is {order.classes[truth]!r}")
        yield entry


def _test(place: AnnotationFiles, split: str, order: ClassOrder) -> Iterator[LabeledVideo]:
    """Of a list that has no numbers."""
    path = place.need(f"test list of split {split}", f"testlist0{split}.txt", f"testlist{split}.txt")
    for where, line in lines(path):
        yield _entry(re.sub(r"\s+\d+$", "", line), "test", order, where)


def _entry(file: str, side: Side, order: ClassOrder, where: str) -> LabeledVideo:
    file = inside(file, where)
    name = stem(file)
    truth = order.of(file.rpartition("/")[0].rpartition("/")[2], where)
    match = GROUP.match(name)
    group = match[1] if match else None
    return LabeledVideo(id=name, side=side, truth=truth, file=f"UCF-101/{file}", group=group, where=where)
