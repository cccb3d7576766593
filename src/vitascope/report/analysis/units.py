"""What intervals resample: groups of examples where there are any, or single examples, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vitascope.core.text import escaped
from vitascope.metrics.few_units import FEW
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.ranking import Ranking

MAX_LISTED = 3
"""Datasets named in the sentence."""


class Units(NamedTuple):
    """What the intervals of a task resample."""

    grouped: bool | None
    """Whether examples are in groups; None if the results do not tell."""
    few: bool = False
    """Whether there are fewer than ten of them."""


def units(column: Column, ranking: Ranking | None) -> Units:
    """What the intervals of a column resample: by the paired differences, the card of the data, or predictions."""
    gap = next(iter(ranking.pairs.values()), None) if ranking else None
    if gap:
        return Units(gap.units < gap.n, gap.units < FEW)
    groups = column.first.data.get("groups")
    if not isinstance(groups, Mapping):
        return Units(True if ranking and ranking.grouped else None)
    grouped = bool(groups.get("grouped"))
    return Units(grouped, min(groups.get("count", 0) if grouped else column.first.n, column.first.n) < FEW)


def interval_definition(board: Leaderboard, rankings: Mapping[str, Ranking]) -> str:
    """What the intervals of the main table are, such as `95 % bootstrap intervals over test examples`."""
    each = [(c, units(c, rankings.get(c.task))) for c in board.main()]
    few = " (fewer than ten: score intervals with Student's t; one: none)" if any(u.few for _, u in each) else ""
    return f"95 % bootstrap intervals over {_resampled({c.first.dataset: u for c, u in each})}{few}"


def _resampled(each: Mapping[str, Units]) -> str:
    grouped = [escaped(name) for name, of in each.items() if of.grouped]
    if not grouped:
        unknown = any(of.grouped is None for of in each.values())
        return "test examples, or their groups where they have any" if unknown else "test examples"
    if len(grouped) == len(each):
        return "whole groups of test examples"
    more = f" and {len(grouped) - MAX_LISTED} more" if len(grouped) > MAX_LISTED else ""
    return f"test examples, whole groups of them in {', '.join(grouped[:MAX_LISTED])}{more}"
