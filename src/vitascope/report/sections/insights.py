"""The sections about order and readouts: what each adds to the page, to its style and to the tables."""

from __future__ import annotations

from typing import Any

from vitascope.report.analysis.leaderboard import Leaderboard
from vitascope.report.sections import aggregation, chirality, direction
from vitascope.report.sections.tables import SummaryTable


def tables(board: Leaderboard) -> list[SummaryTable]:
    """The tables of text: aggregators of clips, versions of clips, pairs of opposite classes."""
    return [*aggregation.tables(board), *direction.tables(board), *chirality.pair_tables(board)]


def values(board: Leaderboard) -> dict[str, Any]:
    """The values of the page's template."""
    return {
        "aggregation": aggregation.aggregation_panels(board),
        "aggregation_note": aggregation.NOTE,
        "direction_tasks": direction.direction_tasks(board),
        "pairs": chirality.pair_plots(board),
        "pairs_note": chirality.NOTE,
    }


def styles(board: Leaderboard) -> dict[str, bool]:
    """Which style sheets the page needs."""
    return {
        "direction": bool(direction.tables(board)),
        "chirality": any(map(chirality.compares_pairs, board.plain())),
    }
