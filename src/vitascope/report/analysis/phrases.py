"""Phrases: rankings, chance levels and caveats in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vitascope.core.text import escaped, number, number_range, percent, share, with_interval
from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.metrics.class_parts import ORDER_FREE
from vitascope.metrics.stats import Difference
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.ranking import ALPHA, Chance, Ranking


class TextRun(NamedTuple):
    """Part of a sentence in one weight."""

    text: str
    strong: bool = False


def order_free_note(levels: Iterable[Chance | None]) -> str:
    """The sentences about the order-free line; empty where it bounds nothing."""
    if all(level is None or level.bound is None for level in levels):
        return ""
    return f"Order-free: {ORDER_FREE}."


def chance_definition(levels: Iterable[Chance]) -> str:
    """Describe how chance levels were computed; empty without any."""
    levels = list(levels)
    kinds = {c.majority for c in levels if not (c.several or c.versions)}
    definitions = ["frequency of the most common test class"] if True in kinds else []
    definitions += ["1 / number of classes"] if False in kinds else []
    of_one = ", or without saved predictions ".join(definitions)
    of_several = "mean frequency of the test classes" if any(c.several for c in levels) else ""
    mixed = " where examples have several labels" if of_one and of_several else ""
    of_versions = "1 / number of versions of a video" if any(c.versions for c in levels) else ""
    return "; ".join(filter(None, (of_one, of_several + mixed, of_versions)))


def not_significant(n: int, needed: int | None, few: str) -> str:
    """State that a difference is not significant, and what it would take to detect it; `few` is from `too_few`."""
    if few:
        return f"not significant; {few}"
    if needed is not None and needed > n:
        return f"not significant; detecting a difference this large takes about {needed:,} examples"
    return "not significant"


def too_few(n: int, groups: int, least: float, tests: int = 1) -> str:
    """State that no difference over so few groups can be significant; empty if one can be.

    `least` is the smallest p-value that they can give after Holm's correction over so many `tests`.
    """
    if least < ALPHA:
        return ""
    unit = "group" if groups < n else "example"
    corrected = f" after correction for {tests} tests" if tests > 1 else ""
    return (
        f"with {groups} {unit}{'s' * (groups != 1)} p cannot fall below {least:.2g}{corrected}, however large the "
        "difference"
    )


def least_adjusted(gap: Difference, tests: int) -> float:
    """Smallest Holm-adjusted p-value of one of so many tests: the least of all is multiplied by their number."""
    return min(tests * gap.least, 1.0)


def gap_too_few(gap: Difference, tests: int) -> str:
    """State that no difference over the groups of `gap` can be significant; empty if one can be."""
    return too_few(gap.n, gap.units, least_adjusted(gap, tests), tests)


def coverage_note(result: Result) -> str:
    """State how much of the test set was scored and how the rest could change the score; empty if all was scored."""
    if result.bounds is None:
        return ""
    return (
        f"{share(result.coverage)} of the test set; with the missing videos it could be {number_range(result.bounds)}"
    )


def leader_sentence(board: Leaderboard, subject: str, ranking: Ranking) -> list[TextRun]:
    """State which encoder leads on `subject`, and whether its lead is significant."""
    names = {row.index: escaped(row.label) for row in board.rows}
    leader, *others = ranking.order()
    clause = _leader_clause(ranking, leader, others, names)
    return [TextRun(f"On {subject}, "), TextRun(names[leader], True), TextRun(clause)]


def _leader_clause(ranking: Ranking, leader: int, others: Sequence[int], names: Mapping[int, str]) -> str:
    best = ranking.scores[leader]
    if not others:
        return f" scores {with_interval(best)}."
    second = names[others[0]]
    if not ranking.tiers:
        unknown = "a significance test needs saved predictions of both on common examples"
        return f" is highest with {percent(best)}, {second} next with {percent(ranking.scores[others[0]])}; {unknown}."
    tied = [row for row in others if ranking.tiers[row] == 1]
    if tied:
        listed = " and ".join(f"{names[row]} ({number(ranking.scores[row].value)})" for row in tied)
        subjects = f"{len(tied)} others" if len(tied) > 3 else listed
        return f" scores highest ({percent(best)}), but not significantly higher than {subjects}{_why(ranking)}."
    gap = ranking.difference(leader, others[0])
    assert gap is not None, "tiers come from differences"
    return f" leads with {percent(best)}, {with_interval(Score(*gap[:3]))} points ahead of {second}."


def _why(ranking: Ranking) -> str:
    """The clause that no lead could be significant, for lack of groups; empty if one could."""
    notes = [gap_too_few(gap, len(ranking.pairs)) for gap in ranking.pairs.values()]
    return f"; {notes[0]}" if notes and all(notes) else ""


def versions(recorded: Sequence[Result]) -> dict[str, str]:
    """Software that computed the results: each component with all its versions."""
    by_part: dict[str, dict[str, None]] = {}
    for result in recorded:
        for part, version in result.code.items():
            by_part.setdefault(part, {})[str(version)] = None
    return {part: ", ".join(each) for part, each in by_part.items()}


LIMITED = "limited: do not publish"
SELECTED_ON_TEST = "selected on the test set"


def caveats(*, limited: bool, on_test: bool) -> list[str]:
    """Warnings that must accompany a score wherever it is shown."""
    return [LIMITED] * limited + [SELECTED_ON_TEST] * on_test


def with_caveats(title: str, column: Column) -> str:
    """A task's name with the caveats of its column."""
    warnings = caveats(limited=column.limited, on_test=column.on_test)
    return f"{title} ({', '.join(warnings)})" if warnings else title
