"""AVA: 60 actions of people in movies, with their boxes at keyframes a second apart."""

from __future__ import annotations

from pathlib import Path

from vitascope.core.actors import Keyframes
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import dataset_folder, typed_name
from vitascope.datasets.readers.ava_release import OFFICIAL_COUNTS, annotation_files, count_note, movie_keyframes
from vitascope.datasets.readers.ava_tables import class_groups, classes
from vitascope.datasets.readers.keyframe_examples import keyframe_dataset
from vitascope.datasets.readers.video_files import require_videos, store_key

VARIANTS: dict[str, str] = {
    "": "AVA 2.2: 60 actions of people with boxes, at the keyframes that its tables list",
    "all": "AVA 2.2 at every second that is not excluded, with people or without, as the report counts",
    "2.1": "AVA 2.1, as in the ActivityNet challenge of 2018",
}
WITHOUT_PEOPLE = "; those that the tables do not list show nobody: ava/all has them"


def build(variant: str, root: Path | None = None) -> Dataset[Keyframes]:
    """AVA in folder `root`, trained on its training and tested on its validation movies.

    `UserError` if its files are missing. An example is a keyframe with all people in it.
    """
    return require_videos(annotated(variant, dataset_folder("ava", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Keyframes]:
    """The dataset described by the authors' tables; movies may be missing."""
    name, release = typed_name("ava", variant), "2.1" if variant == "2.1" else "2.2"
    part = movie_keyframes(annotation_files(root), release, every=variant == "all")
    official = OFFICIAL_COUNTS if release == "2.2" else {}
    fewer = any(count < official.get(side, 0) for side, count in part.sizes.items())
    hint = WITHOUT_PEOPLE if fewer and not variant else ""
    return keyframe_dataset(
        name,
        part.sides,
        classes(),
        root=str(root),
        key=store_key(name, root),
        official_counts=official,
        class_groups=class_groups(),
        notes=(*(count_note(part.sizes, official, hint) if official else ()), *part.notes),
    )
