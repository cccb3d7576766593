"""Figures 1 and 2 of the TWLV-I report as text: scores on each axis as bars, and motion against appearance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vitascope.core.text import escaped, number
from vitascope.evaluation.results import Result
from vitascope.metrics.class_parts import ORDER_FREE
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis.leaderboard import Leaderboard
from vitascope.report.analysis.ranking import Chance, Ranking, chance_level, overall

AXES = ("appearance", "motion")
BAR, ACROSS, DOWN = 40, 60, 15
"""Length of a full bar, and width and height of the scatter plot, in characters."""
EIGHTHS = " ▏▎▍▌▋▊▉"


class AxisScores(NamedTuple):
    """Scores of one encoder on both axes, percent."""

    label: str
    appearance: float
    motion: float

    @property
    def mean(self) -> float:
        """Mean of both axes, percent."""
        return (self.appearance + self.motion) / 2


def sketch(results: Sequence[Result]) -> str:
    """Draw bars and a scatter plot of the encoders with scores on both axes; empty for fewer than two.

    Each score is the unweighted mean over the tasks of its axis on which all of these encoders were evaluated, without
    variants.
    """
    board = boards.build(results)
    encoders = _axis_scores(board)
    if len(encoders) < 2:
        return ""
    chance = [_level(board, axis, lambda guess: guess.value) for axis in AXES]
    bounds = [_level(board, axis, lambda guess: guess.order_free) for axis in AXES]
    return "\n".join([*_bars(encoders, chance, bounds), "", *_scatter(encoders, chance, bounds)])


def _axis_scores(board: Leaderboard) -> list[AxisScores]:
    """Scores of all encoders on both axes, best mean first."""
    rankings = {c.task: Ranking({row: r.headline for row, r in c.cells.items()}) for c in board.main()}
    axes = [overall(board, rankings, axis) for axis in AXES]
    across, up = ({} if axis is None else axis.scores for axis in axes)
    rows = [row for row in board.rows if row.index in across and row.index in up]
    encoders = [AxisScores(escaped(r.label), across[r.index].value, up[r.index].value) for r in rows]
    return sorted(encoders, key=lambda e: -e.mean)


def _level(board: Leaderboard, axis: str, of: Callable[[Chance], float | None]) -> float:
    """Accuracy without skill, percent; mean over the tasks of an axis, of which unknown ones count as 0."""
    levels = [of(guess) or 0.0 if (guess := chance_level(c, ())) else 0.0 for c in board.main(axis)]
    return sum(levels) / len(levels)


def _bars(encoders: Sequence[AxisScores], chance: Sequence[float], bounds: Sequence[float]) -> list[str]:
    width = max(len(e.label) for e in encoders)
    lines = [f"mean score over the tasks of each axis, percent; chance {_named(chance)}"]
    if bounds[1]:
        lines += [f"order-free {_named(bounds)}: {ORDER_FREE}"]
    for e in encoders:
        for axis, value, label in zip(AXES, (e.appearance, e.motion), (e.label, ""), strict=True):
            lines.append(f"  {label:{width}}  {axis:10}  {_bar(value):{BAR}}  {number(value):>5}")
    return lines


def _named(levels: Sequence[float]) -> str:
    return " and ".join(f"{number(level)} ({axis})" for level, axis in zip(levels, AXES, strict=True))


def _bar(percent: float) -> str:
    whole, rest = divmod(round(max(percent, 0.0) / 100 * BAR * 8), 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


def _scatter(encoders: Sequence[AxisScores], chance: Sequence[float], bounds: Sequence[float]) -> list[str]:
    """Plot motion against appearance from 0 to 100; an encoder that would hide another goes beside it."""
    cells = [[" "] * ACROSS for _ in range(DOWN)]
    column, line = _cell(chance[0], ACROSS), DOWN - 1 - _cell(chance[1], DOWN)
    for row in cells:
        row[column] = "┊"
    cells[line] = ["┄" if c == " " else "┼" for c in cells[line]]
    if 0 < bounds[1] < 100:
        above = DOWN - 1 - _cell(bounds[1], DOWN)
        cells[above] = ["╌" if c == " " else c for c in cells[above]]
    legend = []
    for letter, e in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", encoders, strict=False):
        row = cells[DOWN - 1 - _cell(e.motion, DOWN)]
        row[_free(row, _cell(e.appearance, ACROSS))] = letter
        legend.append(f"  {letter}  {e.label}  {number(e.appearance)} / {number(e.motion)}")
    head = "motion (up) against appearance (right), 0 to 100; dotted: chance"
    head += "; dashed: order-free motion" if 0 < bounds[1] < 100 else ""
    plot = [f"  │{''.join(row)}" for row in cells]
    return [head, *plot, f"  └{'─' * ACROSS}", *legend]


def _cell(percent: float, count: int) -> int:
    return min(max(int(percent / 100 * count), 0), count - 1)


def _free(row: Sequence[str], wanted: int) -> int:
    """The nearest position without a letter."""
    return min((i for i, c in enumerate(row) if not c.isalpha()), key=lambda i: abs(i - wanted), default=wanted)
