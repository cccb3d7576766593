"""Breakfast: 52 people make ten breakfasts, filmed by up to five cameras; 48 steps, labeled frame by frame."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.media import stem
from vitascope.core.names import loose
from vitascope.core.types import Dataset, Timeline
from vitascope.datasets.readers.annotation_files import dataset_folder
from vitascope.datasets.readers.mstcn_labels import LabelLayout, segmentation_dataset
from vitascope.datasets.readers.video_files import Footage, folder_names, require_videos

VARIANTS: dict[str, str] = {"": "Breakfast: 48 steps of making breakfast, frame by frame; 1,712 videos, four splits"}
STEREO = "stereo"
CHANNELS = ("ch1", "ch0")
"""Channels of the stereo camera: two files of one scene, which share their labels."""


def build(variant: str, root: Path | None = None) -> Dataset[Timeline]:
    """Breakfast in folder `root`, with the standard splits; `UserError` if its files are missing."""
    return require_videos(annotated(variant, dataset_folder("breakfast", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Timeline]:
    """The dataset described by the labels; videos may be missing."""
    return segmentation_dataset(root, LAYOUT)


def file(video: str, footage: Footage) -> str:
    """Path of the video labeled as `P03_cam01_P03_cereals`: a file of that name, else the authors' path.

    In the authors' distribution it is `P03/cam01/P03_cereals.avi`; since all cameras share the file name, only the file
    in the folder of the camera matches.
    """
    person, camera, name = video.split("_", 2) if video.count("_") > 1 else (video, "", video)
    if footage.find(video):
        return f"{video}.avi"
    place = STEREO if camera.startswith(STEREO) else camera
    for candidate in (name, *(f"{name}_{channel}" for channel in CHANNELS)):
        path = footage.find(f"{person}/{place}/{candidate}.avi")
        if path and {loose(person), loose(place)} <= folder_names(path) and stem(path) == candidate:
            return path
    return f"{person}/{place}/{video}.avi"


LAYOUT = LabelLayout(
    "breakfast",
    fps=15.0,
    folds=4,
    folders=("Breakfast", "breakfast"),
    subject=lambda video: video.partition("_")[0],
    file=file,
)
