"""Training: what heads were chosen from a grid and by what, and what several seeds of the same training gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import stdev
from typing import Any, NamedTuple

from vitascope.core.text import number, shown
from vitascope.evaluation.results import Result
from vitascope.report.analysis.leaderboard import ON_TEST, Column, EncoderRow, Leaderboard

MOST = 3
"""Choices named for one result; of more, the number."""


class Choice(NamedTuple):
    """One training's pick: of which part of the classes (a verb, say; empty: all), what, by what, and from how many."""

    part: str
    chosen: str
    select: str
    of: int
    best: float | None
    worst: float | None
    """Scores in the grid by which the pick was made, percent."""


class Trained(NamedTuple):
    """How the heads behind one result came about, as text."""

    row: EncoderRow
    task: str
    chosen: str
    select: str
    grid: str
    seeds: str
    on_test: bool


def trained(board: Leaderboard) -> list[Trained]:
    """Every result with a choice to tell or with several seeds, variants too."""
    return [
        _trained(row, column, column.cells[row.index])
        for column in board.columns
        for row in board.rows
        if row.index in column.cells and (len(column.cells[row.index].seeds) > 1 or column.cells[row.index].about)
    ]


def _trained(row: EncoderRow, column: Column, result: Result) -> Trained:
    choices = [choice for about in result.about for choice in _choices(about)]
    return Trained(
        row=row,
        task=shown(column.task),
        chosen=_counted([": ".join(filter(None, (c.part, c.chosen))) for c in choices]),
        select=", ".join(dict.fromkeys(shown(c.select) for c in choices)),
        grid=_grid(choices),
        seeds=spread(result.seeds),
        on_test=column.on_test or any(c.select == ON_TEST for c in choices),
    )


def _choices(about: Mapping[str, Any], part: str = "") -> Iterator[Choice]:
    """What one training chose: once, or once for each part that its classes are made of."""
    chosen = about.get("chosen")
    if isinstance(chosen, Mapping):
        text = ", ".join(f"{shown(str(name))} {_value(value)}" for name, value in chosen.items())
        scores = list(_measured(about.get("grid") or (), chosen))
        best, worst = (max(scores), min(scores)) if scores else (None, None)
        yield Choice(shown(part), text, str(about.get("select", "")), len(about.get("grid") or ()), best, worst)
        return
    for name, inner in about.items():
        if isinstance(inner, Mapping):
            yield from _choices(inner, f"{part} {name}".strip())


def _measured(grid: Iterable[Any], chosen: Mapping[str, Any]) -> Iterator[float]:
    """The score of each entry: the first number in it that is no hyper-parameter."""
    for entry in grid:
        told = [v for k, v in entry.items() if k not in chosen] if isinstance(entry, Mapping) else []
        yield from [float(v) for v in told if isinstance(v, (int, float))][:1]


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else shown(str(value))


def _counted(texts: Sequence[str]) -> str:
    """Each text once, the most frequent first, with how many trainings it stands for where that is not all."""
    counts = Counter(texts).most_common()
    named = [text if n == len(texts) else f"{text} ({n} of {len(texts)})" for text, n in counts[:MOST]]
    return "; ".join(named) + (f"; {len(counts) - MOST} more" if len(counts) > MOST else "")


def _grid(choices: Sequence[Choice]) -> str:
    best, worst = [c.best for c in choices if c.best is not None], [c.worst for c in choices if c.worst is not None]
    sizes = sorted({c.of for c in choices if c.of})
    heads = f"{'–'.join(str(size) for size in dict.fromkeys([sizes[0], sizes[-1]]))} tried" if sizes else ""
    reach = f"{number(min(worst))} to {number(max(best))}" if best and worst else ""
    return ", ".join(filter(None, (heads, reach)))


def spread(seeds: Sequence[float]) -> str:
    """Several headlines in words: how many, from which to which, and their standard deviation; nothing for one."""
    if len(seeds) < 2:
        return ""
    low, high = number(min(seeds)), number(max(seeds))
    return f"mean of {len(seeds)} trainings, {low} to {high}, s.d. {stdev(seeds):.2f}"


def on_test(board: Leaderboard) -> list[Column]:
    """The columns whose heads were chosen on the test set."""
    return [column for column in board.columns if column.on_test]
