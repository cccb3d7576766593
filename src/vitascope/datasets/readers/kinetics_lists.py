"""Kinetics-400, -600 and -700: read the authors' tables, or the lists of paths and class numbers in circulation.

The authors' tables name the class of every clip. A list numbers it, and lists of Kinetics-400 exist whose order is not
alphabetical. A list is therefore accepted only if something confirms its numbering: the class folder of a clip, or a
list of classes beside it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.media import stem
from vitascope.core.names import loose
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    find_annotations,
    labels,
    lines,
    numbered_lines,
    read_header,
    read_table,
)
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, relative_path

TABLE = ("label", "youtube_id", "time_start", "time_end")
NAMED = re.compile(r"^([\w-]{11})(_\d+_\d+)?$")
"""File name of a clip: YouTube id, start and end in seconds."""
WORDS: dict[Side, tuple[str, ...]] = {"train": ("train",), "test": ("val", "validate", "validation")}
FOLDERS: dict[Side, str] = {"train": "train", "test": "val"}
"""Folders of the splits. Results are reported on the validation set; the test labels were released late."""


def annotated(name: str, root: Path, official_counts: Mapping[str, int]) -> Dataset[int]:
    """The dataset `name` (k400, k600, k700) from the annotations below `root`; videos may be missing."""
    size, order = int(name[1:]), ClassOrder(labels(name))
    place = find_annotations(
        root, f"kinetics{size}", f"kinetics-{size}", f"kinetics_{size}", f"kinetics{size}_2020", name
    )
    footage = Footage(root)
    entries: list[LabeledVideo] = []
    for side in FOLDERS:
        path = find_list(place, size, side)
        rows = read_official(path, side, order) if _is_table(path) else read_numbered(path, side, order, footage, place)
        entries += rows
    return assemble(name, entries, order.classes, footage=footage, axis="appearance", official_counts=official_counts)


def find_list(place: AnnotationFiles, size: int, side: Side) -> Path:
    """The list of a split: the authors' table if it exists, otherwise the first list."""
    fronts = (f"kinetics-{size}_", f"kinetics_{size}_", f"kinetics{size}_", f"k{size}_", "")
    names = [f"{front}{word}{ending}" for front in fronts for word in WORDS[side] for ending in (".csv", ".txt")]
    names += [f"kinetics{size}_{word}_list_videos.txt" for word in WORDS[side]]
    paths = place.find_all(*names)
    what = f"list of the {FOLDERS[side]} clips"
    usual = (f"kinetics-{size}_{FOLDERS[side]}.csv", f"{FOLDERS[side]}.csv", f"{WORDS[side][-1]}.csv")
    return next((p for p in paths if _is_table(p)), paths[0]) if paths else place.require(what, *usual)


def _is_table(path: Path) -> bool:
    return {"label", "youtube_id"} <= set(read_header(path))


def read_official(path: Path, side: Side, order: ClassOrder) -> list[LabeledVideo]:
    """The clips of an authors' table, each a file of ten seconds cut from a video.

    Repeated lines count once; a clip with two classes gives two examples.
    """
    rows = [(where, row) for where, row in read_table(path, *TABLE) if row["label"]]  # test tables have no labels
    clips = Counter(row["youtube_id"] for _, row in rows)
    entries = [_clip(row, where, side, order, alone=clips[row["youtube_id"]] == 1) for where, row in rows]
    once = list({(e.id, e.truth): e for e in entries}.values())
    labels_of = Counter(e.id for e in once)
    return [e if labels_of[e.id] == 1 else replace(e, id=f"{e.id}@{order.classes[e.truth]}") for e in once]


def _clip(row: Mapping[str, str], where: str, side: Side, order: ClassOrder, *, alone: bool) -> LabeledVideo:
    video = row["youtube_id"]
    try:
        start, end = (int(float(row[column])) for column in ("time_start", "time_end"))
    except (ValueError, OverflowError):
        raise UserError(f"{where}: time {row['time_start']!r} to {row['time_end']!r} is not in seconds") from None
    if not video or "/" in video or "\\" in video:
        raise UserError(f"{where}: {video!r} is not a YouTube id")
    name = f"{video}_{start:06d}_{end:06d}"
    also = (f"{video}_{start}_{end}", *([video] if alone else []))  # ambiguous if the video has two clips
    truth = order.index(row["label"], where)
    file = f"{FOLDERS[side]}/{order.classes[truth]}/{name}.mp4"
    return LabeledVideo(id=name, side=side, truth=truth, file=file, also=also, group=video, where=where)


def read_numbered(
    path: Path, side: Side, order: ClassOrder, footage: Footage, place: AnnotationFiles
) -> list[LabeledVideo]:
    """The clips of a list of paths and class numbers, which must follow the official order."""
    entries, confirmed = [], _has_class_list(place, order)
    for where, file, truth in numbered_lines(path, order):
        file = relative_path(file, where)
        located = footage.find(file)
        for path_of_clip in (file, located or ""):
            named = order.find(path_of_clip.split("/")[-2], where) if "/" in path_of_clip else None
            if named is not None:
                confirmed = True
                if named != truth:
                    raise UserError(
                        f"{where}: {path_of_clip} has number {truth}, which is {order.classes[truth]!r} in the "
                        "official (alphabetical) order; use the authors' CSV (label, youtube_id, ...)"
                    )
        match = NAMED.match(stem(file))
        group = match[1] if match else None
        entries.append(
            LabeledVideo(id=stem(file), side=side, truth=truth, file=located or file, group=group, where=where)
        )
    if entries and not confirmed:
        raise UserError(
            f"{path}: nothing names the classes of its numbers, whose order varies; add the authors' CSV (label, "
            "youtube_id, ...) or the list of classes as label_map.txt, or sort the clips into class folders"
        )
    return entries


def _has_class_list(place: AnnotationFiles, order: ClassOrder) -> bool:
    """True if a list of classes exists; `UserError` if it is not in the official order."""
    size = len(order.classes)
    path = place.find("label_map.txt", f"label_map_k{size}.txt", "classInd.txt", f"kinetics_{size}_labels.csv")
    if path is not None:
        order.check(list(_classes(path)), path)
    return path is not None


def _classes(path: Path) -> Iterator[str]:
    """The classes of a list, one per line, optionally preceded by a number; a header `id,name` is skipped."""
    for where, line in lines(path):
        number, comma, name = line.partition("," if path.suffix.lower() == ".csv" else " ")
        if where.endswith(":1") and comma and loose(line) in ("id name", "label name", "index name"):
            continue
        yield name if comma and number.isdigit() else line
