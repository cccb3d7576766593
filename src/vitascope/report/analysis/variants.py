"""Variants: match low-shot and altered-clip tasks with the standard task they are compared to.

A variant and a standard task match if they differ in nothing but the variation: same dataset, probe and version,
hyperparameters, views (without the alteration), pipeline, and either both or neither evaluated with `--limit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from vitascope.core.types import digest
from vitascope.report.analysis.leaderboard import Column, Leaderboard

TEST, BOTH = "test", "both"
"""Values of `variant["sides"]`: altered clips in the test set only, or in training as well."""
VIEWS = {TEST: (TEST,), BOTH: ("train", TEST)}
Key: TypeAlias = tuple[str, str, str]
"""Dataset, probe, and a digest of all other settings."""


class AlteredTask(NamedTuple):
    """A column on real clips and its counterparts on altered clips: `columns` by (sides, alteration)."""

    original: Column
    columns: Mapping[tuple[str, str], Column]


class LowShotTask(NamedTuple):
    """A task evaluated with subsets of the training set: `columns` by fraction, `full` with all of it."""

    task: str
    full: Column | None
    columns: Mapping[str, Column]


def altered_tasks(board: Leaderboard) -> tuple[list[AlteredTask], list[Column]]:
    """Group altered columns by their original; also list those without an original on real clips."""
    real = {_original_key(c): c for c in reversed(board.columns) if not c.variant.get("altered")}
    by_original: dict[Key, dict[tuple[str, str], Column]] = {}
    unmatched = []
    for column in board.columns:
        alteration, key = column.variant.get("altered"), _original_key(column)
        if alteration and key in real:
            by_original.setdefault(key, {}).setdefault((column.variant.get("sides", ""), alteration), column)
        elif alteration:
            unmatched.append(column)
    order = {id(column): place for place, column in enumerate(board.columns)}
    tasks = [AlteredTask(real[key], columns) for key, columns in by_original.items()]
    return sorted(tasks, key=lambda task: order[id(task.original)]), unmatched


def low_shot_tasks(board: Leaderboard) -> list[LowShotTask]:
    """Group low-shot columns (with real clips) by task."""
    full = {_full_data_key(c): c for c in reversed(board.plain())}
    groups: dict[Key, dict[str, Column]] = {}
    for column in board.variants():
        if column.variant.get("train_fraction") and not column.variant.get("altered"):
            groups.setdefault(_full_data_key(column), {}).setdefault(column.variant["train_fraction"], column)
    return [LowShotTask(f"{key[0]}:{key[1]}", full.get(key), columns) for key, columns in groups.items()]


def _original_key(column: Column) -> Key:
    """Key shared by a column and its original on real clips."""
    settings = column.settings.get("dataset") or {}
    more = [settings.get("digest"), len(column.first.seeds) or 1]
    return column.first.dataset, _probe(column), digest([*_shared_settings(column), *more])


def _full_data_key(column: Column) -> Key:
    """Key shared by a column and the one with the full training set, which may use no seeds."""
    settings, fraction = column.settings.get("dataset") or {}, column.variant.get("train_fraction")
    name = column.first.dataset.removesuffix(f"@{fraction}") if fraction else column.first.dataset
    return name, column.first.probe, digest([*_shared_settings(column), settings.get("examples")])


def _probe(column: Column) -> str:
    alteration, sides = column.variant.get("altered"), column.variant.get("sides")
    return column.first.probe.replace(f"+{sides}:{alteration}", "") if alteration else column.first.probe


def _shared_settings(column: Column) -> Iterator[Any]:
    settings = column.settings
    yield from (column.limited, column.first.version, settings.get("pipeline"), settings.get("classes"))
    yield settings.get("options")
    views = VIEWS.get(column.variant.get("sides", ""), ())
    for name, value in (settings.get("probe") or {}).items():
        if name != "name":
            yield name, _without_alteration(value) if name in views else value


def _without_alteration(view: Any) -> Any:
    """Strip the alteration from a view's sampler."""
    sampler = view.get("sampler") if isinstance(view, Mapping) else None
    return {**view, "sampler": sampler["inner"]} if isinstance(sampler, Mapping) and "inner" in sampler else view


def by_fraction(columns: Mapping[str, Column]) -> Iterator[tuple[str, Sequence[tuple[float, Column]]]]:
    """Yield low-shot columns in ascending order: percentages of the training set, then examples per class (`-shot`)."""
    for unit in ("%", "-shot"):
        sized = [(float(name.removesuffix(unit)), column) for name, column in columns.items() if name.endswith(unit)]
        if sized:
            yield unit, sorted(sized, key=lambda pair: pair[0])
