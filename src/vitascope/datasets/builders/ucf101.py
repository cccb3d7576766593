"""UCF101: 101 human actions from YouTube; three official splits that divide no group of clips from one video."""

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
    typed_name,
)
from vitascope.datasets.readers.video_files import (
    Footage,
    LabeledVideo,
    Side,
    assemble,
    relative_path,
    require_videos,
)

VARIANTS: dict[str, str] = {
    "": "UCF101, split 1: 101 actions, appearance",
    "1": "UCF101, split 1 (the same)",
    "2": "UCF101, split 2",
    "3": "UCF101, split 3",
}
OFFICIAL_COUNTS = {
    "1": {"train": 9_537, "test": 3_783},
    "2": {"train": 9_586, "test": 3_734},
    "3": {"train": 9_624, "test": 3_696},
}
GROUP = re.compile(r"^v_(.+_g\d+)_c\d+$")
"""File name of a clip: class, group (clips of one video or scene) and number."""
PLACE = "ucfTrainTestlist"


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """UCF101 in folder `root`, with one of its splits; `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("ucf101", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The dataset described by the annotations; videos may be missing."""
    split, order, place = variant or "1", ClassOrder(labels("ucf101")), find_annotations(root, PLACE)
    if (own := place.find("classInd.txt")) is not None:
        order.check([line.partition(" ")[2] for _, line in lines(own)], own)
    entries = [*_train(place, split, order), *_test(place, split, order)]
    return assemble(
        typed_name("ucf101", variant),
        entries,
        order.classes,
        footage=Footage(root),
        axis="appearance",
        official_counts=OFFICIAL_COUNTS[split],
        fold=f"split {split}",
    )


def _train(place: AnnotationFiles, split: str, order: ClassOrder) -> Iterator[LabeledVideo]:
    """The clips of a list `Class/v_Class_g08_c01.avi number`; numbers count from 1 and must match the folder."""
    path = place.require(f"training list of split {split}", f"trainlist0{split}.txt", f"trainlist{split}.txt")
    for where, file, truth in numbered_lines(path, order, first=1):
        entry = _entry(file, "train", order, where)
        if entry.truth != truth:
            raise UserError(f"{where}: {file} is numbered {truth + 1}, which is {order.classes[truth]!r}")
        yield entry


def _test(place: AnnotationFiles, split: str, order: ClassOrder) -> Iterator[LabeledVideo]:
    """The clips of a list without class numbers."""
    path = place.require(f"test list of split {split}", f"testlist0{split}.txt", f"testlist{split}.txt")
    for where, line in lines(path):
        yield _entry(re.sub(r"\s+\d+$", "", line), "test", order, where)


def _entry(file: str, side: Side, order: ClassOrder, where: str) -> LabeledVideo:
    file = relative_path(file, where)
    name = stem(file)
    truth = order.index(file.rpartition("/")[0].rpartition("/")[2], where)
    match = GROUP.match(name)
    group = match[1] if match else None
    return LabeledVideo(id=name, side=side, truth=truth, file=f"UCF-101/{file}", group=group, where=where)
