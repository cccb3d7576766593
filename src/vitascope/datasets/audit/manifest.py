"""Manifest: what is on disk of a data set against what its annotations list, one line for every example."""

from __future__ import annotations

import csv
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from vitascope.core.errors import UserError
from vitascope.core.files import replacing
from vitascope.core.types import Dataset, Example, Span, spoken
from vitascope.datasets.audit.duplicates import Copy, Twin, names_of, sides_of, splits_of, twins
from vitascope.datasets.audit.file_journal import FileJournal, take
from vitascope.datasets.audit.file_probe import FileReport
from vitascope.datasets.readers.video_files import MEDIA
from vitascope.video.signature import EXTENSIONS

LEAST = 2
"""Frames that a video must have."""
SLACK = 0.5
"""Seconds by which a span may end after its video without a word: annotations round."""
COLUMNS = (
    *("id", "path", "split", "label", "status", "why", "bytes", "digest"),
    *("duration", "frames", "fps", "width", "height", "start", "end"),
)
NOTHING = FileReport()
Status: TypeAlias = Literal["ok", "missing", "unreadable", "too short", "duplicate", "unexpected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One line of the manifest: an example and what stands for it on disk, or a file that no example refers to."""

    id: str = ""
    path: str
    """Relative to the root where it lies below it."""
    splits: tuple[str, ...] = ()
    label: str = ""
    status: Status
    why: str = ""
    """What is wrong, or odd about a video that is ok all the same."""
    found: FileReport = NOTHING
    span: Span | None = None

    def cells(self) -> tuple[str, ...]:
        """The values under `COLUMNS`; what is not known is empty."""
        f = self.found
        measured = [f"{f.duration:.6f}", f.frames, f"{f.fps:.4f}", f.width, f.height] if f.kind else [""] * 5
        span = ["" if s == float("inf") else f"{s:.12g}" for s in self.span] if self.span else ["", ""]
        size = f.bytes if f.digest or self.status == "unexpected" else ""
        said = [self.id, self.path, "; ".join(self.splits), self.label, self.status, self.why, size, f.digest]
        return tuple(str(v) for v in (*said, *measured, *span))


class SplitCounts(NamedTuple):
    """One side of a split: what should be there and what is."""

    split: str
    expected: int
    """By the annotations."""
    official: int | None
    """By the authors' own count, where that is known."""
    found: int
    missing: int
    unreadable: int
    short: int
    duplicate: int
    odd: int
    """Ok, with something to say about it."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a survey found."""

    dataset: str
    root: str
    rows: tuple[ManifestRow, ...]
    """The examples in the order of the annotations, then the unexpected files by path."""
    tallies: tuple[SplitCounts, ...]
    leaks: tuple[ManifestRow, ...]
    """The test examples whose content is in training too."""
    examples: int
    """In all; a survey that is `limited` has rows for some of them."""
    limited: bool
    read: int
    """Files read now; the others were known from before."""
    bytes: int
    """Read now."""
    seconds: float

    @property
    def counts(self) -> Counter[str]:
        """Rows by status."""
        return Counter(row.status for row in self.rows)

    @property
    def well(self) -> bool:
        """Whether every example has a video that can be read, and none is both trained and tested."""
        return not self.leaks and not any(self.counts[s] for s in ("missing", "unreadable", "too short"))


def survey(
    dataset: Dataset[Any],
    *,
    output: Path,
    workers: int = 1,
    timeout: float = 60.0,
    least_frames: int = LEAST,
    limit: int = 0,
    quiet: bool = False,
) -> Survey:
    """Hold `dataset` against its files and write the manifest to `output`; of `limit` examples for a quick look.

    What was read of the files is kept in `journal(output)`. Raises ValueError where `output` is there and is no
    manifest, OSError where the disk refuses.
    """
    refuse(output)
    chosen = _some(dataset, limit)
    absent = {e.id: _absent(e, dataset) for e in chosen}
    inventory = take(
        [e for e in chosen if not absent[e.id]],
        journal=journal(output),
        workers=workers,
        timeout=timeout,
        label=f"reading {dataset.name}",
        quiet=quiet,
    )
    judge = _Judge(dataset, absent, inventory, least_frames)
    rows, leaks = judge.rows(chosen)
    limited = len(rows) < len(dataset.examples)
    full = (*rows, *unexpected(dataset))
    _write(output, full)
    return Survey(
        dataset=dataset.name,
        root=dataset.root,
        rows=full,
        tallies=tuple(_tallies(rows, dataset, limited=limited)),
        leaks=tuple(leaks),
        examples=len(dataset.examples),
        limited=limited,
        read=inventory.read,
        bytes=inventory.bytes,
        seconds=inventory.seconds,
    )


def journal(output: Path) -> Path:
    """The file beside the manifest that keeps what was read."""
    return output.with_name(f"{output.stem}.files.jsonl")


def refuse(output: Path) -> None:
    """Refuse a file that the manifest would destroy: ValueError."""
    if output.is_dir():
        raise UserError(f"-o {output} is a folder; name a file in it, for instance {output / 'manifest.csv'}")
    if output.is_file() and output.stat().st_size:
        with open(output, "rb") as file:
            first = file.readline(1000).decode(errors="replace").strip()
        if first != ",".join(COLUMNS):
            raise UserError(f"-o {output} is there and no manifest that `vitascope check` wrote; name another file")


def _some(dataset: Dataset[Any], limit: int) -> list[Example[Any]]:
    """The examples, or `limit` of them drawn by their ids alone, in the order of the annotations."""
    examples = list(dataset.examples)
    if not 0 < limit < len(examples):
        return examples
    drawn = sorted(examples, key=lambda e: random.Random(e.id).random())[:limit]
    keep = {e.id for e in drawn}
    return [e for e in examples if e.id in keep]


def _absent(example: Example[Any], dataset: Dataset[Any]) -> str:
    """Why there is nothing to read; empty where there is something."""
    if example.id in dataset.missing_files:
        return dataset.missing_files[example.id] or "no such file"
    if os.path.exists(example.path):
        return ""
    return "the link leads nowhere" if os.path.islink(example.path) else "no such file"


class _Judge:
    """Gives every example its status."""

    def __init__(
        self, dataset: Dataset[Any], absent: Mapping[str, str], inventory: FileJournal, least_frames: int
    ) -> None:
        self.dataset, self.missing_files, self.inventory, self.least = dataset, absent, inventory, least_frames
        self.sides, self.splits = sides_of(dataset), splits_of(dataset)

    def rows(self, examples: Sequence[Example[Any]]) -> tuple[list[ManifestRow], list[ManifestRow]]:
        """A row for each, and those of the tested whose content is trained too."""
        alone = {e.id: self._alone(e) for e in examples}
        found = twins(self._copy(e) for e in examples if alone[e.id][0] == "ok")
        rows = [self._row(e, *alone[e.id], found.get(e.id)) for e in examples]
        across = {i for i, t in found.items() if t.fold is not None and (t.fold, "test") in self.sides[i]}
        return rows, [row for row in rows if row.id in across]

    def _copy(self, e: Example[Any]) -> Copy:
        content = (self.inventory.found[e.path].digest, e.span)
        return Copy(e.id, os.path.abspath(e.path), self._label(e), content, self.sides.get(e.id, ()))

    def _row(self, e: Example[Any], status: Status, why: str, twin: Twin | None) -> ManifestRow:
        if twin:
            status, why = "duplicate", "; ".join([self._alike(e, twin), *([why] if why else [])])
        return ManifestRow(
            id=e.id,
            path=_relative(e.path, self.dataset.root),
            splits=self.splits.get(e.id, ()),
            label=self._label(e),
            status=status,
            why=why,
            found=self.inventory.found.get(e.path, NOTHING),
            span=e.span,
        )

    def _label(self, e: Example[Any]) -> str:
        """The truth in words."""
        return spoken(e.truth, self.dataset.classes)

    def _alone(self, e: Example[Any]) -> tuple[Status, str]:
        """Status and reason as far as the example alone can tell."""
        if self.missing_files[e.id]:
            return "missing", self.missing_files[e.id]
        found = self.inventory.found[e.path]
        if found.why:
            return "unreadable", found.why
        if short := self._short(e, found):
            return "too short", short
        odd = list(found.warnings)
        if e.span and found.kind != "image" and found.duration + SLACK < e.span[1] < float("inf"):
            odd.append(f"the span ends at {e.span[1]:g} s, the video at {found.duration:.3f} s")
        return "ok", "; ".join(odd)

    def _short(self, e: Example[Any], found: FileReport) -> str:
        """Why there is less to see than there should be; empty where there is enough."""
        if found.kind == "image":
            still = os.path.splitext(e.path)[1].lower() in EXTENSIONS | {".gif"}
            return "" if still else "a still picture, whatever its name says"
        if found.frames < self.least:
            return f"{found.frames} frame{'s' * (found.frames != 1)}, fewer than {self.least}"
        if e.span is None:
            return ""
        start, end = e.span
        if end <= start:
            return f"the span from {start:g} to {end:g} s has no length"
        if start >= found.duration:
            return f"the span begins at {start:g} s, the video ends at {found.duration:.3f} s"
        seen = self.inventory.seen[e.path, e.span]
        return f"{seen} frame{'s' * (seen != 1)} in the span, fewer than {self.least}" if seen < self.least else ""

    def _alike(self, e: Example[Any], twin: Twin) -> str:
        """Which example is the same, and what makes it worse."""
        other = twin.copy
        same = "the same video" if other.path == os.path.abspath(e.path) else "the same bytes"
        label = "" if other.label == self._label(e) else f", there labeled {other.label!r}"
        if twin.fold is None:
            return f"{same} as {other.id}{label}"
        where = f" of {self.dataset.folds[twin.fold].name}" if len(self.dataset.folds) > 1 else ""
        return f"duplicate across train and test{where}: {same} as {other.id}{label}"


def _relative(path: str, root: str) -> str:
    """`path` as seen from `root` where it lies below it, with forward slashes."""
    full, top = os.path.abspath(path), os.path.abspath(root) if root else ""
    inside = bool(top) and full.startswith(top.rstrip(os.sep) + os.sep)
    return (os.path.relpath(full, top) if inside else path).replace(os.sep, "/")


def unexpected(dataset: Dataset[Any]) -> Iterator[ManifestRow]:
    """The media files below the root that no example refers to, by path; a folder of pictures is one."""
    if not dataset.root:
        return
    known = {os.path.abspath(e.path) for e in dataset.examples}
    for folder, names in _walk(os.path.abspath(dataset.root), known):
        media = [n for n in names if os.path.splitext(n)[1].lower() in MEDIA and n[0] != "."]
        strange = [n for n in media if os.path.join(folder, n) not in known]
        pictures = [n for n in strange if os.path.splitext(n)[1].lower() in EXTENSIONS]
        if len(pictures) > 1 and len(pictures) == len(media):
            why = f"a folder of {len(pictures)} pictures; no example refers to it"
            size = sum(_size(os.path.join(folder, n)) for n in pictures)
            yield _stranger(folder, why, size, dataset.root)
            continue
        for name in strange:
            path = os.path.join(folder, name)
            yield _stranger(path, "no example refers to it", _size(path), dataset.root)


def _stranger(path: str, why: str, size: int, root: str) -> ManifestRow:
    return ManifestRow(path=_relative(path, root), status="unexpected", why=why, found=FileReport(bytes=size))


def _size(path: str) -> int:
    """Bytes of a file; 0 of a link that leads nowhere."""
    return os.stat(path).st_size if os.path.exists(path) else 0


def _walk(root: str, known: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Folders and the names of the files in them, in order; not those that are examples, hidden or met before."""
    met: set[tuple[int, int]] = set()
    for folder, below, names in os.walk(root, followlinks=True):
        about = os.stat(folder)
        again = (about.st_dev, about.st_ino) in met
        met.add((about.st_dev, about.st_ino))
        if again or folder in known:
            below.clear()
            continue
        below[:] = sorted(n for n in below if n[0] != ".")
        yield folder, sorted(names)


def _tallies(rows: Sequence[ManifestRow], dataset: Dataset[Any], *, limited: bool) -> Iterator[SplitCounts]:
    """Every split that has examples, in order; what is in none comes last."""
    published = {} if limited else dataset.official_counts
    there = {split for row in rows for split in row.splits or ("",)}
    for split in [*(s for s in names_of(dataset) if s in there), *({""} & there)]:
        of = [row for row in rows if split in (row.splits or ("",))]
        n = Counter(row.status for row in of)
        yield SplitCounts(
            split or "in no split",
            expected=len(of),
            official=published.get(split),
            found=len(of) - n["missing"],
            missing=n["missing"],
            unreadable=n["unreadable"],
            short=n["too short"],
            duplicate=n["duplicate"],
            odd=sum(row.status == "ok" and bool(row.why) for row in of),
        )


def _write(output: Path, rows: Sequence[ManifestRow]) -> None:
    """The manifest, written aside and renamed; names that are not UTF-8 are written out."""
    with (
        replacing(output) as aside,
        open(aside, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(row.cells() for row in rows)
        file.flush()
        os.fsync(file.fileno())
