"""The sections about order, readouts and parts: what each adds to the page, to its style and to the tables."""

from __future__ import annotations

from typing import Any

from vitascope.report.analysis.leaderboard import Leaderboard
from vitascope.report.sections import aggregation, chirality, class_parts, direction
from vitascope.report.sections.tables import SummaryTable


def tables(board: Leaderboard, *, brief: bool = False) -> list[SummaryTable]:
    """The tables of text: aggregators and versions of clips, pairs of opposite classes, accuracy in parts."""
    named = [*aggregation.tables(board), *direction.tables(board), *chirality.pair_tables(board)]
    return [*named, *class_parts.tables(board, brief=brief)]


def values(board: Leaderboard) -> dict[str, Any]:
    """The values of the page's template."""
    return {
        "aggregation": aggregation.aggregation_panels(board),
        "aggregation_note": aggregation.NOTE,
        "direction_tasks": direction.direction_tasks(board),
        "parts": class_parts.tasks(board),
        "pairs": chirality.pair_plots(board),
        "pairs_note": chirality.NOTE,
    }


def styles(board: Leaderboard) -> dict[str, bool]:
    """Which style sheets the page needs."""
    return {
        "direction": bool(direction.tables(board)),
        "chirality": any(map(chirality.compares_pairs, board.plain())) or bool(class_parts.tables(board)),
    }
