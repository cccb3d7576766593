"""Head selection: which heads were selected from a hyperparameter grid, by what, and the spread over seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import stdev
from typing import Any, NamedTuple

from vitascope.core.text import escaped, number
from vitascope.evaluation.results import Result
from vitascope.report.analysis.leaderboard import ON_TEST, Column, EncoderRow, Leaderboard

MAX_LISTED = 3
"""Selected settings listed per result; of the others only the number is given."""


class Choice(NamedTuple):
    """The hyperparameters that one training selected."""

    part: str
    """Part of the label the head predicts, such as verb or noun; empty for the whole label."""
    selected: str
    select: str
    """Selection criterion."""
    n_candidates: int
    best: float | None
    """Highest selection score over the grid, percent."""
    worst: float | None
    """Lowest selection score over the grid, percent."""


class HeadSummary(NamedTuple):
    """How the heads behind one result were selected and trained, as text."""

    row: EncoderRow
    task: str
    selected: str
    select: str
    candidates: str
    seeds: str
    on_test: bool


def head_summaries(board: Leaderboard) -> list[HeadSummary]:
    """Summarize every result with selected hyperparameters or several seeds, variants included."""
    return [
        _head_summary(row, column, column.cells[row.index])
        for column in board.columns
        for row in board.rows
        if row.index in column.cells and _is_selected(column.cells[row.index])
    ]


def _is_selected(result: Result) -> bool:
    """Whether hyperparameters were selected, or there are several seeds."""
    return len(result.seeds) > 1 or any(True for about in result.about for _ in _choices(about))


def _head_summary(row: EncoderRow, column: Column, result: Result) -> HeadSummary:
    choices = [choice for about in result.about for choice in _choices(about)]
    return HeadSummary(
        row=row,
        task=escaped(column.task),
        selected=_most_frequent([": ".join(filter(None, (c.part, c.selected))) for c in choices]),
        select=", ".join(dict.fromkeys(escaped(c.select) for c in choices)),
        candidates=_candidates(choices),
        seeds=seed_spread(result.seeds),
        on_test=column.on_test or any(c.select == ON_TEST for c in choices),
    )


def _choices(about: Mapping[str, Any], part: str = "") -> Iterator[Choice]:
    """Yield the selection of one training, or one for each part of the label."""
    selected = about.get("chosen")
    if isinstance(selected, Mapping):
        text = ", ".join(f"{escaped(str(name))} {_value(value)}" for name, value in selected.items())
        grid = about.get("grid")
        grid = grid if isinstance(grid, Sequence) and not isinstance(grid, str) else ()
        scores = list(_scores(grid, selected))
        best, worst = (max(scores), min(scores)) if scores else (None, None)
        yield Choice(escaped(part), text, str(about.get("select", "")), len(grid), best, worst)
        return
    for name, inner in about.items():
        if isinstance(inner, Mapping):
            yield from _choices(inner, f"{part} {name}".strip())


def _scores(grid: Iterable[Any], selected: Mapping[str, Any]) -> Iterator[float]:
    """Yield the selection score of each grid entry: its first number that is no hyperparameter."""
    for entry in grid:
        values = [v for k, v in entry.items() if k not in selected] if isinstance(entry, Mapping) else []
        yield from [float(v) for v in values if isinstance(v, (int, float))][:1]


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else escaped(str(value))


def _most_frequent(texts: Sequence[str]) -> str:
    """Join distinct texts, most frequent first, each with its count unless all are equal."""
    counts = Counter(texts).most_common()
    listed = [text if n == len(texts) else f"{text} ({n} of {len(texts)})" for text, n in counts[:MAX_LISTED]]
    return "; ".join(listed) + (f"; {len(counts) - MAX_LISTED} more" if len(counts) > MAX_LISTED else "")


def _candidates(choices: Sequence[Choice]) -> str:
    best, worst = [c.best for c in choices if c.best is not None], [c.worst for c in choices if c.worst is not None]
    sizes = sorted({c.n_candidates for c in choices if c.n_candidates})
    heads = f"{'–'.join(str(size) for size in dict.fromkeys([sizes[0], sizes[-1]]))} tried" if sizes else ""
    score_range = f"{number(min(worst))} to {number(max(best))}" if best and worst else ""
    return ", ".join(filter(None, (heads, score_range)))


def seed_spread(seeds: Sequence[float]) -> str:
    """Describe headline scores over seeds: number, range and standard deviation; empty for a single seed."""
    if len(seeds) < 2:
        return ""
    low, high = number(min(seeds)), number(max(seeds))
    return f"mean of {len(seeds)} seeds, {low} to {high}, SD {stdev(seeds):.2f}"


def chosen_on_test(board: Leaderboard) -> list[Column]:
    """Columns whose heads were selected on the test set."""
    return [column for column in board.columns if column.on_test]
