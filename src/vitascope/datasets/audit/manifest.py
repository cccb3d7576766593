"""Manifest: compare the files of a dataset on disk with its annotations, one row per example."""

from __future__ import annotations

import csv
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from vitascope.core.actors import Keyframes
from vitascope.core.data_warning import DataWarning
from vitascope.core.errors import UserError
from vitascope.core.files import atomic_file
from vitascope.core.media import FRAME_SUFFIXES, is_clutter, kind_of, stem, suffix
from vitascope.core.names import folded
from vitascope.core.truth import describe_truth
from vitascope.core.types import Dataset, Example, Span
from vitascope.datasets.audit.doctor import LEAKS, copy_warnings, diagnose
from vitascope.datasets.audit.duplicates import (
    Duplicate,
    ExampleContent,
    example_sides,
    example_splits,
    find_duplicates,
    split_names,
)
from vitascope.datasets.audit.file_journal import FileJournal, probe_files
from vitascope.datasets.audit.file_probe import FileReport
from vitascope.datasets.readers.class_folders import is_thumbnail
from vitascope.datasets.readers.keyframe_examples import KEYFRAME_SLACK

MIN_FRAMES = 2
"""Minimum number of frames of a video."""
SLACK = 0.5
"""Seconds by which a span may exceed its video without a warning, since annotations are rounded."""
COLUMNS = (
    *("id", "path", "split", "label", "status", "why", "bytes", "digest"),
    *("duration", "frames", "fps", "width", "height", "start", "end"),
)
NO_REPORT = FileReport()
Status: TypeAlias = Literal["ok", "missing", "unreadable", "too short", "duplicate", "unexpected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One row of the manifest: an example and its file, or a file that no example refers to."""

    id: str = ""
    path: str
    """Path of the file, relative to the root if it lies below it."""
    splits: tuple[str, ...] = ()
    label: str = ""
    status: Status
    why: str = ""
    """Reason for the status; for a video that is ok, its warnings."""
    report: FileReport = NO_REPORT
    span: Span | None = None
    """Start and end of the example in its video, seconds."""

    def cells(self) -> tuple[str, ...]:
        """The cells of the row in the order of `COLUMNS`; unknown values are empty."""
        f = self.report
        measured = [f"{f.duration:.6f}", f.frames, f"{f.fps:.4f}", f.width, f.height] if f.kind else [""] * 5
        span = ["" if s == float("inf") else f"{s:.12g}" for s in self.span] if self.span else ["", ""]
        size = f.bytes if f.digest or self.status == "unexpected" else ""
        example = [self.id, self.path, "; ".join(self.splits), self.label, self.status, self.why, size, f.digest]
        return tuple(str(v) for v in (*example, *measured, *span))


class SplitCounts(NamedTuple):
    """Number of examples of one split, expected and by status."""

    split: str
    expected: int
    """Examples in the annotations."""
    official: int | None
    """Examples according to the authors, if known."""
    found: int
    """Examples whose file exists."""
    missing: int
    unreadable: int
    short: int
    duplicate: int
    odd: int
    """Examples with status ok and a warning."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The result of `survey`."""

    dataset: str
    root: str
    rows: tuple[ManifestRow, ...]
    """The examples in the order of the annotations, then the unexpected files in order of path."""
    split_counts: tuple[SplitCounts, ...]
    leaks: tuple[ManifestRow, ...]
    """The test examples whose content also occurs in the training set."""
    warnings: tuple[DataWarning, ...]
    """What is doubtful about the examples and splits."""
    official: bool
    """Whether the split is the authors'; leaks of such a split are only said."""
    examples: int
    """Number of examples of the dataset, including those without a row in a `limited` survey."""
    limited: bool
    read: int
    """Files read in this run; the others were in the journal."""
    bytes: int
    """Bytes read in this run."""
    seconds: float
    """Time spent reading, seconds."""

    @property
    def counts(self) -> Counter[str]:
        """Number of rows by status."""
        return Counter(row.status for row in self.rows)

    @property
    def leaking(self) -> bool:
        """True if content is in both training and test, or a recording, unless the split is official."""
        return bool(self.leaks) or (not self.official and any(w.kind in LEAKS for w in self.warnings))

    @property
    def passed(self) -> bool:
        """True if every example has a readable video and nothing leaks."""
        return not self.leaking and not any(self.counts[s] for s in ("missing", "unreadable", "too short"))


def survey(
    dataset: Dataset[Any],
    *,
    output: Path,
    workers: int = 1,
    timeout: float = 60.0,
    min_frames: int = MIN_FRAMES,
    limit: int = 0,
    quiet: bool = False,
) -> Survey:
    """Check the files of `dataset`, or of `limit` examples, and write the manifest to `output`.

    File reports are kept in `journal(output)`, so that an interrupted survey resumes. Raises `UserError` if `output`
    exists and is not a manifest, `OSError` if it cannot be written.
    """
    check_output(output)
    chosen = _subset(dataset, limit)
    missing = {e.id: _missing_reason(e, dataset) for e in chosen}
    files = probe_files(
        [e for e in chosen if not missing[e.id]],
        journal=journal(output),
        workers=workers,
        timeout=timeout,
        label=f"reading {dataset.name}",
        quiet=quiet,
    )
    rules = _StatusRules(dataset, missing, files, min_frames)
    rows, leaks = rules.rows(chosen)
    limited = len(rows) < len(dataset.examples)
    full = (*rows, *unexpected(dataset))
    _write(output, full)
    return Survey(
        dataset=dataset.name,
        root=dataset.root,
        rows=full,
        split_counts=tuple(_split_counts(rows, dataset, limited=limited)),
        leaks=tuple(leaks),
        warnings=(*diagnose(dataset), *copy_warnings(dataset, files.reports)),
        official=bool(dataset.official_counts),
        examples=len(dataset.examples),
        limited=limited,
        read=files.read,
        bytes=files.bytes,
        seconds=files.seconds,
    )


def journal(output: Path) -> Path:
    """The journal of file reports, beside the manifest."""
    return output.with_name(f"{output.stem}.files.jsonl")


def check_output(output: Path) -> None:
    """Raise `UserError` if `output` is a folder, or a file that is not a manifest and would be overwritten."""
    if output.is_dir():
        raise UserError(f"-o {output}: is a folder; name a file in it, e.g. {output / 'manifest.csv'}")
    if output.is_file() and output.stat().st_size:
        with open(output, "rb") as file:
            first = file.readline(1000).decode(errors="replace").strip()
        if first != ",".join(COLUMNS):
            raise UserError(f"-o {output}: exists and was not written by `vitascope check`; name another file")


def _subset(dataset: Dataset[Any], limit: int) -> list[Example[Any]]:
    """All examples, or `limit` of them chosen by hashing their ids, in the order of the annotations."""
    examples = list(dataset.examples)
    if not 0 < limit < len(examples):
        return examples
    drawn = sorted(examples, key=lambda e: random.Random(e.id).random())[:limit]
    keep = {e.id for e in drawn}
    return [e for e in examples if e.id in keep]


def _missing_reason(example: Example[Any], dataset: Dataset[Any]) -> str:
    """Reason that there is no file to read; empty if there is one."""
    if example.id in dataset.missing_files:
        return dataset.missing_files[example.id] or "no such file"
    if os.path.exists(example.path):
        return ""
    return "broken symbolic link" if os.path.islink(example.path) else "no such file"


class _StatusRules:
    """The rules that give every example its status."""

    def __init__(self, dataset: Dataset[Any], missing: Mapping[str, str], files: FileJournal, min_frames: int) -> None:
        self.dataset, self.missing, self.files, self.min_frames = dataset, missing, files, min_frames
        self.sides, self.splits = example_sides(dataset), example_splits(dataset)

    def rows(self, examples: Sequence[Example[Any]]) -> tuple[list[ManifestRow], list[ManifestRow]]:
        """The row of each example, and those rows of test examples whose content also occurs in training."""
        statuses = {e.id: self._own_status(e) for e in examples}
        duplicates = find_duplicates(self._content(e) for e in examples if statuses[e.id][0] == "ok")
        rows = [self._row(e, *statuses[e.id], duplicates.get(e.id)) for e in examples]
        leaks = {i for i, d in duplicates.items() if d.fold is not None and (d.fold, "test") in self.sides[i]}
        return rows, [row for row in rows if row.id in leaks]

    def _content(self, e: Example[Any]) -> ExampleContent:
        content = (self.files.reports[e.path].digest, e.span)
        return ExampleContent(e.id, os.path.abspath(e.path), self._label(e), content, self.sides.get(e.id, ()))

    def _row(self, e: Example[Any], status: Status, why: str, duplicate: Duplicate | None) -> ManifestRow:
        if duplicate:
            status, why = "duplicate", "; ".join([self._describe(e, duplicate), *([why] if why else [])])
        return ManifestRow(
            id=e.id,
            path=_relative(e.path, self.dataset.root),
            splits=self.splits.get(e.id, ()),
            label=self._label(e),
            status=status,
            why=why,
            report=self.files.reports.get(e.path, NO_REPORT),
            span=e.span,
        )

    def _label(self, e: Example[Any]) -> str:
        """The ground truth as text."""
        return describe_truth(e.truth, self.dataset.classes)

    def _own_status(self, e: Example[Any]) -> tuple[Status, str]:
        """Status and reason of an example on its own, apart from duplicates."""
        if self.missing[e.id]:
            return "missing", self.missing[e.id]
        report = self.files.reports[e.path]
        if report.why:
            return "unreadable", report.why
        if short := self._too_short(e, report):
            return "too short", short
        warnings = list(report.warnings)
        # clips around a keyframe are clamped to the video
        spanned = e.span and report.kind != "image" and not isinstance(e.truth, Keyframes)
        if spanned and e.span and report.duration + SLACK < e.span[1] < float("inf"):
            warnings.append(f"the span ends at {e.span[1]:g} s, after the video ends at {report.duration:.3f} s")
        return "ok", "; ".join(warnings)

    def _too_short(self, e: Example[Any], report: FileReport) -> str:
        """Reason that a video or span is too short; empty if it is long enough."""
        if report.kind == "image":
            still = suffix(e.path) in FRAME_SUFFIXES | {".gif"}
            return "" if still else "a still image, despite its file extension"
        if report.frames < self.min_frames:
            return f"{report.frames} frame{'s' * (report.frames != 1)}, fewer than {self.min_frames}"
        if e.span is None:
            return ""
        start, end = e.span
        if isinstance(e.truth, Keyframes) and (late := max(e.truth.times)) > report.duration + KEYFRAME_SLACK:
            return f"the keyframe at {late:g} s is after the video ends at {report.duration:.3f} s"
        if end <= start:
            return f"the span from {start:g} to {end:g} s is empty"
        if start >= report.duration:
            return f"the span starts at {start:g} s, after the video ends at {report.duration:.3f} s"
        visible = self.files.visible_frames[e.path, e.span]
        if visible >= self.min_frames:
            return ""
        return f"{visible} frame{'s' * (visible != 1)} in the span, fewer than {self.min_frames}"

    def _describe(self, e: Example[Any], duplicate: Duplicate) -> str:
        """Describe a duplicate: which example has the same content, and whether it is a leak or labeled differently."""
        other = duplicate.other
        same = "the same video" if other.path == os.path.abspath(e.path) else "the same bytes"
        label = "" if other.label == self._label(e) else f", which is labeled {other.label!r}"
        if duplicate.fold is None:
            return f"{same} as {other.id}{label}"
        where = f" of {self.dataset.folds[duplicate.fold].name}" if len(self.dataset.folds) > 1 else ""
        return f"duplicate across train and test{where}: {same} as {other.id}{label}"


def _relative(path: str, root: str) -> str:
    """`path` relative to `root` if it lies below it, with forward slashes."""
    full, top = os.path.abspath(path), os.path.abspath(root) if root else ""
    inside = bool(top) and full.startswith(top.rstrip(os.sep) + os.sep)
    return (os.path.relpath(full, top) if inside else path).replace(os.sep, "/")


def unexpected(dataset: Dataset[Any]) -> Iterator[ManifestRow]:
    """The media files below the root that no example refers to, in order of path; a folder of images counts as one.

    Thumbnails of videos are left out.
    """
    if not dataset.root:
        return
    paths = {os.path.abspath(e.path) for e in dataset.examples}
    for folder, names in _walk(os.path.abspath(dataset.root), paths):
        media = [n for n in names if kind_of(n) and not is_clutter(n)]
        videos = {folded(stem(n)) for n in media if os.path.join(folder, n) in paths}
        unlisted = [n for n in media if os.path.join(folder, n) not in paths and not is_thumbnail(n, videos)]
        images = [n for n in unlisted if suffix(n) in FRAME_SUFFIXES]
        if len(images) > 1 and len(images) == len(media):
            why = f"a folder of {len(images)} images that no example refers to"
            size = sum(_size(os.path.join(folder, n)) for n in images)
            yield _unexpected_row(folder, why, size, dataset.root)
            continue
        for name in unlisted:
            path = os.path.join(folder, name)
            yield _unexpected_row(path, "no example refers to it", _size(path), dataset.root)


def _unexpected_row(path: str, why: str, size: int, root: str) -> ManifestRow:
    return ManifestRow(path=_relative(path, root), status="unexpected", why=why, report=FileReport(bytes=size))


def _size(path: str) -> int:
    """Size of a file in bytes; 0 for a broken symbolic link."""
    return os.stat(path).st_size if os.path.exists(path) else 0


def _walk(root: str, examples: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Folders and the names of their files, in order; skips folders that are examples, hidden or already visited."""
    visited: set[tuple[int, int]] = set()
    for folder, below, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        again = (status.st_dev, status.st_ino) in visited
        visited.add((status.st_dev, status.st_ino))
        if again or folder in examples:
            below.clear()
            continue
        below[:] = sorted(n for n in below if not is_clutter(n))
        yield folder, sorted(names)


def _split_counts(rows: Sequence[ManifestRow], dataset: Dataset[Any], *, limited: bool) -> Iterator[SplitCounts]:
    """The counts of every split that has examples, in order; examples outside all splits come last."""
    official = {} if limited else dataset.official_counts
    splits = {split for row in rows for split in row.splits or ("",)}
    for split in [*(s for s in split_names(dataset) if s in splits), *({""} & splits)]:
        members = [row for row in rows if split in (row.splits or ("",))]
        n = Counter(row.status for row in members)
        yield SplitCounts(
            split or "in no split",
            expected=len(members),
            official=official.get(split),
            found=len(members) - n["missing"],
            missing=n["missing"],
            unreadable=n["unreadable"],
            short=n["too short"],
            duplicate=n["duplicate"],
            odd=sum(row.status == "ok" and bool(row.why) for row in members),
        )


def _write(output: Path, rows: Sequence[ManifestRow]) -> None:
    """Write the manifest atomically; bytes of names that are not UTF-8 are escaped."""
    with (
        atomic_file(output) as aside,
        open(aside, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(row.cells() for row in rows)
        file.flush()
        os.fsync(file.fileno())
