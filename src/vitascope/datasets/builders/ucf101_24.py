"""UCF101-24: tubes of 24 actions in untrimmed sports videos, with the corrected annotations of Singh et al.

The published numbers are those of split 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vitascope.core.actors import Keyframes
from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    dataset_folder,
    find_annotations,
    labels,
    lines,
    typed_name,
)
from vitascope.datasets.readers.tube_files import TubeSets, TubeVideo, read_sets, read_videos
from vitascope.datasets.readers.tube_windows import tube_dataset
from vitascope.datasets.readers.video_files import relative_path, require_videos

VARIANTS: dict[str, str] = {
    "": "UCF101-24, split 1: tubes of 24 actions, in windows of a second",
    "1": "UCF101-24, split 1 (the same)",
    "2": "UCF101-24, split 2",
    "3": "UCF101-24, split 3",
}
OFFICIAL_COUNTS = {
    "1": {"train": 15_864, "test": 6_367},
    "2": {"train": 16_186, "test": 6_045},
    "3": {"train": 15_822, "test": 6_409},
}
"""Windows of the authors' annotations; split 1 has 2,284 and 910 videos."""
PLACES = ("splitfiles", "ucfTrainTestlist")
SIZE = (320, 240)
"""Width and height of all videos, pixels."""
RATE = 25.0
"""Frames per second of folders of frames, and frames of a window."""


def build(variant: str, root: Path | None = None) -> Dataset[Keyframes]:
    """UCF101-24 in folder `root`, with one of its splits; `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("ucf101_24", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Keyframes]:
    """The dataset described by the annotations; videos may be missing."""
    split = variant or "1"
    found = tube_sets(find_annotations(root, *PLACES), split)
    return tube_dataset(
        typed_name("ucf101_24", variant),
        found.videos,
        found.splits[0],
        found.classes,
        root=root,
        file="rgb-images/{}",
        rate=RATE,
        official_counts=OFFICIAL_COUNTS[split],
        fold=f"split {split}",
    )


def tube_sets(place: AnnotationFiles, split: str) -> TubeSets:
    """The annotated videos and the one split that is asked for."""
    own, act = place.find("pyannot.pkl"), place.find("UCF101v2-GT.pkl")
    if own is None and act is not None:
        found = read_sets(act)
        if len(found.splits) < int(split):
            raise UserError(f"{act}: has {len(found.splits)} split only; put pyannot.pkl beside it for split {split}")
        return found._replace(splits=(found.splits[int(split) - 1],))
    path = own or place.require("annotations of tubes", "pyannot.pkl", "UCF101v2-GT.pkl")
    order = ClassOrder(labels("ucf101_24"))
    videos = read_videos(path, order.classes, SIZE)
    _check_labels(videos, order, path)
    test = set(_listed(place, split))
    if not test & videos.keys():
        raise UserError(f"{path}: has none of the {len(test)} test videos of split {split}; is it another set's file?")
    sides = tuple(tuple(name for name in videos if (name in test) == tested) for tested in (False, True))
    return TubeSets(order.classes, videos, ((sides[0], sides[1]),))


def _check_labels(videos: dict[str, TubeVideo], order: ClassOrder, path: Path) -> None:
    """UserError if a tube has another class than the folder of its video: the file numbers classes otherwise."""
    for name, video in videos.items():
        own = order.index(name.partition("/")[0], f"{path}: {name!r:.80}")
        if other := next((tube.label for tube in video.tubes if tube.label != own), None):
            raise UserError(f"{path}: {name}: label {other} is {order.classes[other]!r}, which the folder contradicts")


def _listed(place: AnnotationFiles, split: str) -> Iterator[str]:
    """The videos `Class/name` of a test list, which may name files and number classes."""
    path = place.require(f"test list of split {split}", f"testlist0{split}.txt", f"testlist{split}.txt")
    for where, line in lines(path):
        yield re.sub(r"(\.avi)?(\s+\d+)?$", "", relative_path(line, where))
