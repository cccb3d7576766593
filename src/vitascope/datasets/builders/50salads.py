"""50Salads: 25 people prepare a salad twice each, filmed from above; 19 steps, labeled frame by frame."""

# ruff: noqa: N999 - the file is named after the dataset

from __future__ import annotations

from pathlib import Path

from vitascope.core.types import Dataset, Timeline
from vitascope.datasets.readers.annotation_files import dataset_folder
from vitascope.datasets.readers.mstcn_labels import LabelLayout, segmentation_dataset
from vitascope.datasets.readers.video_files import require_videos

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
    """The dataset in folder `root`, with the standard splits; `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("50salads", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Timeline]:
    """The dataset described by the labels; videos may be missing."""
    return segmentation_dataset(root, LAYOUT)
