"""What decides whether a number can be trusted, for the page: data, protocol, cost, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitascope.report.analysis import incomparable
from vitascope.report.analysis.leaderboard import Leaderboard
from vitascope.report.analysis.ranking import Ranking
from vitascope.report.charts import cost
from vitascope.report.sections import data_cards


def trust_values(board: Leaderboard, rankings: Mapping[str, Ranking]) -> dict[str, Any]:
    """Values of the templates in `trust.html.j2`."""
    return {
        "data_cards": data_cards.cards(board),
        "separated": [*incomparable.separated(board), *incomparable.with_other_options(board)],
        "unequal_videos": incomparable.unequal_videos(board),
        "cost_charts": cost.charts(board, rankings),
        "cost_lines": cost.lines(board),
        "cost_titles": [measure.title for measure in cost.MEASURES],
    }
