"""ActivityNet 1.3, temporal action localization: 200 activities in untrimmed videos from YouTube."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Segment
from vitascope.datasets.readers.activitynet_json import (
    ListedAction,
    Untrimmed,
    database,
    localization,
    seconds,
    subset,
    video,
)
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    document,
    folder,
    labels,
    shelf,
    table,
    text_of,
    typed,
)
from vitascope.datasets.readers.video_files import Footage, Side, inside, present

VARIANTS: dict[str, str] = {
    "": "ActivityNet 1.3: 200 activities, when; 10,024 videos to train, 4,926 to test",
    "blocked": "ActivityNet 1.3 with the 4,728 test videos that BMN found still on YouTube, as OpenTAD",
}
TRAIN, TEST, LEFT = 10_024, 4_926, 4_728
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
"""Characters of an id of YouTube."""
Sides = dict[Side, list[Untrimmed]]


def build(variant: str, root: Path | None = None) -> Dataset[tuple[Segment, ...]]:
    """ActivityNet 1.3 in folder `root`, trained on training, tested on validation. ValueError where there is none."""
    return present(annotated(variant, folder("activitynet", variant, VARIANTS, root)))


def annotated(variant: str, root: Path) -> Dataset[tuple[Segment, ...]]:
    """The same as its lists have it, whatever videos are there: the authors' json or one made of it, TSP's, BMN's."""
    place = shelf(root, "activitynet", "activitynet-1.3", "anet_1.3", "activitynet_annotations")
    source, sides, notes = _sides(place)
    found = len(sides["test"])
    if variant == "blocked" and found != LEFT:
        sides = _left(place, sides)
    elif variant == "" and found == LEFT:
        raise UserError(
            f"{root}: {source} has {LEFT:,} test videos, without those blocked on YouTube; ask for "
            f"activitynet/blocked, or put {JSON[0]} of the authors there"
        )
    published = {"train": TRAIN, "test": LEFT if variant else TEST}
    notes += [
        f"{source} has {len(sides[side]):,} {side} videos, {typed('activitynet', variant)} {count:,}: scores are not "
        "comparable with those on all"
        for side, count in zip(TSP, published.values(), strict=True)
        if len(sides[side]) != count
    ]
    order = ClassOrder(labels("activitynet"))
    name = typed("activitynet", variant)
    return localization(name, sides, order, footage=Footage(root), official_counts=published, notes=notes)


def _sides(place: AnnotationFiles) -> tuple[str, Sides, list[str]]:
    """Where the videos of both sides were found, the videos, and what was left out."""
    if path := place.find(*JSON):
        return path.name, *_divided(database(path))
    tables = {side: place.find(name) for side, name in TSP.items()}
    if all(tables.values()):
        return "TSP's tables", {side: list(_tsp(path)) for side, path in tables.items() if path}, []
    if (path := place.find(BMN[0])) is None:
        place.need("list of the videos", *JSON[:2], *TSP.values(), *BMN)
    assert path
    return path.name, *_divided(list(_bmn(path, place.need("subsets of the videos", BMN[1]))))


def _divided(videos: list[Untrimmed]) -> tuple[Sides, list[str]]:
    sides: Sides = {"train": [], "test": []}
    hidden = 0
    for v in videos:
        if v.subset == "test":
            hidden += 1
        else:
            sides["train" if v.subset == "train" else "test"].append(replace(v, id=_id(v.id)))
    return sides, [f"{hidden:,} testing videos left out: their labels are not public"] if hidden else []


def _id(name: str) -> str:
    """The id of YouTube, of names that have `v_` before it."""
    return name[2:] if len(name) == ID + 2 and name.startswith("v_") else name


def _tsp(path: Path) -> Iterator[Untrimmed]:
    """The actions of a table of TSP, which has the stretches between them too."""
    found: dict[str, Untrimmed] = {}
    for where, row in table(path, *COLUMNS):
        name = row["video-name"]
        known = found.get(name)
        if known is None:
            known = Untrimmed(inside(name, where), "", (), seconds(row["video-duration"], where), where)
        if row["temporal-region-label"] != "No action":
            start, end = (seconds(row[column], where) for column in ("t-start", "t-end"))
            known = replace(known, actions=(*known.actions, ListedAction(start, end, row["action-label"], where)))
        found[name] = known
    yield from found.values()


def _bmn(path: Path, info: Path) -> Iterator[Untrimmed]:
    """The videos of BMN's list, whose subsets are in a table beside it."""
    subsets = {row["video"]: subset(row["subset"], where) for where, row in table(info, "video", "subset")}
    for name, record in document(path, dict, "videos").items():
        where = f"{path}: {name!r}"
        if name not in subsets or not isinstance(record, dict):
            raise UserError(f"{where}: not in {info.name}, or no table; both files are of one release")
        yield video(inside(name, where), record, subsets[name], where)


def _left(place: AnnotationFiles, sides: Sides) -> Sides:
    """`sides` without the videos that are blocked, by a list of those or of the ones that are left."""
    if path := place.find(*BLOCKED):
        content = text_of(path).split() if path.suffix == ".txt" else document(path, object, "names of videos")
        gone = {_id(str(name)) for name in content}
        return {side: [v for v in videos if v.id not in gone] for side, videos in sides.items()}
    if info := place.find(BMN[1]):
        left = {_id(row["video"]) for _, row in table(info, "video") if row["subset"] == "validation"}
        return {"train": sides["train"], "test": [v for v in sides["test"] if v.id in left]}
    raise UserError(
        f"{place.root}: which videos are blocked? put {BLOCKED[0]} (OpenTAD) or {BMN[1]} (BMN) beside the list, or ask "
        "for activitynet, with all"
    )
