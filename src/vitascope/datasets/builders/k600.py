"""Kinetics-600: 600 human actions in ten-second clips from YouTube, including most of Kinetics-400."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.types import Dataset
from vitascope.datasets.readers import kinetics_lists
from vitascope.datasets.readers.annotation_files import dataset_folder
from vitascope.datasets.readers.video_files import require_videos

VARIANTS: dict[str, str] = {"": "Kinetics-600: 600 actions, appearance"}
OFFICIAL_COUNTS: dict[str, int] = {"test": 30_000}
"""Lines of the authors' validation table; copies have fewer."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """Kinetics-600 in folder `root`, trained on train and tested on val. `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("k600", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The dataset described by the annotations; videos may be missing."""
    return kinetics_lists.annotated("k600", root, OFFICIAL_COUNTS)
