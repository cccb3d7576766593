"""Charades: 157 everyday actions in 30-second home videos, several of them in most videos."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import (
    ClassOrder,
    dataset_folder,
    find_annotations,
    labels,
    lines,
    read_table,
)
from vitascope.datasets.readers.video_files import (
    AnnotatedVideo,
    Footage,
    Side,
    assemble,
    relative_path,
    require_videos,
)

VARIANTS: dict[str, str] = {"": "Charades: 157 everyday actions, several in most videos, scored by mAP; motion"}
OFFICIAL_COUNTS = {"train": 7_985, "test": 1_863}
SIDES: tuple[Side, Side] = ("train", "test")
ACTION = re.compile(r"c(\d{3})(?: \d+(?:\.\d+)?){2}")
"""An action of a video: its class, and its start and end in seconds, which do not matter here."""
CLASS = re.compile(r"c(\d{3})\s+(\S.*)")
Labels = tuple[int, ...]


def build(variant: str, root: Path | None = None) -> Dataset[Labels]:
    """Charades in folder `root`, with the official split; `UserError` if its files are missing.

    The label set of a video are the classes of all its actions, whenever they happen: the task of the official
    classification script, of SlowFast and of ActionCLIP. Videos without an action remain, as of no class.
    """
    return require_videos(annotated(variant, dataset_folder("charades", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Labels]:
    """The dataset described by the annotations; videos may be missing. A group is a person, who filmed at home."""
    order, place = ClassOrder(labels("charades")), find_annotations(root, "Charades")
    if (own := place.find("Charades_v1_classes.txt")) is not None:
        order.check(list(_own_classes(own)), own)
    files = {side: place.require(f"table of the {side} videos", f"Charades_v1_{side}.csv") for side in SIDES}
    return assemble(
        "charades",
        [video for side in SIDES for video in _videos(files[side], side, order)],
        order.classes,
        footage=Footage(root),
        axis="motion",
        official_counts=OFFICIAL_COUNTS,
        fold="train/test",
    )


def _own_classes(path: Path) -> Iterator[str]:
    for number, (where, line) in enumerate(lines(path)):
        match = CLASS.fullmatch(line)
        if match is None or int(match[1]) != number:
            raise UserError(f"{where}: {line[:60]!r} is not `c{number:03}` and a class; use the authors' file")
        yield match[2]


def _videos(path: Path, side: Side, order: ClassOrder) -> Iterator[AnnotatedVideo[Labels]]:
    for where, row in read_table(path, "id", "subject", "actions"):
        video = relative_path(row["id"], where)
        yield AnnotatedVideo(
            id=video,
            side=side,
            truth=_labels(row["actions"], where, order),
            file=f"Charades_v1/{video}.mp4",
            group=row["subject"] or None,
            where=where,
        )


def _labels(actions: str, where: str, order: ClassOrder) -> Labels:
    found = set()
    for action in filter(None, actions.split(";")):
        match = ACTION.fullmatch(action.strip())
        if match is None:
            raise UserError(
                f"{where}: action {action[:40]!r} is not a class, a start and an end, as 'c092 11.90 21.20'"
            )
        found.add(order.parse(str(int(match[1])), where))
    return tuple(sorted(found))
