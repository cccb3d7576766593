"""Predictions of actions in time in the field's files: detections as JSON or text, frame labels as in MS-TCN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from vitascope.core.errors import UserError
from vitascope.core.names import canonical
from vitascope.core.schema import conform
from vitascope.core.text import nearest, whole_number
from vitascope.core.types import Segment
from vitascope.datasets.readers.annotation_files import ClassOrder, labels, lines, read_json, text_of

FORMS = '{"results": {video: [{"label", "score", "segment": [start, end]}]}}, or lines video start end class score'
HEADING = "### Frame level recognition: ###"
"""First line of MS-TCN's files of predictions; the labels of all frames follow in one line."""


def read_detections(path: Path, order: ClassOrder) -> dict[str, list[Segment]]:
    """Read detected actions of each video; the class is a name, or in text files its number in UCF101 (THUMOS14).

    Raises UserError for malformed entries, unknown classes, scores that are not finite, and a file without videos.
    """
    rows = _of_json(path) if path.suffix.lower() == ".json" else _of_lines(path)
    videos: dict[str, list[Segment]] = {}
    for where, video, entries in rows:
        videos.setdefault(video, []).extend(_segment(entry, where, order) for entry in entries)
    if not videos:
        raise UserError(f"{path}: no videos; expected {FORMS}")
    return videos


def _of_json(path: Path) -> Iterator[tuple[str, str, list[Any]]]:
    content = read_json(path, dict, "detections")
    results = content.get("results", content)
    if not isinstance(results, dict):
        raise UserError(f"{path}: 'results' is not an object of videos; expected {FORMS}")
    for video, entries in results.items():
        where = f"{path}: {video!r}"
        if not isinstance(entries, list):
            raise UserError(f"{where}: expected a list of detections; the form is {FORMS}")
        yield where, canonical(video), entries


def _of_lines(path: Path) -> Iterator[tuple[str, str, list[Any]]]:
    for where, line in lines(path):
        cells = line.replace(",", " ").replace("\t", " ").split()
        if len(cells) != 5:
            raise UserError(f"{where}: {len(cells)} cells; expected video, start, end, class, score")
        video, start, end, label, score = cells
        yield where, canonical(video), [{"segment": [start, end], "label": label, "score": score}]


def _segment(entry: Any, where: str, order: ClassOrder) -> Segment:
    times = entry.get("segment") if isinstance(entry, dict) else None
    if not isinstance(times, list) or len(times) != 2 or not {"label", "score"} <= entry.keys():
        raise UserError(f"{where}: expected 'label', 'score' and a 'segment' [start, end] in each detection")
    if type(entry["label"]) not in (str, int):
        conform(entry["label"], str | int, f"{where}: label")
    score = _finite(entry["score"], "score", where)
    start, end = (_finite(time, "time", where) for time in times)  # may lie before the video, which costs overlap
    return Segment(start, end, _label(str(entry["label"]), where, order), score)


def _finite(value: Any, what: str, where: str) -> float:
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not np.isfinite(number):
        raise UserError(f"{where}: {what} {value!r:.40} is not a finite number")
    return number


def _label(label: str, where: str, order: ClassOrder) -> int:
    found = order.find(label, where)
    number = whole_number(label)
    ucf = labels("ucf101")
    if found is None and number is not None and 1 <= number <= len(ucf):
        found = order.find(ucf[number - 1], where)
    return order.index(label, where) if found is None else found


def read_frame_labels(folder: Path, videos: Sequence[str], order: ClassOrder) -> dict[str, Int64[ndarray, "_"]]:
    """Read the predicted label of every frame of the videos that have a file, `<video>` or `<video>.txt`.

    A file has one label a line, or MS-TCN's heading and all labels in one line. Raises UserError for unknown labels,
    files of other videos, and a folder without any.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: not a folder; expected one file per video, <video> or <video>.txt")
    files = {canonical(p.name.removesuffix(".txt")): p for p in sorted(folder.iterdir()) if p.is_file()}
    known = {video: files[video] for video in videos if video in files}
    if not known:
        first = next(iter(files), "")
        raise UserError(f"{folder}: no file of a video of the truth{nearest(first, videos)}; expected <video>.txt")
    return {video: _frame_labels(path, order) for video, path in known.items()}


def _frame_labels(path: Path, order: ClassOrder) -> Int64[ndarray, "_"]:
    text = text_of(path).strip()
    words = text.removeprefix(HEADING).split() if text.startswith(HEADING) else text.split("\n")
    codes = order.codes(words)
    bad = np.flatnonzero(codes < 0)
    if bad.size:
        word = words[bad[0]]
        raise UserError(
            f"{path}: frame {bad[0]} has {word!r:.40}, which is no class of the truth{nearest(word, order.classes)}"
        )
    return codes
