"""What 25 people do who prepare a salad, twice each: 19 steps, filmed from above."""

# ruff: noqa: N999 - the name of a data set, as it is typed

from __future__ import annotations

from pathlib import Path

from vitascope.core.types import Dataset, Timeline
from vitascope.datasets.readers.annotation_files import folder
from vitascope.datasets.readers.mstcn_labels import LabelLayout, segmentation
from vitascope.datasets.readers.video_files import present

VARIANTS: dict[str, str] = {"": "50Salads: 19 steps of making a salad, frame by frame; 50 videos, five splits"}
LAYOUT = LabelLayout(
    "50salads",
    fps=30.0,
    folds=5,
    folders=("50Salads", "50salads"),
    subject=lambda video: video.rpartition("-")[0] or None,
    file=lambda video, footage: f"rgb/{video}.avi",
)


def build(variant: str, root: Path | None = None) -> Dataset[Timeline]:
    """The data set in folder `root`, by the splits that everybody uses. ValueError where there is none."""
    return present(annotated(variant, folder("50salads", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Timeline]:
    """The same as its labels have it, whatever videos are there."""
    return segmentation(root, LAYOUT)
