"""Tar files of videos as a list: WebDataset shards with labels beside the videos, or archives of class folders."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vitascope.core.addresses import part_path
from vitascope.core.content import open_container
from vitascope.core.errors import UserError
from vitascope.core.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_clutter
from vitascope.core.names import canonical, split_of
from vitascope.core.schema import parse
from vitascope.core.text import counted
from vitascope.core.unpacking import is_compressed
from vitascope.datasets.readers.listing import KNOWN, VideoList, VideoRow, video_row
from vitascope.datasets.readers.tables import cell_text
from vitascope.datasets.readers.tar_reader import Sample, iter_samples

LABEL_NAMES = ("label", "labels", "class", "cls")
"""Fields of a JSON file that hold the label, best first; `.cls` does too."""
FIELDS = tuple(name for name in sorted(KNOWN) if name not in ("path", "file_name", *LABEL_NAMES))


@dataclass
class _Found:
    """What the archives hold."""

    rows: list[VideoRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    """What labels were taken from."""


def read_tars(archives: Sequence[tuple[str, str, str]], *, unlabeled: str = "") -> VideoList:
    """The videos of archives, each given as its path or URL, its name in the dataset and the split of its videos.

    A label is in `.cls` or `.json` beside the video, or is the folder of the video in the archive; without one, it is
    `unlabeled`. UserError if that is empty.
    """
    found = _Found()
    if compressed := [name for _, name, _ in archives if is_compressed(name)]:
        found.notes.append(
            f"{len(compressed)} compressed tar files, such as {compressed[0]}, are unpacked into the cache whenever "
            "they are not there: nothing in them can be found otherwise; `gunzip` them to save time"
        )
    for path, name, split in archives:
        before = len(found.rows)
        for endings in (VIDEO_SUFFIXES, IMAGE_SUFFIXES):
            _read(path, name, split, endings=endings, unlabeled=unlabeled, found=found)
            if len(found.rows) > before:
                break
    if not found.rows:
        why = "; ".join(found.notes[bool(compressed) :]) or "expected <key>.mp4, <key>.json"
        raise UserError(f"{archives[0][0]}: no videos in it; {why}")
    shards = f"{len(archives)} tar file{'s' * (len(archives) != 1)}"
    return VideoList(
        tuple(found.rows),
        f"{shards}, labels from {' and '.join(sorted(found.sources))}: {len(found.rows)} videos",
        tuple(dict.fromkeys(found.notes)),
    )


def _read(path: str, name: str, split: str, *, endings: frozenset[str], unlabeled: str, found: _Found) -> None:
    """Add the samples of an archive whose names have one of some endings."""
    broken: list[str] = []
    with open_container(path) as file:
        for sample in iter_samples(file, 0, endings, labeled=True, located=True):
            if is_clutter(posixpath.basename(sample.name)):
                continue
            if sample.error:
                broken += [f"{sample.key}: {sample.error}" if sample.key else sample.error] * (
                    endings == VIDEO_SUFFIXES
                )
                continue
            row, source = _row(sample, f"{path}: {sample.name}", unlabeled)
            found.sources.add(source)
            start, end = sample.place
            address = part_path(path, f"{start}:{end}", canonical(sample.name))
            found.rows.append(replace(row, path=f"{name}/{sample.name}", file=address, split=row.split or split))
    truncated = [b for b in broken if "truncated" in b]
    if truncated or (broken and endings == VIDEO_SUFFIXES and found.rows):
        found.notes.append(f"{name}: {counted(len(broken), 'key')} without a video; first: {(truncated or broken)[0]}")


def _row(sample: Sample, where: str, unlabeled: str) -> tuple[VideoRow, str]:
    """The row of a sample, not located yet, and what its label was taken from."""
    cell, source = dict(_cells(sample.notes, where)), "json"
    label_column = next((name for name in LABEL_NAMES if cell.get(name)), "")
    label = cell.pop(label_column, "")
    if text := (sample.notes.get("cls") or b"").decode(errors="replace").strip():
        label, label_column, source = text, "cls", "cls"
    folders = sample.name.split("/")[:-1]
    if not label and folders and not split_of(folders[-1]):
        label, label_column, source = folders[-1], "class", "folders"
        cell.setdefault("split", next((s for folder in folders[:-1] if (s := split_of(folder))), ""))
    if not label:
        if not unlabeled:
            raise UserError(f"{where}: no label: neither .cls nor {' or '.join(LABEL_NAMES)} in .json, and no folder")
        label, label_column, source = unlabeled, "class", "nothing"
    kept = {name: cell[name] for name in FIELDS if cell.get(name) and (name != "split" or split_of(cell[name]))}
    named = label_column if label_column in ("labels", "class") else "label"
    return video_row({**kept, "path": sample.name, "label": label}, where, named, decimal_comma=False), source


def _cells(notes: Mapping[str, bytes | None], where: str) -> Iterator[tuple[str, str]]:
    """The fields of the JSON file beside a video that mean something here."""
    data: Any = parse(notes["json"] or b"", f"{where} .json", "write one object") if notes.get("json") else {}
    for name in (*LABEL_NAMES, *FIELDS) if isinstance(data, dict) else ():
        value = data.get(name)
        if value is not None and not isinstance(value, dict):
            yield name, cell_text(value, f"{where} .json: {name}")
