"""Words: numbers as text, and what a standing means in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vitascope.report.board import Board
from vitascope.report.findings import ALPHA, Chance, Standing
from vitascope.results import Result, Score


class Run(NamedTuple):
    """A stretch of a sentence, strong or plain."""

    text: str
    strong: bool = False


def number(value: float) -> str:
    """One decimal and a true minus sign."""
    return f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−")


def signed(value: float) -> str:
    """As `number`, with its sign."""
    text = number(value)
    return text if text.startswith("−") or text == "0.0" else f"+{text}"


def tick(value: float) -> str:
    """A round number at an axis."""
    return f"{value:g}".replace("-", "−")


def interval(score: Score) -> str:
    """`[61.9, 65.2]`, or nothing where no interval was drawn."""
    return "" if score.low is None or score.high is None else f"[{number(score.low)}, {number(score.high)}]"


def valued(score: Score) -> str:
    """Value and interval."""
    return f"{number(score.value)} {interval(score)}".strip()


def span(bounds: tuple[float, float]) -> str:
    """From the lowest to the highest."""
    return "–".join(map(number, bounds))


def percent(score: Score) -> str:
    """The value alone, for a sentence."""
    return f"{number(score.value)}\N{NO-BREAK SPACE}%"


def margin(found: Score) -> str:
    """A difference and its interval, signed."""
    if found.low is None or found.high is None:
        return signed(found.value)
    return f"{signed(found.value)} [{signed(found.low)}, {signed(found.high)}]"


def p_value(p: float) -> str:
    """A p-value as people read it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


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


def shown(name: str) -> str:
    """A name on one visible line: control characters and lone surrogates written out."""
    kept = "\u200c\u200d\N{NO-BREAK SPACE}"
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in name)


def lasted(seconds: float) -> str:
    """A duration to three digits or so."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def covered(result: Result) -> str:
    """How much of the test set was scored, and how far the rest could move the score; nothing where all of it was."""
    if result.bounds is None:
        return ""
    return f"{share(result.coverage)} of the test set; missing videos could move it to {span(result.bounds)}"


def share(part: float) -> str:
    """A share that is not the whole, in percent, and never rounded up to it."""
    return f"{number(min(100 * part, 99.9))} %"


def verdict(board: Board, subject: str, standing: Standing) -> list[Run]:
    """Who leads on `subject`, and whether that can be told."""
    names = {row.index: shown(row.label) for row in board.rows}
    leader, *others = standing.order()
    return [Run(f"On {subject}, "), Run(names[leader], True), Run(_deed(standing, leader, others, names))]


def _deed(standing: Standing, leader: int, others: Sequence[int], names: Mapping[int, str]) -> str:
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
