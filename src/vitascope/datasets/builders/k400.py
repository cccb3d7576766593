"""Kinetics-400: 400 human actions in ten-second clips from YouTube; copies differ by the date of download."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.types import Dataset
from vitascope.datasets.readers import kinetics_lists
from vitascope.datasets.readers.annotation_files import dataset_folder
from vitascope.datasets.readers.video_files import require_videos

VARIANTS: dict[str, str] = {"": "Kinetics-400: 400 actions, appearance"}
OFFICIAL_COUNTS: dict[str, int] = {"train": 246_534, "test": 19_906}
"""Lines of the authors' tables, of which the report used 235,693 and 19,165."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """Kinetics-400 in folder `root`, trained on train and tested on val. `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("k400", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The dataset described by the annotations; videos may be missing."""
    return kinetics_lists.annotated("k400", root, OFFICIAL_COUNTS)
