"""Kinetics-600: 600 human actions in clips of ten seconds from YouTube; a superset of most of Kinetics-400."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.types import Dataset
from vitascope.datasets.readers import kinetics_lists
from vitascope.datasets.readers.annotation_files import folder
from vitascope.datasets.readers.video_files import present

VARIANTS: dict[str, str] = {"": "Kinetics-600: 600 actions, appearance"}
PUBLISHED: dict[str, int] = {"test": 30_000}
"""Lines of the authors' validation table; copies have fewer."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """Kinetics-600 in folder `root`, trained on train and tested on val. ValueError where there is none."""
    return present(annotated(variant, folder("k600", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The same as its lists have it, whatever videos are there."""
    return kinetics_lists.annotated("k600", root, PUBLISHED)
