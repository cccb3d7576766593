"""ActivityNet 1.3, temporal action localization: 200 activities in untrimmed videos from YouTube."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.schema import conform
from vitascope.core.types import Dataset, Segment
from vitascope.datasets.readers.activitynet_json import (
    ListedAction,
    UntrimmedVideo,
    localization_dataset,
    parse_subset,
    parse_video,
    read_database,
    seconds,
)
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    dataset_folder,
    find_annotations,
    labels,
    read_json,
    read_table,
    text_of,
    typed_name,
)
from vitascope.datasets.readers.video_files import Footage, Side, relative_path, require_videos

VARIANTS: dict[str, str] = {
    "": "ActivityNet 1.3: 200 activities, temporal localization; 10,024 training and 4,926 test videos",
    "blocked": "ActivityNet 1.3 with the 4,728 test videos that were still on YouTube for BMN, as in OpenTAD",
}
TRAIN, TEST, AVAILABLE = 10_024, 4_926, 4_728
JSON = (
    *("activity_net.v1-3.min.json", "activity_net.v1-3.json", "anet1.3_tsp_filtered.json"),
    *("activity_net_1_3_new.json", "anet_1.3.json"),
)
TSP: dict[Side, str] = {
    "train": "activitynet_v1-3_train_tsp_groundtruth.csv",
    "test": "activitynet_v1-3_valid_tsp_groundtruth.csv",
}
BMN = ("anet_anno_action.json", "video_info_new.csv")
BLOCKED = ("blocked.json", "missing_files.txt")
COLUMNS = ("video-name", "t-start", "t-end", "action-label", "video-duration", "temporal-region-label")
ID = 11
"""Length of a YouTube id, characters."""
Sides = dict[Side, list[UntrimmedVideo]]


def build(variant: str, root: Path | None = None) -> Dataset[tuple[Segment, ...]]:
    """ActivityNet 1.3 in folder `root`, trained on training, tested on validation; `UserError` if files are missing."""
    return require_videos(annotated(variant, dataset_folder("activitynet", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[tuple[Segment, ...]]:
    """The dataset described by the authors' JSON file or its derivatives by TSP or BMN; videos may be missing."""
    place = find_annotations(root, "activitynet", "activitynet-1.3", "anet_1.3", "activitynet_annotations")
    source, sides, notes = _sides(place)
    test_count = len(sides["test"])
    if variant == "blocked" and test_count != AVAILABLE:
        sides = _without_blocked(place, sides)
    elif variant == "" and test_count == AVAILABLE:
        raise UserError(
            f"{root}: {source} has {AVAILABLE:,} test videos, without those blocked on YouTube; use "
            f"activitynet/blocked or add the authors' {JSON[0]}"
        )
    official_counts = {"train": TRAIN, "test": AVAILABLE if variant else TEST}
    name = typed_name("activitynet", variant)
    notes += [
        f"{source} has {len(sides[side]):,} {side} videos but {name} has {count:,}: scores are not comparable with "
        "those on all videos"
        for side, count in zip(TSP, official_counts.values(), strict=True)
        if len(sides[side]) != count
    ]
    order = ClassOrder(labels("activitynet"))
    return localization_dataset(name, sides, order, footage=Footage(root), official_counts=official_counts, notes=notes)


def _sides(place: AnnotationFiles) -> tuple[str, Sides, list[str]]:
    """The name of the annotations, the videos of both splits, and notes about those left out."""
    if path := place.find(*JSON):
        return path.name, *_divided(read_database(path))
    tables = {side: place.find(name) for side, name in TSP.items()}
    if all(tables.values()):
        return "TSP's tables", {side: list(_tsp(path)) for side, path in tables.items() if path}, []
    if (path := place.find(BMN[0])) is None:
        place.require("list of videos", *JSON[:2], *TSP.values(), *BMN)
    assert path
    return path.name, *_divided(list(_bmn(path, place.require("table of the subsets of the videos", BMN[1]))))


def _divided(videos: list[UntrimmedVideo]) -> tuple[Sides, list[str]]:
    sides: Sides = {"train": [], "test": []}
    hidden = 0
    for v in videos:
        if v.subset == "test":
            hidden += 1
        else:
            sides["train" if v.subset == "train" else "test"].append(replace(v, id=_id(v.id)))
    return sides, [f"{hidden:,} testing videos left out: their labels are not public"] if hidden else []


def _id(name: str) -> str:
    """The YouTube id of a name with or without a leading `v_`."""
    return name[2:] if len(name) == ID + 2 and name.startswith("v_") else name


def _tsp(path: Path) -> Iterator[UntrimmedVideo]:
    """The videos of a table of TSP, which also lists the intervals between the actions."""
    videos: dict[str, UntrimmedVideo] = {}
    for where, row in read_table(path, *COLUMNS):
        name = row["video-name"]
        video = videos.get(name)
        if video is None:
            video = UntrimmedVideo(relative_path(name, where), "", (), seconds(row["video-duration"], where), where)
        if row["temporal-region-label"] != "No action":
            start, end = (seconds(row[column], where) for column in ("t-start", "t-end"))
            video = replace(video, actions=(*video.actions, ListedAction(start, end, row["action-label"], where)))
        videos[name] = video
    yield from videos.values()


def _bmn(path: Path, info: Path) -> Iterator[UntrimmedVideo]:
    """The videos of BMN's JSON file, whose subsets are in the table `info`."""
    subsets = {row["video"]: parse_subset(row["subset"], where) for where, row in read_table(info, "video", "subset")}
    for name, record in read_json(path, dict, "videos").items():
        where = f"{path}: {name!r}"
        if name not in subsets or not isinstance(record, dict):
            raise UserError(f"{where}: not in {info.name}, or not a JSON object; use both files of one release")
        yield parse_video(relative_path(name, where), record, subsets[name], where)


def _names(path: Path) -> Iterable[str]:
    """The names of videos in a text file, or in the array or the keys of a JSON file."""
    if path.suffix == ".txt":
        return text_of(path).split()
    content = read_json(path, object, "names of videos")
    return list(conform(content, tuple[str, ...] | dict[str, Any], str(path), "get the file again"))


def _without_blocked(place: AnnotationFiles, sides: Sides) -> Sides:
    """`sides` without the blocked videos, from a list of those or of the available ones."""
    if path := place.find(*BLOCKED):
        blocked = {_id(name) for name in _names(path)}
        return {side: [v for v in videos if v.id not in blocked] for side, videos in sides.items()}
    if info := place.find(BMN[1]):
        available = {_id(row["video"]) for _, row in read_table(info, "video") if row["subset"] == "validation"}
        return {"train": sides["train"], "test": [v for v in sides["test"] if v.id in available]}
    raise UserError(
        f"{place.root}: no list of the blocked videos; add {BLOCKED[0]} (OpenTAD) or {BMN[1]} (BMN), or use "
        "activitynet with all videos"
    )
