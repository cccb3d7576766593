"""Several labels of one video in a user's list: in one cell, or on several lines of the same video and span."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.names import both
from vitascope.datasets.readers.label_cells import BAR, EXACT, SEVERAL, distinct, recombined, split_at
from vitascope.datasets.readers.listing import VideoList, VideoRow

FEW = 0.1
"""Share of the videos below which lines that name a video again with another label look like mistakes."""


def with_label_sets(found: VideoList, root: Path) -> VideoList:
    """The list with one row per video and `VideoRow.labels` in all rows, if its videos have several labels; else as is.

    They have if the list says so (a column `labels`, lists as values), if bars separate labels (a part of `a|b` also
    occurs in another cell: the parts of a name do not), or if videos are listed again with other labels.
    """
    rows = found.rows
    declared = any(row.labels is not None for row in rows)
    single = [row.label for row in rows if row.labels is None and not row.exact_label]
    part = "" if declared else recombined(single, BAR)
    repeated = list(_repeated(rows))
    if not (declared or part or repeated):
        return replace(found, notes=(*found.notes, *_bars_in_names(single)))
    if not (declared or part):
        _check_repeated(repeated, rows, root)
    merged = tuple(_merged(of_one, root, bars=bool(part)) for of_one in _by_video(rows))
    notes = [*_bars(single, part), *_repetitions(rows, merged), *([] if part else _other_separators(merged))]
    return VideoList(merged, found.layout, (*found.notes, *notes))


def _by_video(rows: Sequence[VideoRow]) -> list[list[VideoRow]]:
    """The rows of each video and span, in order of their first."""
    videos: dict[tuple[str, object, str], list[VideoRow]] = defaultdict(list)
    for row in rows:
        videos[row.path, row.span, row.id].append(row)
    return list(videos.values())


def _repeated(rows: Sequence[VideoRow]) -> Iterator[list[VideoRow]]:
    """The rows of each video that has different labels."""
    yield from (of_one for of_one in _by_video(rows) if len({row.label for row in of_one}) > 1)


def _check_repeated(repeated: Sequence[Sequence[VideoRow]], rows: Sequence[VideoRow], root: Path) -> None:
    """Raise `UserError` if so few videos have different labels that they look like mistakes."""
    videos, first = len(_by_video(rows)), repeated[0]
    if len(repeated) < max(2, FEW * videos):
        labels = both(*list(dict.fromkeys(row.label for row in first))[:2])
        raise UserError(
            f"{root}: {first[0].name!r} is listed twice, as {labels}; remove one of the lines, or, if videos have "
            f"several labels (only {len(repeated)} of {videos} do), give them as `a|b` in a column `{SEVERAL}`"
        )


def _merged(rows: Sequence[VideoRow], root: Path, *, bars: bool) -> VideoRow:
    """The one row of a video with the labels of all; `UserError` if the rows differ in anything else."""
    first = rows[0]
    for row in rows[1:]:
        for name in ("split", "group", "fps"):
            one, other = getattr(first, name), getattr(row, name)
            if one != other:
                shown = both(str(one or ""), str(other or ""))
                raise UserError(f"{root}: the lines of {first.name!r} differ in {name}, {shown}; a video has one")
    labels = distinct([label for row in rows for label in _labels(row, bars=bars)])
    return replace(first, label=BAR.join(labels), labels=labels)


def _labels(row: VideoRow, *, bars: bool) -> tuple[str, ...]:
    if row.labels is not None:
        return row.labels
    return split_at(row.label, BAR) if bars and not row.exact_label else (row.label,)


def _bars(cells: Sequence[str], part: str) -> Iterator[str]:
    if part:
        count = sum(BAR in cell for cell in cells)
        example = next(cell for cell in cells if BAR in cell and part in split_at(cell, BAR))
        yield (
            f"{count} labels with a bar are taken as several labels each (e.g. {example!r}, as {part!r} occurs in "
            f"others, too); if the bar is part of the names, call the column `{EXACT}`"
        )


def _bars_in_names(cells: Sequence[str]) -> Iterator[str]:
    named = [cell for cell in cells if BAR in cell]
    if named:
        yield (
            f"the bar in labels as {named[0]!r} is taken as part of the name, as no part occurs in another label; if "
            f"it separates several labels of a video, call the column `{SEVERAL}`"
        )


def _repetitions(rows: Sequence[VideoRow], merged: Sequence[VideoRow]) -> Iterator[str]:
    if len(merged) < len(rows):
        yield f"{len(rows)} lines are {len(merged)} videos; the labels of one are taken together"


def _other_separators(merged: Sequence[VideoRow]) -> Iterator[str]:
    """A note if all videos have a single label in which commas or semicolons look like separators."""
    cells = [row.label for row in merged]
    for separator, name in ((",", "commas"), (";", "semicolons")):
        part = recombined(cells, separator) if all(BAR not in cell for cell in cells) else ""
        if part:
            yield f"{name} in labels are taken as part of the names, though {part!r} recurs; separate labels by `{BAR}`"
