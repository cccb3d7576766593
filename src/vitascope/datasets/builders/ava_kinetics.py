"""AVA-Kinetics: AVA 2.2 and a keyframe of each of many clips of Kinetics-700, with AVA's 60 actions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from vitascope.core.actors import Keyframes
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import AnnotationFiles, dataset_folder, typed_name
from vitascope.datasets.readers.ava_release import (
    OFFICIAL_COUNTS,
    WORDS,
    Part,
    annotation_files,
    count_note,
    movie_keyframes,
    require_actors,
)
from vitascope.datasets.readers.ava_tables import RowIssues, class_groups, classes, read_actions
from vitascope.datasets.readers.keyframe_examples import (
    ActorRows,
    KeyframeExamples,
    keyframe_dataset,
    keyframe_examples,
)
from vitascope.datasets.readers.kinetics_clips import clip_sources
from vitascope.datasets.readers.video_files import SIDES, Side, require_videos, store_key
from vitascope.metrics.boxes import Frames

VARIANTS: dict[str, str] = {
    "": "AVA-Kinetics: AVA 2.2 and keyframes of Kinetics-700 with 60 actions of people with boxes",
    "kinetics": "the part of AVA-Kinetics in clips of Kinetics-700, without AVA's movies",
}
KINETICS_COUNTS: dict[str, int] = {"train": 141_457, "test": 32_511}
"""Keyframes in clips of Kinetics, as remembered of arXiv 2005.00214; not checked against the authors' tables."""


def build(variant: str, root: Path | None = None) -> Dataset[Keyframes]:
    """AVA-Kinetics in folder `root`, trained on its training and tested on its validation keyframes.

    `UserError` if its files are missing. Clips are called ID_START_END, as Kinetics is distributed.
    """
    return require_videos(annotated(variant, dataset_folder("ava_kinetics", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Keyframes]:
    """The dataset described by the authors' tables; videos may be missing."""
    name, place = typed_name("ava_kinetics", variant), annotation_files(root)
    parts, official = [_clip_keyframes(place)], dict(KINETICS_COUNTS)
    if not variant:
        parts.insert(0, movie_keyframes(place, "2.2", every=False))
        official = {side: official[side] + OFFICIAL_COUNTS[side] for side in SIDES}
    both = Part({side: _joined([part.sides[side] for part in parts]) for side in SIDES})
    return keyframe_dataset(
        name,
        both.sides,
        classes(),
        root=str(root),
        key=store_key(name, root),
        official_counts=official,
        class_groups=class_groups(),
        notes=(*count_note(both.sizes, official, ""), *(note for part in parts for note in part.notes)),
    )


def _joined(parts: list[KeyframeExamples]) -> KeyframeExamples:
    examples = tuple(e for part in parts for e in part.examples)
    return KeyframeExamples(examples, {i: why for part in parts for i, why in part.missing.items()})


def _clip_keyframes(place: AnnotationFiles) -> Part:
    """The keyframes in clips of Kinetics; a keyframe is named by the second of the YouTube video."""
    issues = RowIssues()
    rows: dict[Side, ActorRows] = {}
    for side, (of, word) in WORDS.items():
        path = place.require(f"table of the {word} actions", f"kinetics_{of}_v1.0.csv")
        rows[side] = read_actions(path, None, issues)
        require_actors(path, rows[side])
    sources = clip_sources(_times(rows.values()), place.root)
    return Part({side: keyframe_examples(rows[side], sources) for side in SIDES}, list(issues.notes()))


def _times(sides: Iterable[ActorRows]) -> dict[str, set[float]]:
    """The annotated times of each video."""
    times: dict[str, set[float]] = defaultdict(set)
    for rows in sides:
        for frames in (Frames(rows.video, rows.time), rows.empty):
            for video, time in zip(frames.video.tolist(), frames.time.tolist(), strict=True):
                times[rows.videos[video]].add(time)
    return times
