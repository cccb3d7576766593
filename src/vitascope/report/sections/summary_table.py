"""A table of text, which every format of the report renders in its own way."""

from __future__ import annotations

from typing import NamedTuple


class SummaryTable(NamedTuple):
    """A table of text with a title and a note."""

    title: str
    note: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
