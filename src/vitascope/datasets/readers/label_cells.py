"""Cells that hold the labels of one video: a list, labels separated by bars, or the numbers at the end of a line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection

from vitascope.core.names import canonical
from vitascope.datasets.readers.tables import items

BAR = "|"
SEVERAL, EXACT = "labels", "class"
"""Columns of any number of labels, and of one label of which a bar is part."""
NUMBERS = re.compile(r"\d+(\s+\d+)+")
"""What follows the path on a line `path 3 17 42` without header."""


def labels_of(cell: str, column: str) -> tuple[str, ...] | None:
    """The labels in a cell that may hold several by its form or its column (empty: no header); None for one label."""
    listed = items(cell)
    if listed is not None:
        return distinct(listed)
    if column == SEVERAL:
        return split_at(cell, BAR)
    return distinct(cell.split()) if not column and NUMBERS.fullmatch(cell) else None


def split_at(cell: str, separator: str) -> tuple[str, ...]:
    """The parts of a cell between separators, each once; nothing between two separators is no label."""
    return distinct(cell.split(separator))


def distinct(parts: Collection[str]) -> tuple[str, ...]:
    """The parts that are not empty, each once, in order."""
    return tuple(dict.fromkeys(filter(None, map(canonical, parts))))


def recombined(cells: Collection[str], separator: str) -> str:
    """A part of one of the different `cells` that is also (part of) another: only labels recombine; empty if none."""
    counts = Counter(part for cell in dict.fromkeys(cells) for part in split_at(cell, separator))
    shared = [p for cell in cells if separator in cell for p in split_at(cell, separator) if counts[p] > 1]
    return shared[0] if shared else ""
