"""Readouts: probes that read frames or clips as a set, beside the same probes with an eye for their order.

The difference is paired: order-aware minus order-free on the same test examples, in points, with the interval and the
p-value of `stats.paired`, Holm-adjusted over the encoders of a pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vitascope.core.types import digest
from vitascope.evaluation.results import Result
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.motion_effect import AccuracyDrop, accuracy_drop, align, evidence, holm_adjusted

ORDER_SETTINGS = frozenset({"time", "agg", "similarity"})
"""Settings of a probe or a view that make it aware of order."""
SET_READERS = frozenset({"AttentiveProbe", "KNNProbe", "LinearProbe"})
"""Types of probes that read a set without such a setting, for results that do not state it."""


class ReadoutPair(NamedTuple):
    """Two columns that differ in nothing but whether the probe is aware of order."""

    free: Column
    aware: Column
    gains: Mapping[int, AccuracyDrop]
    """Order-aware (`real`) minus order-free (`altered`), by encoder row, for those with saved predictions."""

    @property
    def rows(self) -> list[int]:
        """The encoders evaluated with both."""
        return [row for row in self.free.cells if row in self.aware.cells]


def order_aware(result: Result) -> bool | None:
    """Whether the probe of a result is aware of order; None if that is not known."""
    settings = result.settings.get("probe") or {}
    known = isinstance(settings, Mapping) and settings.get("type") in SET_READERS
    return False if result.order_aware is None and known else result.order_aware


def is_blind(result: Result) -> bool:
    """Whether a result cannot depend on the order of frames: they are encoded one by one and read as a set."""
    model = result.settings.get("model") or {}
    return order_aware(result) is False and isinstance(model, Mapping) and model.get("framewise") is True


def readout_pairs(board: Leaderboard) -> list[ReadoutPair]:
    """Pair every order-aware column with the order-free one that has the same settings otherwise."""
    plainest = sorted(board.plain(), key=lambda c: -len(c.first.probe))  # the one without other options is the last
    free = {_key(c): c for c in plainest if order_aware(c.first) is False}
    aware = [c for c in board.plain() if order_aware(c.first)]
    pairs = [ReadoutPair(free[_key(c)], c, _gains(free[_key(c)], c)) for c in aware if _key(c) in free]
    return [pair for pair in pairs if pair.rows]


def _gains(free: Column, aware: Column) -> dict[int, AccuracyDrop]:
    pairs = {r: align(evidence(aware.cells[r]), evidence(free.cells[r])) for r in free.cells if r in aware.cells}
    measured = {row: accuracy_drop(pair) for row, pair in pairs.items() if pair}
    return dict(zip(measured, holm_adjusted(list(measured.values())), strict=True))


def _key(column: Column) -> str:
    first = column.first
    settings = {**column.settings, "probe": _without_order(column.settings.get("probe") or {}, "name")}
    return digest([first.dataset, column.limited, first.version, len(first.seeds) or 1, settings])


def _without_order(settings: Any, *more: str) -> Any:
    """Settings as plain data without those that tell the order, at any depth, and without `more` at the top."""
    if not isinstance(settings, Mapping):
        return settings
    return {k: _without_order(v) for k, v in settings.items() if k not in ORDER_SETTINGS and k not in more}
