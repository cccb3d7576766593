"""Kinetics-700: 700 human actions in clips of ten seconds from YouTube; editions of 2019 and 2020 share the classes."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.types import Dataset
from vitascope.datasets.readers import kinetics_lists
from vitascope.datasets.readers.annotation_files import folder
from vitascope.datasets.readers.video_files import present

VARIANTS: dict[str, str] = {"": "Kinetics-700: 700 actions, appearance"}
PUBLISHED: dict[str, int] = {}
"""The editions differ, and every copy has fewer than its edition."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """Kinetics-700 in folder `root`, trained on train and tested on val. ValueError where there is none."""
    return present(annotated(variant, folder("k700", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[int]:
    """The same as its lists have it, whatever videos are there."""
    return kinetics_lists.annotated("k700", root, PUBLISHED)
