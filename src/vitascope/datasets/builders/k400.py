"""Kinetics-400: 400 human actions in clips of ten seconds from YouTube; copies differ by the day of download."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.types import Dataset
from vitascope.datasets.readers import kinetics_lists
from vitascope.datasets.readers.annotation_files import folder
from vitascope.datasets.readers.video_files import present

VARIANTS: dict[str, str] = {"": "Kinetics-400: 400 actions, appearance"}
PUBLISHED: dict[str, int] = {"train": 246_534, "test": 19_906}
"""Lines of the authors' tables; the report had 235,693 and 19,165 left of them."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """Kinetics-400 in folder `root`, trained on train and tested on val. ValueError where there is none."""
    return present(annotated(variant, folder("k400", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The same as its lists have it, whatever videos are there."""
    return kinetics_lists.annotated("k400", root, PUBLISHED)
