"""Kinetics, in its three sizes: the authors' tables, or the lists of paths and numbers that the community trains on.

The authors' tables name the class of every clip. A list numbers it, and not everybody counts alphabetically: there are
lists of Kinetics-400 that count in another order. So a list is believed only where something names a class: the folder
of a clip, or a list of classes beside it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    header,
    labels,
    lines,
    listed,
    same,
    shelf,
    table,
)
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble, inside, stem

TABLE = ("label", "youtube_id", "time_start", "time_end")
NAMED = re.compile(r"^([\w-]{11})(_\d+_\d+)?$")
"""How clips are named: the YouTube id, from second, to second."""
WORDS: dict[Side, tuple[str, ...]] = {"train": ("train",), "test": ("val", "validate", "validation")}
FOLDERS: dict[Side, str] = {"train": "train", "test": "val"}
"""The test labels came late and are used by few: the field tests on the validation side."""


def annotated(name: str, root: Path, official_counts: Mapping[str, int]) -> Dataset[int]:
    """Kinetics `name` (k400, k600, k700) as the lists below `root` have it; the videos need not be there."""
    size, order = int(name[1:]), ClassOrder(labels(name))
    place = shelf(root, f"kinetics{size}", f"kinetics-{size}", f"kinetics_{size}", f"kinetics{size}_2020", name)
    footage = Footage(root)
    entries: list[LabeledVideo] = []
    for side in FOLDERS:
        path = source(place, size, side)
        rows = official(path, side, order) if _is_table(path) else numbered(path, side, order, footage, place)
        entries += rows
    return assemble(name, entries, order.classes, footage=footage, axis="appearance", official_counts=official_counts)


def source(place: AnnotationFiles, size: int, side: Side) -> Path:
    """The list of a side: the authors' table where there is one, else the first that is there."""
    fronts = (f"kinetics-{size}_", f"kinetics_{size}_", f"kinetics{size}_", f"k{size}_", "")
    names = [f"{front}{word}{ending}" for front in fronts for word in WORDS[side] for ending in (".csv", ".txt")]
    names += [f"kinetics{size}_{word}_list_videos.txt" for word in WORDS[side]]
    found = place.all(*names)
    what = f"list of the {FOLDERS[side]} clips"
    few = (f"kinetics-{size}_{FOLDERS[side]}.csv", f"{FOLDERS[side]}.csv", f"{WORDS[side][-1]}.csv")
    return next((p for p in found if _is_table(p)), found[0]) if found else place.need(what, *few)


def _is_table(path: Path) -> bool:
    return {"label", "youtube_id"} <= set(header(path))


def official(path: Path, side: Side, order: ClassOrder) -> list[LabeledVideo]:
    """The clips of an authors' table: ten seconds of a video each, cut out into a file of their own.

    A line that is there twice counts once; a clip of two classes is two examples.
    """
    rows = [(where, row) for where, row in table(path, *TABLE) if row["label"]]  # test tables have no labels
    clips = Counter(row["youtube_id"] for _, row in rows)
    entries = [_clip(row, where, side, order, alone=clips[row["youtube_id"]] == 1) for where, row in rows]
    once = list({(e.id, e.truth): e for e in entries}.values())
    shown = Counter(e.id for e in once)
    return [e if shown[e.id] == 1 else replace(e, id=f"{e.id}@{order.classes[e.truth]}") for e in once]


def _clip(row: Mapping[str, str], where: str, side: Side, order: ClassOrder, *, alone: bool) -> LabeledVideo:
    video = row["youtube_id"]
    try:
        start, end = (int(float(row[column])) for column in ("time_start", "time_end"))
    except ValueError:
        raise UserError(f"{where}: time {row['time_start']!r} to {row['time_end']!r} is not in seconds") from None
    if not video or "/" in video or "\\" in video:
        raise UserError(f"{where}: {video!r} is no YouTube id")
    name = f"{video}_{start:06d}_{end:06d}"
    also = (f"{video}_{start}_{end}", *([video] if alone else []))  # of two clips the bare name tells neither
    truth = order.of(row["label"], where)
    file = f"{FOLDERS[side]}/{order.classes[truth]}/{name}.mp4"
    return LabeledVideo(id=name, side=side, truth=truth, file=file, also=also, group=video, where=where)


def numbered(path: Path, side: Side, order: ClassOrder, footage: Footage, place: AnnotationFiles) -> list[LabeledVideo]:
    """The clips of a list of paths and numbers, which must count the classes as the authors do."""
    entries, named = [], _named(place, order)
    for where, file, truth in listed(path, order):
        file = inside(file, where)
        found = footage.find(file)
        for shown in (file, found or ""):
            word = same(shown.split("/")[-2]) if "/" in shown else ""
            if word in order.numbers:
                named = True
                if order.numbers[word] != truth:
                    raise UserError(
                        f"{where}: {shown} is of class {truth}, in alphabetical order {order.classes[truth]!r}; the "
                        "list counts otherwise, use the authors' csv (label, youtube_id, ...)"
                    )
        match = NAMED.match(stem(file))
        group = match[1] if match else None
        entries.append(
            LabeledVideo(id=stem(file), side=side, truth=truth, file=found or file, group=group, where=where)
        )
    if entries and not named:
        raise UserError(
            f"{path}: numbers, and nothing names a class: lists count in several orders; put the authors' csv (label, "
            "youtube_id, ...) beside it, or the clips into class folders, or its list of classes as label_map.txt"
        )
    return entries


def _named(place: AnnotationFiles, order: ClassOrder) -> bool:
    """Whether a list of classes is there; it must be in the authors' order."""
    size = len(order.classes)
    path = place.find("label_map.txt", f"label_map_k{size}.txt", "classInd.txt", f"kinetics_{size}_labels.csv")
    if path is not None:
        order.agree(list(_classes(path)), path)
    return path is not None


def _classes(path: Path) -> Iterator[str]:
    """The classes of a list, one a line: alone, or after their number; some lists have a first line `id,name`."""
    for where, line in lines(path):
        number, comma, name = line.partition("," if path.suffix.lower() == ".csv" else " ")
        if where.endswith(":1") and comma and same(line) in ("id name", "label name", "index name"):
            continue
        yield name if comma and number.isdigit() else line
