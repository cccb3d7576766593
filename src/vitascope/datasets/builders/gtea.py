"""GTEA: four people prepare seven snacks and drinks each, egocentric; 11 actions, labeled frame by frame."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.types import Dataset, Timeline
from vitascope.datasets.readers.annotation_files import dataset_folder
from vitascope.datasets.readers.mstcn_labels import LabelLayout, segmentation_dataset
from vitascope.datasets.readers.video_files import require_videos

VARIANTS: dict[str, str] = {
    "": "GTEA: 11 actions of making a snack, egocentric, frame by frame; 28 videos, four splits"
}
LAYOUT = LabelLayout(
    "gtea",
    fps=15.0,
    folds=4,
    folders=("GTEA", "gtea"),
    subject=lambda video: video.partition("_")[0],
    file=lambda video, footage: f"Videos/{video}.mp4",
)


def build(variant: str, root: Path | None = None) -> Dataset[Timeline]:
    """The dataset in folder `root`, with the standard splits; `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("gtea", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Timeline]:
    """The dataset described by the labels; videos may be missing."""
    return segmentation_dataset(root, LAYOUT)
