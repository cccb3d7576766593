"""HMDB51: 51 human actions from films and the web; three official splits of 70 training and 30 test clips per class."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.media import stem
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import (
    NUMBERED,
    AnnotationFiles,
    ClassOrder,
    dataset_folder,
    find_annotations,
    labels,
    lines,
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
    "": "HMDB51, split 1: 51 actions, appearance",
    "1": "HMDB51, split 1 (the same)",
    "2": "HMDB51, split 2",
    "3": "HMDB51, split 3",
}
OFFICIAL_COUNTS = {"train": 3_570, "test": 1_530}
PLACES = ("testTrainMulti_7030_splits", "test_train_splits", "testTrainSplits")
FLAGS: dict[str, Side] = {"1": "train", "2": "test"}
"""Flags in the authors' lists; clips with flag 0 are not part of the split."""
COUNTED = re.compile(r"^(.*\S)\s+\d+\s+(\d+)$")
"""A line of a list for extracted frames: clip, number of frames, class."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """HMDB51 in folder `root`, with one of its splits; `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("hmdb51", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The dataset described by the annotations; videos may be missing."""
    split, order = variant or "1", ClassOrder(labels("hmdb51"))
    place = find_annotations(root, *PLACES)
    lists = place.find_all(*(f"{name}_test_split{split}.txt" for name in order.classes))
    entries = list(_by_class(place, split, order) if lists else _by_side(place, split, order))
    return assemble(
        typed_name("hmdb51", variant),
        entries,
        order.classes,
        footage=Footage(root),
        axis="appearance",
        official_counts=OFFICIAL_COUNTS,
        fold=f"split {split}",
    )


def _by_class(place: AnnotationFiles, split: str, order: ClassOrder) -> Iterator[LabeledVideo]:
    """The clips of the authors' 51 lists, one per class, of lines `clip flag`."""
    for truth, name in enumerate(order.classes):
        path = place.require(f"list of class {name!r} in split {split}", f"{name}_test_split{split}.txt")
        for where, line in lines(path):
            match = NUMBERED.match(line)
            if match is None or match[2] not in ("0", *FLAGS):
                raise UserError(f"{where}: {line[:80]!r} is not a clip and 0 (unused), 1 (train) or 2 (test)")
            if match[2] in FLAGS:
                yield _entry(match[1], FLAGS[match[2]], truth, order, where)


def _by_side(place: AnnotationFiles, split: str, order: ClassOrder) -> Iterator[LabeledVideo]:
    """The clips of one list each for training and test, whose numbers must match the classes in the clip names."""
    words: dict[Side, str] = {"train": "train", "test": "val"}
    own = find_annotations(p) if (p := place.root / f"split{split}").is_dir() else None
    for side, word in words.items():
        names = (f"split{split}_{word}.txt", f"hmdb51_{word}_split_{split}_videos.txt")
        path = place.find(*names) or (own.find(f"{word}.txt") if own else None)
        for where, line in lines(
            path or place.require(f"{side} list of split {split}", f"*_test_split{split}.txt", *names)
        ):
            match = COUNTED.match(line) or NUMBERED.match(line)
            if match is None:
                raise UserError(f"{where}: {line[:80]!r} is not a clip and a class number")
            entry = _entry(match[1], side, order.parse(match[2], where), order, where)
            if entry.group is None:
                label = order.classes[entry.truth]
                raise UserError(
                    f"{where}: number {match[2]} is {label!r} in alphabetical order, which the clip name contradicts"
                )
            yield entry


def _entry(file: str, side: Side, truth: int, order: ClassOrder, where: str) -> LabeledVideo:
    """The example of a clip named by film, class and attributes. Splits keep the clips of a film and class together."""
    name, label = stem(relative_path(file, where)), order.classes[truth]
    film, separator, _ = name.rpartition(f"_{label}_")
    group = f"{label}/{film}" if separator else None
    return LabeledVideo(id=name, side=side, truth=truth, file=f"{label}/{name}.avi", group=group, where=where)
