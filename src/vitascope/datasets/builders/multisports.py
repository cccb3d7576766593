"""MultiSports: tubes of 66 fine-grained actions of athletes in aerobics, basketball, football and volleyball."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.actors import Keyframes
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import dataset_folder, find_annotations, typed_name
from vitascope.datasets.readers.tube_files import read_sets
from vitascope.datasets.readers.tube_windows import tube_dataset
from vitascope.datasets.readers.video_files import require_videos

VARIANTS: dict[str, str] = {"": "MultiSports: tubes of 66 actions of athletes, in windows of a second"}
RATE = 25.0
"""Frames per second of folders of frames, and frames of a window."""


def build(variant: str, root: Path | None = None) -> Dataset[Keyframes]:
    """MultiSports in folder `root`; `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("multisports", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Keyframes]:
    """The dataset described by the annotations; videos may be missing."""
    path = find_annotations(root, "trainval").require("annotations of tubes", "multisports_GT.pkl")
    found = read_sets(path)
    return tube_dataset(
        typed_name("multisports", variant),
        found.videos,
        found.splits[0],
        found.classes,
        root=root,
        file="trainval/{}",
        rate=RATE,
        official_counts={},
        fold="train/val",
    )
