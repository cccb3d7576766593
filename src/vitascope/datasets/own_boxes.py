"""A user's own videos with boxes of people or things: tables of boxes, or COCO's JSON, beside the videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vitascope.core.actors import Keyframes
from vitascope.core.errors import UserError
from vitascope.core.files import read_bytes
from vitascope.core.log import log
from vitascope.core.media import suffix
from vitascope.core.names import alike_notes
from vitascope.core.text import counted, whole_number
from vitascope.core.types import Dataset, Example, digest
from vitascope.datasets.readers import coco_json
from vitascope.datasets.readers.annotation_files import PLACES
from vitascope.datasets.readers.box_cleaning import Cleaned, cleaned
from vitascope.datasets.readers.box_sets import BoxSet, joined
from vitascope.datasets.readers.box_tables import BoxTable, is_box_table, read_boxes
from vitascope.datasets.readers.keyframe_examples import ActorRows, VideoSource, keyframe_examples, video_sources
from vitascope.datasets.readers.keyframe_windows import by_second
from vitascope.datasets.readers.label_map import read_label_map
from vitascope.datasets.readers.video_clocks import Timing, read_clock, timing
from vitascope.datasets.readers.video_files import Footage, relative_path
from vitascope.datasets.recordings import with_recordings
from vitascope.datasets.splits import make_folds

TABLES = frozenset((".csv", ".tsv"))
"""Endings of tables of boxes that are looked for in a folder; a table of another name is given itself."""
MANY = 500
"""Videos from which on reading them is announced: it takes some 6 ms for a clip of a few seconds."""
DENSE = "; every frame or nearly every one is annotated: an example is one second of a video"


def find_boxes(root: Path) -> list[Path]:
    """The files of boxes in a folder and in its folders of annotations, recognized by what is in them."""
    folders = [root, *(p for p in sorted(root.iterdir()) if p.name.lower() in PLACES and p.is_dir())]
    found = [[path for path in sorted(folder.iterdir()) if is_boxes(path, listed=True)] for folder in folders]
    return next(filter(None, found), [])


def is_boxes(path: Path, *, listed: bool = False) -> bool:
    """Whether a file holds boxes; with `listed`, only files with the ending of a table or of JSON are read."""
    if not path.is_file() or path.name.startswith("."):
        return False
    if suffix(path.name) == ".json":
        return _is_coco(path, *(("bbox",) if listed else ()))
    return (suffix(path.name) in TABLES or not listed) and is_box_table(path)


def _is_coco(path: Path, *more: str) -> bool:
    """Whether the names of the members of COCO's format occur in a JSON file; that they fit is left to its reader."""
    data = read_bytes(path)
    return all(f'"{word}"'.encode() in data for word in (*coco_json.KEYS, *more))


def boxes_dataset(name: str, root: Path, files: Sequence[Path], videos: Path) -> Dataset[Keyframes]:
    """The dataset of the boxes in `files`, of videos anywhere below the folder `videos`; `root` is for messages.

    The split is that of a column, else of the names of several files; else folds are drawn that divide no video.
    `UserError` for boxes that mean nothing for the videos, with the likely cause.
    """
    footage = Footage(videos, frames=True)
    rows, named = _with_names(joined([_read(path, footage) for path in files]), (files[0].parent, videos))
    if not len(rows.video):
        raise UserError(f"{files[0]}: no boxes in any of {len(rows.empty.video)} rows; nobody can be learned or found")
    sources = _sources(rows, footage)
    _require_videos(name, videos, sources)
    if len(sources) > MANY:
        log.info("%s: reading the times of %d videos", name, len(sources))
    clocks = {video: read_clock(source) for video, source in sources.items()}
    times = timing(rows, sources, clocks)
    made = cleaned(rows, clocks, times.late)
    if not len(made.rows.video):
        raise UserError("; ".join([f"{files[0]}: none of {len(rows.video)} boxes is left", *made.notes]))
    notes = [*made.notes, *times.notes, *_video_notes(sources, footage)]
    dataset = _dataset(name, (root, videos), made, times, notes)
    return replace(dataset, layout=f"{dataset.layout}{named}")


def _with_names(rows: BoxSet, folders: Iterable[Path]) -> tuple[BoxSet, str]:
    """Numbers of classes as the names of a label map beside the files, and that it was used, in words."""
    maps = [path for folder in dict.fromkeys(folders) for path in sorted(folder.glob("*.pbtxt"))]
    numbers = [whole_number(label) for label in rows.labels if label]
    if not maps or None in numbers:
        return rows, ""
    if len(maps) > 1:
        raise UserError(f"{maps[0].parent}: both {maps[0].name} and {maps[1].name} name the classes; keep one")
    names = read_label_map(maps[0])
    for place, label in enumerate(rows.labels):
        if label and whole_number(label) not in names:
            where = rows.where(int(np.argmax(rows.label == place)))
            raise UserError(f"{where}: label {label} is none of the {len(names)} numbers of {maps[0].name}")
    labels = tuple(names.get(whole_number(label) or 0, "") if label else "" for label in rows.labels)
    return replace(rows, labels=labels), f"; classes by {maps[0].name}"


def _read(path: Path, footage: Footage) -> BoxTable:
    if suffix(path.name) != ".json":
        return read_boxes(path, eighth="person")

    def is_folder(video: str) -> bool:
        place = footage.find(relative_path(video, str(path)))
        return place is not None and (footage.root / place).is_dir()

    return coco_json.read_coco(path, is_folder)


def _sources(rows: BoxSet, footage: Footage) -> dict[str, VideoSource]:
    paths = {name: relative_path(name, str(rows.tables[0].path)) for name in rows.videos}
    sources = video_sources(dict.fromkeys(paths.values()), footage)
    return {
        name: replace(sources[paths[name]], fps=fps or None) for name, fps in zip(rows.videos, rows.fps, strict=True)
    }


def _require_videos(name: str, folder: Path, sources: Mapping[str, VideoSource]) -> None:
    """Raise if no video exists."""
    if all(source.missing for source in sources.values()):
        raise UserError(
            f"{folder}: none of the {len(sources):,} videos of {name} was found; expected e.g. {next(iter(sources))} "
            "with any ending, or a folder of frames of that name, anywhere below the folder"
        )


def _video_notes(sources: Mapping[str, VideoSource], footage: Footage) -> Iterator[str]:
    """Notes on videos that are missing, and on those that have no row."""
    missing = [name for name, source in sources.items() if source.missing]
    if missing:
        yield f"{len(missing)} of {counted(len(sources), 'listed video')} not there, e.g. {missing[0]}"
    used = {source.path for source in sources.values()}
    unlisted = sorted(path for path in footage.paths if f"{footage.root}/{path}" not in used)
    if unlisted:
        yield f"{counted(len(unlisted), 'video')} without a row: not used, e.g. {unlisted[0]}"
    yield from footage.notes()


def _dataset(
    name: str, places: tuple[Path, Path], made: Cleaned, times: Timing, notes: Iterable[str]
) -> Dataset[Keyframes]:
    rows, (root, videos) = made.rows, places
    classes = _classes(rows)
    each = keyframe_examples(_actor_rows(rows, classes), times.sources)
    keyframes = by_second(each)
    examples = with_recordings(keyframes.examples, videos)
    split = dict(zip(rows.videos, rows.splits, strict=True))
    splits = [split[_video(e)] for e in keyframes.examples]
    folds = make_folds(examples, splits, classes, where=str(root))
    place = str(root.resolve()) if root == videos else f"{root.resolve()}={videos.resolve()}"
    return Dataset(
        name=name,
        key=f"{name}-{digest(place)[:8]}",
        examples=examples,
        classes=classes,
        folds=folds,
        missing_files=keyframes.missing,
        root=str(videos),
        kind="detection",
        layout=f"{_files(rows)}; {made.unit}; {times.about}{'' if keyframes is each else DENSE}",
        notes=(*notes, *_class_notes(rows, classes, examples)),
    )


def _video(example: Example[Any]) -> str:
    """The name of the video, by which `keyframe_examples` groups."""
    assert example.group is not None
    return example.group


def _classes(rows: BoxSet) -> tuple[str, ...]:
    """The labels that are left, in order: numbers by value, names by letter."""
    labels = {rows.labels[i] for i in np.unique(rows.label)} - {""}
    numbers = {label: whole_number(label) for label in labels}
    if None in numbers.values():
        return tuple(sorted(labels))
    return tuple(sorted(labels, key=lambda label: (numbers[label] or 0, label)))


def _actor_rows(rows: BoxSet, classes: Sequence[str]) -> ActorRows:
    number = {label: i for i, label in enumerate(classes)}
    place = np.array([number.get(label, -1) for label in rows.labels], np.int64)
    return ActorRows(
        videos=rows.videos,
        video=rows.video,
        time=rows.time,
        box=rows.box,
        label=place[rows.label],
        person=rows.person,
        empty=rows.empty,
    )


def _files(rows: BoxSet) -> str:
    """The files with their columns, in words."""
    parts = []
    for table in rows.tables:
        count = f"{len(table.time) + len(table.empty.video):,} rows"
        unused = [*table.unused, *(["score"] if table.score is not None else [])]
        parts.append(f"{table.path.name} ({count}{'; not used: ' if unused else ''}{', '.join(unused)})")
    return " and ".join(parts)


def _class_notes(rows: BoxSet, classes: Sequence[str], examples: Sequence[Example[Keyframes]]) -> Iterator[str]:
    yield from alike_notes(classes, "labels")
    if len(classes) == 1:
        yield f"only one class, {classes[0]!r}: scores say whether it is found, not what anybody does"
    videos: dict[int, set[str | None]] = {}
    for e in examples:
        for label in e.truth.labels:
            videos.setdefault(label, set()).add(e.group)
    rare = [classes[label] for label, groups in sorted(videos.items()) if len(groups) == 1]
    if rare and len(classes) > 1:
        many = counted(len(rare), "class", "classes")
        yield f"{many} of one video only, never both trained and tested, e.g. {rare[0]!r}"
