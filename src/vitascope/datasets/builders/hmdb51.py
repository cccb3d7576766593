"""HMDB51: 51 human actions from films and the web in three official splits of 70 and 30 clips a class."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import (
    NUMBERED,
    AnnotationFiles,
    ClassOrder,
    folder,
    labels,
    lines,
    shelf,
    typed,
)
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, inside, present, stem

VARIANTS: dict[str, str] = {
    "": "HMDB51, split 1: 51 actions, appearance",
    "1": "HMDB51, split 1 by its number",
    "2": "HMDB51, split 2",
    "3": "HMDB51, split 3",
}
PUBLISHED = {"train": 3_570, "test": 1_530}
PLACES = ("testTrainMulti_7030_splits", "test_train_splits", "testTrainSplits")
FLAGS: dict[str, Side] = {"1": "train", "2": "test"}
"""Of the authors' lists, one a class; clips with 0 are in neither side of that split."""
COUNTED = re.compile(r"^(.*\S)\s+\d+\s+(\d+)$")
"""A line of the lists for extracted frames: clip, frames, class."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """HMDB51 in folder `root`, by one of its splits. ValueError where there is none."""
    return present(annotated(variant, folder("hmdb51", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The same as its lists have it, whatever videos are there."""
    split, order = variant or "1", ClassOrder(labels("hmdb51"))
    place = shelf(root, *PLACES)
    found = place.all(*(f"{name}_test_split{split}.txt" for name in order.classes))
    entries = list(_by_class(place, split, order) if found else _by_side(place, split, order))
    return assemble(
        typed("hmdb51", variant),
        entries,
        order.classes,
        footage=Footage(root),
        axis="appearance",
        official_counts=PUBLISHED,
        fold=f"split {split}",
    )


def _by_class(place: AnnotationFiles, split: str, order: ClassOrder) -> Iterator[LabeledVideo]:
    """Of the authors' 51 lists `clip flag`."""
    for truth, name in enumerate(order.classes):
        path = place.need(f"list of class {name!r} in split {split}", f"{name}_test_split{split}.txt")
        for where, line in lines(path):
            match = NUMBERED.match(line)
            if match is None or match[2] not in ("0", *FLAGS):
                raise UserError(f"{where}: {line[:80]!r} is not a clip and 0 (unused), 1 (train) or 2 (test)")
            if match[2] in FLAGS:
                yield _entry(match[1], FLAGS[match[2]], truth, order, where)


def _by_side(place: AnnotationFiles, split: str, order: ClassOrder) -> Iterator[LabeledVideo]:
    """Of one list a side with numbers, which must be those of the classes in the names of the clips."""
    words: dict[Side, str] = {"train": "train", "test": "val"}
    own = shelf(p) if (p := place.root / f"split{split}").is_dir() else None
    for side, word in words.items():
        names = (f"split{split}_{word}.txt", f"hmdb51_{word}_split_{split}_videos.txt")
        path = place.find(*names) or (own.find(f"{word}.txt") if own else None)
        for where, line in lines(
            path or place.need(f"{side} list of split {split}", f"*_test_split{split}.txt", *names)
        ):
            match = COUNTED.match(line) or NUMBERED.match(line)
            if match is None:
                raise UserError(f"{where}: {line[:80]!r} is not a clip and the number of its class")
            entry = _entry(match[1], side, order.at(match[2], where), order, where)
            if entry.group is None:
                said = order.classes[entry.truth]
                raise UserError(
                    f"{where}: number {match[2]} is {said!r} in alphabetical order, its name says otherwise"
                )
            yield entry


def _entry(file: str, side: Side, truth: int, order: ClassOrder, where: str) -> LabeledVideo:
    """Clips are named by film, class and what is seen of whom. A split parts no film within a class, but across."""
    name, label = stem(inside(file, where)), order.classes[truth]
    film, found, _ = name.rpartition(f"_{label}_")
    group = f"{label}/{film}" if found else None
    return LabeledVideo(id=name, side=side, truth=truth, file=f"{label}/{name}.avi", group=group, where=where)
