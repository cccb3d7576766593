"""EPIC-KITCHENS-100: narrated kitchen actions in long egocentric videos, labeled by verb, noun or both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.text import whole_number
from vitascope.core.types import Dataset, Segment, Span
from vitascope.datasets.readers import activitynet_json
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    dataset_folder,
    find_annotations,
    labels,
    read_header,
    read_table,
    typed_name,
)
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, require_videos

VARIANTS: dict[str, str] = {
    "verb": "EPIC-KITCHENS-100, verbs: 97 classes; EK in the report",
    "noun": "EPIC-KITCHENS-100, nouns: 300 classes",
    "action": "EPIC-KITCHENS-100, actions: the 3,806 pairs of verb and noun that occur, scored P(verb) P(noun)",
    "localize-verb": "EPIC-KITCHENS-100: 97 verbs, temporal localization; 495 training and 138 test videos",
    "localize-noun": "EPIC-KITCHENS-100: 300 nouns, temporal localization; 495 training and 138 test videos",
}
OFFICIAL_COUNTS = {"train": 67_217, "test": 9_668}
UNTRIMMED_COUNTS = {"train": 495, "test": 138}
"""Number of whole videos."""
FACTORS = ("verb", "noun")
LOCALIZE = "localize-"
RATE = 30.0
"""Frame rate of the resampled videos whose frames the tables of the detection task count, frames per second."""
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
    """EPIC-KITCHENS-100 in folder `root`, trained on train, tested on validation; `UserError` if files are missing."""
    return require_videos(annotated(variant, dataset_folder("epic", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[Any]:
    """The dataset described by the annotations; videos may be missing.

    A group is a video. In the official split, some nouns and many pairs occur only in the test set.
    """
    place = find_annotations(root, "epic-kitchens-100-annotations", "EPIC-KITCHENS-100-annotations")
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
    name = typed_name("epic", variant)
    dataset = assemble(name, entries, classes[variant], footage=footage, axis="", official_counts=OFFICIAL_COUNTS)
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
    """The localization dataset of the whole videos, labeled by verb or noun."""
    durations = _durations(place)
    by_video: dict[tuple[Side, str], list[activitynet_json.ListedAction]] = {}
    for a in actions:
        label = order.classes[a.verb if variant.endswith("verb") else a.noun]
        by_video.setdefault((a.side, a.video), []).append(activitynet_json.ListedAction(*a.span, label, a.where))
    sides: dict[Side, list[activitynet_json.UntrimmedVideo]] = {side: [] for side in NAMES}
    for (side, video), listed in by_video.items():
        sides[side].append(
            activitynet_json.UntrimmedVideo(video, "", tuple(listed), durations.get(video), listed[0].where)
        )
    name = typed_name("epic", variant)
    return activitynet_json.localization_dataset(name, sides, order, footage=footage, official_counts=UNTRIMMED_COUNTS)


def _durations(place: AnnotationFiles) -> dict[str, float]:
    """Duration of each video in seconds, if a table of durations exists."""
    if path := place.find("EPIC_100_video_info.csv"):
        rows = read_table(path, "video_id", "duration")
        return {row["video_id"]: activitynet_json.seconds(row["duration"], where) for where, row in rows}
    if path := place.find("c2_video_lengths.csv", "video_lengths.csv"):
        return {row["video"]: _frame(row["frames"], where) for where, row in read_table(path, "video", "frames")}
    return {}


def _order(place: AnnotationFiles, factor: str) -> ClassOrder:
    order = ClassOrder(labels(f"epic_{factor}"))
    if (own := place.find(f"EPIC_100_{factor}_classes.csv")) is not None:
        rows = sorted(read_table(own, "id", "key"), key=lambda row: order.parse(row[1]["id"], row[0]))
        order.check([row["key"] for _, row in rows], own)
    return order


def _entry(action: NarratedAction, truth: int, footage: Footage) -> LabeledVideo:
    """The example of an action: a span of its video, or a clip named after it if one has been cut."""
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
    path = place.require(f"table of the {side} actions", *NAMES[side])
    official = "start_timestamp" in read_header(path)
    columns = OFFICIAL if official else DETECTION
    for where, row in read_table(path, "narration_id", *columns):
        video, start, stop, verb, noun = (row[column] for column in columns)
        span = (
            (_seconds(start, where), _seconds(stop, where)) if official else (_frame(start, where), _frame(stop, where))
        )
        if not span[0] < span[1]:
            raise UserError(f"{where}: the action ends at {stop}, not after its start at {start}")
        if "/" in video or "\\" in video:
            raise UserError(f"{where}: {video!r} is not a video name")
        yield NarratedAction(
            row["narration_id"], side, video, span, verbs.parse(verb, where), nouns.parse(noun, where), where
        )


def _seconds(text: str, where: str) -> float:
    """The time in seconds of a text like `00:05:27.28`."""
    try:
        hours, minutes, seconds = text.split(":")
        time = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        return round(activitynet_json.seconds(time, where), 6)
    except (ValueError, OverflowError):
        raise UserError(f"{where}: {text!r} is not a time like 00:05:27.28") from None


def _frame(text: str, where: str) -> float:
    """The time in seconds of a frame number."""
    number = whole_number(text)
    if number is None or number < 0:
        raise UserError(f"{where}: {text!r:.60} is not a frame number")
    return round(number / RATE, 6)
