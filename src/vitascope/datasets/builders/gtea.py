"""What four people do who make seven snacks and drinks each: 11 actions, seen from the head."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.types import Dataset, Timeline
from vitascope.datasets.readers.annotation_files import folder
from vitascope.datasets.readers.mstcn_labels import LabelLayout, segmentation
from vitascope.datasets.readers.video_files import present

VARIANTS: dict[str, str] = {"": "GTEA: 11 actions of making a snack, seen from the head; 28 videos, four splits"}
LAYOUT = LabelLayout(
    "gtea",
    fps=15.0,
    folds=4,
    folders=("GTEA", "gtea"),
    subject=lambda video: video.partition("_")[0],
    file=lambda video, footage: f"Videos/{video}.mp4",
)


def build(variant: str, root: Path | None = None) -> Dataset[Timeline]:
    """The data set in folder `root`, by the splits that everybody uses. ValueError where there is none."""
    return present(annotated(variant, folder("gtea", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Timeline]:
    """The same as its labels have it, whatever videos are there."""
    return segmentation(root, LAYOUT)
