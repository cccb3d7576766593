"""Kinetics-700: 700 human actions in ten-second clips from YouTube; the 2019 and 2020 editions share the classes."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.types import Dataset
from vitascope.datasets.readers import kinetics_lists
from vitascope.datasets.readers.annotation_files import dataset_folder
from vitascope.datasets.readers.video_files import require_videos

VARIANTS: dict[str, str] = {"": "Kinetics-700: 700 actions, appearance"}
OFFICIAL_COUNTS: dict[str, int] = {}
"""None: the editions differ, and every copy lacks some clips."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """Kinetics-700 in folder `root`, trained on train and tested on val. `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("k700", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The dataset described by the annotations; videos may be missing."""
    return kinetics_lists.annotated("k700", root, OFFICIAL_COUNTS)
