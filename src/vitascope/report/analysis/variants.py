"""Variants: which plain question a low-shot or an altered one belongs to, so that like is held against like.

Two questions belong together where nothing but the variation tells them apart: data set, probe and version, every
hyper-parameter, the views without the alteration, the pipeline, and whether all were cut short by `--limit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from vitascope.core.types import digest
from vitascope.report.analysis.leaderboard import Column, Leaderboard

TEST, BOTH = "test", "both"
"""`variant["sides"]`: altered clips in the test only, or in training too."""
VIEWS = {TEST: (TEST,), BOTH: ("train", TEST)}
Key: TypeAlias = tuple[str, str, str]
"""Data set, probe, and a digest of the rest of the question."""


class Altered(NamedTuple):
    """A column and what was asked of it again with altered clips: `columns` by (sides, alteration)."""

    plain: Column
    columns: Mapping[tuple[str, str], Column]


class LowShotTask(NamedTuple):
    """What was asked of a data set with part of its training side: `columns` by share, `plain` with all of it."""

    task: str
    plain: Column | None
    columns: Mapping[str, Column]


def altered(board: Leaderboard) -> tuple[list[Altered], list[Column]]:
    """The altered columns by what they are held against; and those whose like was not asked with real clips."""
    real = {_unaltered(c): c for c in reversed(board.columns) if not c.variant.get("altered")}
    found: dict[Key, dict[tuple[str, str], Column]] = {}
    alone = []
    for column in board.columns:
        how, key = column.variant.get("altered"), _unaltered(column)
        if how and key in real:
            found.setdefault(key, {}).setdefault((column.variant.get("sides", ""), how), column)
        elif how:
            alone.append(column)
    order = {id(column): place for place, column in enumerate(board.columns)}
    groups = [Altered(real[key], columns) for key, columns in found.items()]
    return sorted(groups, key=lambda group: order[id(group.plain)]), alone


def thinned(board: Leaderboard) -> list[LowShotTask]:
    """The low-shot columns with real clips, by the question that was asked with less."""
    full = {_unthinned(c): c for c in reversed(board.plain())}
    found: dict[Key, dict[str, Column]] = {}
    for column in board.variants():
        if column.variant.get("train_fraction") and not column.variant.get("altered"):
            found.setdefault(_unthinned(column), {}).setdefault(column.variant["train_fraction"], column)
    return [LowShotTask(f"{key[0]}:{key[1]}", full.get(key), columns) for key, columns in found.items()]


def _unaltered(column: Column) -> Key:
    """What a column has in common with the one that shows the clips as they are."""
    settings = column.settings.get("dataset") or {}
    more = [settings.get("digest"), len(column.any.seeds) or 1]
    return column.any.dataset, _probe(column), digest([*_asked(column), *more])


def _unthinned(column: Column) -> Key:
    """What a column has in common with the one that trains on everything; that one may draw nothing, hence no seeds."""
    settings, few = column.settings.get("dataset") or {}, column.variant.get("train_fraction")
    name = column.any.dataset.removesuffix(f"@{few}") if few else column.any.dataset
    return name, column.any.probe, digest([*_asked(column), settings.get("examples")])


def _probe(column: Column) -> str:
    how, sides = column.variant.get("altered"), column.variant.get("sides")
    return column.any.probe.replace(f"+{sides}:{how}", "") if how else column.any.probe


def _asked(column: Column) -> Iterator[Any]:
    settings = column.settings
    yield from (column.limited, column.any.version, settings.get("pipeline"), settings.get("classes"))
    yield settings.get("options")
    views = VIEWS.get(column.variant.get("sides", ""), ())
    for name, value in (settings.get("probe") or {}).items():
        if name != "name":
            yield name, _inner(value) if name in views else value


def _inner(view: Any) -> Any:
    """A view without the alteration around its sampler."""
    sampler = view.get("sampler") if isinstance(view, Mapping) else None
    return {**view, "sampler": sampler["inner"]} if isinstance(sampler, Mapping) and "inner" in sampler else view


def shares(columns: Mapping[str, Column]) -> Iterator[tuple[str, Sequence[tuple[float, Column]]]]:
    """Low-shot columns in ascending order: shares of the training side (`%`), then numbers a class (`-shot`)."""
    for unit in ("%", "-shot"):
        found = [(float(few.removesuffix(unit)), column) for few, column in columns.items() if few.endswith(unit)]
        if found:
            yield unit, sorted(found, key=lambda pair: pair[0])
