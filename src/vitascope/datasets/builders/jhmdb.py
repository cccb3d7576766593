"""JHMDB: tubes of 21 actions in short clips of HMDB51; three official splits, of which results are averaged."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.actors import Keyframes
from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import dataset_folder, find_annotations, typed_name
from vitascope.datasets.readers.tube_files import read_sets
from vitascope.datasets.readers.tube_windows import tube_dataset
from vitascope.datasets.readers.video_files import require_videos

VARIANTS: dict[str, str] = {
    "": "JHMDB, split 1: tubes of 21 actions, in windows of a second",
    "1": "JHMDB, split 1 (the same)",
    "2": "JHMDB, split 2",
    "3": "JHMDB, split 3",
}
OFFICIAL_COUNTS = {
    "1": {"train": 660, "test": 268},
    "2": {"train": 658, "test": 270},
    "3": {"train": 663, "test": 265},
}
"""Videos, none of which is longer than a window."""
RATE = 30.0
"""Frames per second of folders of frames, and frames of a window."""


def build(variant: str, root: Path | None = None) -> Dataset[Keyframes]:
    """JHMDB in folder `root`, with one of its splits; `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("jhmdb", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Keyframes]:
    """The dataset described by the annotations; videos may be missing."""
    split = variant or "1"
    path = find_annotations(root).require("annotations of tubes", "JHMDB-GT.pkl")
    found = read_sets(path)
    if len(found.splits) < int(split):
        raise UserError(f"{path}: has {len(found.splits)} splits, so no split {split}; get the authors' file")
    return tube_dataset(
        typed_name("jhmdb", variant),
        found.videos,
        found.splits[int(split) - 1],
        found.classes,
        root=root,
        file="Frames/{}",
        rate=RATE,
        official_counts=OFFICIAL_COUNTS[split],
        fold=f"split {split}",
    )
