"""What the columns of a predictions file hold, checked when it is read: their types, and values that fit each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vitascope.core.errors import UserError

NUMBERS = ("fold", "truth", "outcome", "fps", "frame_rate")
TIMES = ("duration", "from", "to")
"""Columns of numbers that are not of every video: null, or not a number."""
NAMES = ("id", "group", "label", "path")
ROWS = (
    *(("top", "score"), ("starts", "ends", "labels", "scores"), ("true_starts", "true_ends", "true_labels")),
    *(
        ("pairs", "sides", "margins"),
        ("times", "labels", "scores"),
        ("true_times", "true_labels"),
        ("true_times", "true_tracks"),
    ),
)
RUNS = (("labels", "frames"), ("true_labels", "true_frames"))
"""Columns of lists that are of one length in every row."""
BOXES = (("times", "boxes"), ("true_times", "true_boxes"))
"""Columns of lists of which the second has four numbers for each of the first."""
SINGLE = ("true_classes", "class_scores", "keyframes")
"""Columns of lists of any length."""
LISTS = frozenset((*SINGLE, *(name for group in (*ROWS, *RUNS, *BOXES) for name in group)))
COUNTED = ("pairs", "sides", "true_classes", "labels", "true_labels", "top", "frames", "true_frames", "fold")
"""Columns of whole numbers from 0 on."""
TOO_MANY = 1 << 31
"""What no count, class or frame reaches."""
MAX_FRAMES = 100_000_000
"""Frames of one video, 38 days of them."""


def check_types(table: Any) -> None:
    """UserError for a column of a table of predictions that holds something else than it should."""
    import pyarrow as pa

    def is_number(kind: Any) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

    for name in table.column_names if len(table) else ():
        kind, fits_kind = table.schema.field(name).type, True
        if name in NUMBERS:
            fits_kind = is_number(kind)
        elif name in TIMES:
            fits_kind = is_number(kind) or pa.types.is_null(kind)
        elif name in NAMES:
            fits_kind = bool(pa.types.is_string(kind))
        elif name in LISTS:
            fits_kind = pa.types.is_list(kind) and (pa.types.is_null(kind.value_type) or is_number(kind.value_type))
        if not fits_kind or (name in (*NUMBERS, *NAMES, *LISTS) and table[name].null_count):
            raise UserError(f"column {name} holds {kind}{' and nothing' if fits_kind else ''}")


def check_values(columns: Mapping[str, Sequence[Any]]) -> None:
    """UserError for numbers that are none, lists of one row that differ in length, and numbers of frames below 1."""
    for name in filter(columns.__contains__, (*NUMBERS, *LISTS)):
        _check_numbers(name, columns[name])
    for group in (*ROWS, *RUNS):
        _check_lengths({name: columns[name] for name in group if name in columns})
    for times, boxes in (pair for pair in BOXES if pair[0] in columns):
        for row, (of, corners) in enumerate(zip(columns[times], columns.get(boxes, ()), strict=True)):
            if len(corners) != 4 * len(of):
                raise UserError(f"row {row}: {len(of)} {times}, but {len(corners)} numbers of {boxes}, not four each")
    for name in filter(columns.__contains__, ("frames", "true_frames")):
        for row, counts in enumerate(columns[name]):
            if any(count < 1 for count in counts) or sum(counts) > MAX_FRAMES:
                raise UserError(f"column {name}, row {row}: {_shown(counts)} are no numbers of frames")
    if any(fps <= 0 for fps in columns.get("fps", ())):
        raise UserError("column fps: a rate is not positive")
    if not all(duration is None or 0 <= duration < math.inf for duration in columns.get("duration", ())):
        raise UserError("column duration: one is negative or not finite")


def _check_numbers(name: str, column: Sequence[Any]) -> None:
    for row, value in enumerate(column):
        numbers = value if name in LISTS else (value,)
        if None in numbers or (name != "score" and not all(map(math.isfinite, numbers))):
            raise UserError(f"column {name}, row {row}: {_shown(value)} is not finite")
        if name in COUNTED and any(number != int(number) or not 0 <= number < TOO_MANY for number in numbers):
            raise UserError(f"column {name}, row {row}: {_shown(value)} is no count")


def _check_lengths(columns: Mapping[str, Sequence[Sequence[Any]]]) -> None:
    for row, lists in enumerate(zip(*columns.values(), strict=True)):
        if len({len(of) for of in lists}) > 1:
            raise UserError(f"row {row}: {', '.join(columns)} are of {' and '.join(str(len(of)) for of in lists)}")


def _shown(value: Any) -> str:
    return f"{value!r:.40}"
