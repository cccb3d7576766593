"""A release of AVA: the keyframes of both sides, of its tables, exclusions and movies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.datasets.readers.annotation_files import AnnotationFiles, find_annotations
from vitascope.datasets.readers.ava_tables import (
    OWN,
    RowIssues,
    check_classes,
    check_seconds,
    every_second,
    read_actions,
)
from vitascope.datasets.readers.keyframe_examples import ActorRows, KeyframeExamples, keyframe_examples
from vitascope.datasets.readers.movie_files import movie_sources
from vitascope.datasets.readers.video_files import SIDES, Footage, Side

OFFICIAL_COUNTS: dict[str, int] = {"train": 210_634, "test": 57_371}
"""Keyframes of version 2.2, with people and without, that are not excluded: table 2 of the TWLV-I report."""
DIGITS = 4
"""Digits of a second in AVA's tables: 0902."""
WORDS: dict[Side, tuple[str, str]] = {"train": ("train", "training"), "test": ("val", "test")}
"""How the authors call a side, and how messages do."""
PLACES = ("ava", "ava_annotations", "ava_v2.2", "ava_v2.1", "ava_kinetics", "ava_kinetics_v1_0")
"""Folders of the annotations below the root or its annotation folders."""


@dataclass
class Part:
    """The keyframes of both sides of a source of videos."""

    sides: dict[Side, KeyframeExamples]
    notes: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> dict[Side, int]:
        """Number of keyframes of each side."""
        return {side: len(made.examples) for side, made in self.sides.items()}


def annotation_files(root: Path) -> AnnotationFiles:
    """The annotation files of AVA or AVA-Kinetics below `root`; UserError if their classes are not AVA's."""
    place = find_annotations(root, *PLACES)
    check_classes(place)
    return place


def movie_keyframes(place: AnnotationFiles, release: str, *, every: bool) -> Part:
    """The keyframes of `release` (2.1 or 2.2): those that its tables list, or `every` second that is not excluded."""
    tables = {
        side: place.require(f"table of the {word} actions", f"ava_{of}_v{release}.csv")
        for side, (of, word) in WORDS.items()
    }
    issues, notes = RowIssues(), list[str]()
    rows = {side: _rows(place, tables[side], side, release=release, every=every, issues=issues) for side in SIDES}
    missing = [of for of, _ in WORDS.values() if not place.find(_exclusions(of, release))]
    if missing:
        notes.append(f"no {_exclusions(missing[0], release)}: no keyframe is left out as excluded")
    videos = dict.fromkeys(name for side in SIDES for name in rows[side].videos)
    footage = Footage(place.root, frames=True, names=videos)
    sources, forms = movie_sources(videos, footage)
    sides = {side: keyframe_examples(rows[side], sources, digits=DIGITS) for side in SIDES}
    return Part(sides, [*notes, *issues.notes(), *forms, *footage.notes()])


def _exclusions(of: str, release: str) -> str:
    return f"ava_{of}_excluded_timestamps_v{release}.csv"


def _rows(place: AnnotationFiles, path: Path, side: Side, *, release: str, every: bool, issues: RowIssues) -> ActorRows:
    """The rows of one side."""
    name = _exclusions(WORDS[side][0], release)
    excluded = place.require("list of the excluded keyframes", name) if every else place.find(name)
    rows = read_actions(path, excluded, issues)
    check_seconds(path, rows)
    require_actors(path, rows)
    return every_second(rows, excluded) if every and excluded else rows


def require_actors(path: Path, rows: ActorRows) -> None:
    """Raise UserError if no row has an evaluated action."""
    if not (rows.label >= 0).any():
        what = (
            f"none of its {len(rows.label):,} rows has an evaluated action" if len(rows.label) else "no row has a box"
        )
        raise UserError(f"{path}: {what}: there is nobody to detect; {OWN}")


def count_note(sizes: Mapping[Side, int], official: Mapping[str, int], hint: str) -> list[str]:
    """A note on numbers of keyframes that differ from the official ones; none if they agree."""
    if all(sizes[side] == official[side] for side in SIDES):
        return []
    given, known = (" and ".join(f"{of[side]:,}" for side in SIDES) for of in (sizes, official))
    return [f"{given} keyframes to train and to test, where the authors count {known}{hint}"]
