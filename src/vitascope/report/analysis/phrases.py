"""Words: numbers as text, and what a standing means in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vitascope.core.text import interval, number, percent, share, shown, span, valued
from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.ranking import ALPHA, Chance, Ranking


class Run(NamedTuple):
    """A stretch of a sentence, strong or plain."""

    text: str
    strong: bool = False


def guessed(found: Iterable[Chance]) -> str:
    """How the levels of chance were taken, in words; nothing where there are none."""
    counted = {c.counted for c in found}
    ways = ["the share of the most frequent test class"] if True in counted else []
    ways += ["one over the number of classes"] if False in counted else []
    return " or, without saved predictions, ".join(ways)


def unsure(n: int, groups: int, needed: int | None) -> str:
    """That two encoders are not separable, and what it would take."""
    if groups < n and 2.0 ** (1 - groups) >= ALPHA:
        return f"not separable; {groups} group{'s are' if groups != 1 else ' is'} too few for any difference to be told"
    if needed is not None and needed > n:
        return f"not separable; about {needed:,} examples would tell a difference this large"
    return "not separable"


def covered(result: Result) -> str:
    """How much of the test set was scored, and how far the rest could move the score; nothing where all of it was."""
    if result.bounds is None:
        return ""
    return f"{share(result.coverage)} of the test set; missing videos could move it to {span(result.bounds)}"


def verdict(board: Leaderboard, subject: str, standing: Ranking) -> list[Run]:
    """Who leads on `subject`, and whether that can be told."""
    names = {row.index: shown(row.label) for row in board.rows}
    leader, *others = standing.order()
    return [Run(f"On {subject}, "), Run(names[leader], True), Run(_deed(standing, leader, others, names))]


def _deed(standing: Ranking, leader: int, others: Sequence[int], names: Mapping[int, str]) -> str:
    best = standing.scores[leader]
    if not others:
        return f" scores {valued(best)}."
    second = names[others[0]]
    if not standing.tiers:
        unknown = "whether that can be told apart takes saved predictions of both on common examples"
        return f" is highest with {percent(best)}, {second} next with {percent(standing.scores[others[0]])}; {unknown}."
    beside = [row for row in others if standing.tiers[row] == 1]
    if beside:
        them = " and ".join(f"{names[row]} ({number(standing.scores[row].value)})" for row in beside)
        they = f"{len(beside)} others" if len(beside) > 3 else them
        return f" has {percent(best)}, but {they} {'is' if len(beside) == 1 else 'are'} not separable from it."
    gap = standing.difference(leader, others[0])
    assert gap is not None, "tiers come from differences"
    ahead = f"{number(gap.value)} points ahead of {second} {interval(Score(*gap[:3]))}".strip()
    return f" leads with {percent(best)}, {ahead}."


def versions(found: Sequence[Result]) -> dict[str, str]:
    """What computed the results: each part with all its versions."""
    held: dict[str, dict[str, None]] = {}
    for result in found:
        for part, version in result.code.items():
            held.setdefault(part, {})[str(version)] = None
    return {part: ", ".join(seen) for part, seen in held.items()}


LIMITED = "limited: never publish"


CHOSEN_ON_TEST = "chosen on the test set"


def marks(*, limited: bool, on_test: bool) -> list[str]:
    """What must stand beside a score wherever it is shown."""
    return [LIMITED] * limited + [CHOSEN_ON_TEST] * on_test


def titled(title: str, column: Column) -> str:
    """A task's name with the marks of its column."""
    found = marks(limited=column.limited, on_test=column.on_test)
    return f"{title} ({', '.join(found)})" if found else title
