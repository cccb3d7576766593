"""EPIC-KITCHENS-100: what a cook does, narrated: a verb, a noun, or both; spans of long videos from a head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Segment, Span
from vitascope.datasets.readers import activitynet_json
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    folder,
    header,
    labels,
    shelf,
    table,
    typed,
)
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, present

VARIANTS: dict[str, str] = {
    "verb": "EPIC-KITCHENS-100 by verb: 97 classes, what the report means by EK",
    "noun": "EPIC-KITCHENS-100 by noun: 300 classes",
    "action": "EPIC-KITCHENS-100 by action: the 3,806 pairs of a verb and a noun that occur, as P(verb) P(noun)",
    "localize-verb": "EPIC-KITCHENS-100 untrimmed: 97 verbs, when; 495 videos to train, 138 to test",
    "localize-noun": "EPIC-KITCHENS-100 untrimmed: 300 nouns, when; 495 videos to train, 138 to test",
}
PUBLISHED = {"train": 67_217, "test": 9_668}
UNTRIMMED = {"train": 495, "test": 138}
"""Videos."""
FACTORS = ("verb", "noun")
LOCALIZE = "localize-"
RATE = 30.0
"""Frames a second in the tables of the detection task, which count frames of videos resampled to that."""
OFFICIAL = ("video_id", "start_timestamp", "stop_timestamp", "verb_class", "noun_class")
DETECTION = ("video", "start", "stop", "verb", "noun")
NAMES: dict[Side, tuple[str, ...]] = {
    "train": ("EPIC_100_train.csv", "c2_training.csv", "training.csv", "train.csv"),
    "test": ("EPIC_100_validation.csv", "c2_validation.csv", "validation.csv", "val.csv"),
}


@dataclass(frozen=True, slots=True)
class NarratedAction:
    """One narrated action."""

    id: str
    side: Side
    video: str
    span: Span
    verb: int
    noun: int
    where: str


def build(variant: str, root: Path | None = None) -> Dataset[Any]:
    """EPIC-KITCHENS-100 in folder `root`, trained on train and tested on validation. ValueError where there is none."""
    return present(annotated(variant, folder("epic", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Any]:
    """The same as its lists have it, whatever videos are there.

    A group is a video. Some nouns and many pairs are tested and never trained: the official split is so.
    """
    place = shelf(root, "epic-kitchens-100-annotations", "EPIC-KITCHENS-100-annotations")
    verbs, nouns = (_order(place, factor) for factor in FACTORS)
    actions = [a for side in NAMES for a in _actions(place, side, verbs, nouns)]
    if variant.startswith(LOCALIZE):
        return _untrimmed(variant, actions, place, Footage(root), verbs if variant.endswith("verb") else nouns)
    pairs = sorted({(a.verb, a.noun) for a in actions})
    number = {pair: i for i, pair in enumerate(pairs)}
    footage = Footage(root)
    truths = [{"verb": a.verb, "noun": a.noun, "action": number[a.verb, a.noun]}[variant] for a in actions]
    classes = {
        "verb": verbs.classes,
        "noun": nouns.classes,
        "action": tuple(f"{verbs.classes[v]} {nouns.classes[n]}" for v, n in pairs),
    }
    entries = [_entry(a, truth, footage) for a, truth in zip(actions, truths, strict=True)]
    name = typed("epic", variant)
    dataset = assemble(name, entries, classes[variant], footage=footage, axis="", official_counts=PUBLISHED)
    if variant != "action":
        return dataset
    return replace(
        dataset,
        factors=(tuple(v for v, _ in pairs), tuple(n for _, n in pairs)),
        factor_classes=(verbs.classes, nouns.classes),
        factor_names=FACTORS,
    )


def _untrimmed(
    variant: str, actions: Sequence[NarratedAction], place: AnnotationFiles, footage: Footage, order: ClassOrder
) -> Dataset[tuple[Segment, ...]]:
    """The whole videos, with the verbs or the nouns of all that is done in them."""
    lasting = _durations(place)
    of: dict[tuple[Side, str], list[activitynet_json.ListedAction]] = {}
    for a in actions:
        label = order.classes[a.verb if variant.endswith("verb") else a.noun]
        of.setdefault((a.side, a.video), []).append(activitynet_json.ListedAction(*a.span, label, a.where))
    sides: dict[Side, list[activitynet_json.Untrimmed]] = {side: [] for side in NAMES}
    for (side, video), done in of.items():
        sides[side].append(activitynet_json.Untrimmed(video, "", tuple(done), lasting.get(video), done[0].where))
    name = typed("epic", variant)
    return activitynet_json.localization(name, sides, order, footage=footage, official_counts=UNTRIMMED)


def _durations(place: AnnotationFiles) -> dict[str, float]:
    """Seconds of each video, where a table of them is there."""
    if path := place.find("EPIC_100_video_info.csv"):
        return {row["video_id"]: float(row["duration"]) for _, row in table(path, "video_id", "duration")}
    if path := place.find("c2_video_lengths.csv", "video_lengths.csv"):
        return {row["video"]: _frame(row["frames"], where) for where, row in table(path, "video", "frames")}
    return {}


def _order(place: AnnotationFiles, factor: str) -> ClassOrder:
    order = ClassOrder(labels(f"epic_{factor}"))
    if (own := place.find(f"EPIC_100_{factor}_classes.csv")) is not None:
        rows = sorted(table(own, "id", "key"), key=lambda row: order.at(row[1]["id"], row[0]))
        order.agree([row["key"] for _, row in rows], own)
    return order


def _entry(action: NarratedAction, truth: int, footage: Footage) -> LabeledVideo:
    """A span of its video, or the clip of its name where somebody has cut it out."""
    cut = footage.find(f"{action.id}.mp4")
    return LabeledVideo(
        id=action.id,
        side=action.side,
        truth=truth,
        file=cut or f"{action.video.partition('_')[0]}/videos/{action.video}.MP4",
        span=None if cut else action.span,
        group=action.video,
        where=action.where,
    )


def _actions(place: AnnotationFiles, side: Side, verbs: ClassOrder, nouns: ClassOrder) -> Iterator[NarratedAction]:
    path = place.need(f"table of the {side} actions", *NAMES[side])
    official = "start_timestamp" in header(path)
    columns = OFFICIAL if official else DETECTION
    for where, row in table(path, "narration_id", *columns):
        video, start, stop, verb, noun = (row[column] for column in columns)
        span = (
            (_seconds(start, where), _seconds(stop, where)) if official else (_frame(start, where), _frame(stop, where))
        )
        if not span[0] < span[1]:
            raise UserError(f"{where}: the action stops at {stop}, not after its start at {start}")
        if "/" in video or "\\" in video:
            raise UserError(f"{where}: {video!r} is the name of no video")
        yield NarratedAction(
            row["narration_id"], side, video, span, verbs.at(verb, where), nouns.at(noun, where), where
        )


def _seconds(text: str, where: str) -> float:
    """Of a time as `00:05:27.28`."""
    try:
        hours, minutes, seconds = text.split(":")
        return round(int(hours) * 3600 + int(minutes) * 60 + float(seconds), 6)
    except ValueError:
        raise UserError(f"{where}: {text!r} is not a time like 00:05:27.28") from None


def _frame(text: str, where: str) -> float:
    """Seconds of a frame by number."""
    if not text.isdigit():
        raise UserError(f"{where}: {text!r} is not the number of a frame")
    return round(int(text) / RATE, 6)
