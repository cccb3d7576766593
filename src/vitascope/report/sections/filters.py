"""What the page can be restricted to: encoders, datasets and probes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from vitascope.core.text import escaped
from vitascope.report.analysis.leaderboard import Leaderboard


class Choice(NamedTuple):
    """One of the names; `value` is what the elements of the page carry: the index of an encoder, else the name."""

    value: str
    name: str


class Filter(NamedTuple):
    """Choices of one kind: elements with the attribute `data-<kind>` are shown or hidden."""

    kind: str
    title: str
    choices: tuple[Choice, ...]


def filters(board: Leaderboard) -> list[Filter]:
    """The filters of a page that have something to choose."""
    encoders = tuple(Choice(str(row.index), escaped(row.label)) for row in board.rows)
    first = [column.first for column in board.plain() or board.columns]
    kinds = [
        Filter("row", "encoders", encoders),
        Filter("dataset", "datasets", _named(result.dataset for result in first)),
        Filter("probe", "probes", _named(result.probe for result in first)),
    ]
    return [kind for kind in kinds if len(kind.choices) > 1]


def _named(names: Iterable[str]) -> tuple[Choice, ...]:
    return tuple(Choice(name, name) for name in dict.fromkeys(map(escaped, names)))
