"""Breakfast: 52 people make ten breakfasts, filmed by up to five cameras; 48 steps, frame by frame."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.types import Dataset, Timeline
from vitascope.datasets.readers.annotation_files import folder
from vitascope.datasets.readers.mstcn_labels import LabelLayout, segmentation
from vitascope.datasets.readers.video_files import Footage, folders, present, stem

VARIANTS: dict[str, str] = {"": "Breakfast: 48 steps of making breakfast, frame by frame; 1,712 videos, four splits"}
STEREO = "stereo"
CHANNELS = ("ch1", "ch0")
"""Of a stereo camera the authors have two files of one picture each; the labels are of both."""


def build(variant: str, root: Path | None = None) -> Dataset[Timeline]:
    """Breakfast in folder `root`, by the splits that everybody uses. ValueError where there is none."""
    return present(annotated(variant, folder("breakfast", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Timeline]:
    """The same as its labels have it, whatever videos are there."""
    return segmentation(root, LAYOUT)


def file(video: str, footage: Footage) -> str:
    """Where the video of `P03_cam01_P03_cereals` lies: under that name, else as the authors have it.

    There it is `P03/cam01/P03_cereals.avi`, a name that all cameras share: only the one in the folder of the camera is
    it.
    """
    person, camera, name = video.split("_", 2) if video.count("_") > 1 else (video, "", video)
    if footage.find(video):
        return f"{video}.avi"
    place = STEREO if camera.startswith(STEREO) else camera
    for shown in (name, *(f"{name}_{channel}" for channel in CHANNELS)):
        found = footage.find(f"{person}/{place}/{shown}.avi")
        if found and {person.lower(), place.lower()} <= folders(found) and stem(found) == shown:
            return found
    return f"{person}/{place}/{video}.avi"


LAYOUT = LabelLayout(
    "breakfast",
    fps=15.0,
    folds=4,
    folders=("Breakfast", "breakfast"),
    subject=lambda video: video.partition("_")[0],
    file=file,
)
