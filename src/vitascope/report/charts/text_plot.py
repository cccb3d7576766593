"""The TWLV-I report's figures 1 and 2 in letters, for a terminal: how good on each axis, and one over the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vitascope.core.text import number, shown
from vitascope.evaluation.results import Result
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis.leaderboard import Leaderboard
from vitascope.report.analysis.ranking import Ranking, overall

AXES = ("appearance", "motion")
BAR, ACROSS, DOWN = 40, 60, 15
"""Letters of a whole bar, and of the plane: a column for so many percent, a line for so many."""
EIGHTHS = " ▏▎▍▌▋▊▉"


class Placed(NamedTuple):
    """An encoder known on both axes, percent."""

    label: str
    appearance: float
    motion: float

    @property
    def mean(self) -> float:
        """Of both."""
        return (self.appearance + self.motion) / 2


def sketch(found: Sequence[Result]) -> str:
    """Bars and plane of the encoders that are known on both axes; nothing where fewer than two are.

    Each number is the unweighted mean over the tasks of its axis that all of these encoders were asked; variants of a
    task are left out.
    """
    board = boards.build(found)
    placed = _placed(board)
    if len(placed) < 2:
        return ""
    chance = [_chance(board, axis) for axis in AXES]
    return "\n".join([*_bars(placed), "", *_plane(placed, chance)])


def _placed(board: Leaderboard) -> list[Placed]:
    """The best mean first."""
    known = {c.task: Ranking({row: r.headline for row, r in c.cells.items()}) for c in board.main()}
    axes = [overall(board, known, axis) for axis in AXES]
    across, up = ({} if axis is None else axis.scores for axis in axes)
    both = [row for row in board.rows if row.index in across and row.index in up]
    placed = [Placed(shown(r.label), across[r.index].value, up[r.index].value) for r in both]
    return sorted(placed, key=lambda p: -p.mean)


def _chance(board: Leaderboard, axis: str) -> float:
    """What naming any class gives, the mean over the tasks of an axis."""
    shares = [100 / max(len(c.any.settings.get("classes") or ()), 1) for c in board.main(axis)]
    return sum(shares) / len(shares)


def _bars(placed: Sequence[Placed]) -> list[str]:
    wide = max(len(p.label) for p in placed)
    lines = ["how good on each axis, percent, means over tasks"]
    for p in placed:
        for axis, value, label in zip(AXES, (p.appearance, p.motion), (p.label, ""), strict=True):
            lines.append(f"  {label:{wide}}  {axis:10}  {_bar(value):{BAR}}  {number(value):>5}")
    return lines


def _bar(percent: float) -> str:
    whole, rest = divmod(round(max(percent, 0.0) / 100 * BAR * 8), 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


def _plane(placed: Sequence[Placed], chance: Sequence[float]) -> list[str]:
    """Motion over appearance from 0 to 100; an encoder that would hide another stands beside it."""
    cells = [[" "] * ACROSS for _ in range(DOWN)]
    column, line = _place(chance[0], ACROSS), DOWN - 1 - _place(chance[1], DOWN)
    for row in cells:
        row[column] = "┊"
    cells[line] = ["┄" if c == " " else "┼" for c in cells[line]]
    legend = []
    for letter, p in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", placed, strict=False):
        row = cells[DOWN - 1 - _place(p.motion, DOWN)]
        row[_free(row, _place(p.appearance, ACROSS))] = letter
        legend.append(f"  {letter}  {p.label}  {number(p.appearance)} / {number(p.motion)}")
    head = "motion (up) over appearance (right), 0 to 100; dotted: naming any class"
    drawn = [f"  │{''.join(row)}" for row in cells]
    return [head, *drawn, f"  └{'─' * ACROSS}", *legend]


def _place(percent: float, count: int) -> int:
    return min(max(int(percent / 100 * count), 0), count - 1)


def _free(row: Sequence[str], wanted: int) -> int:
    """The nearest place without a letter."""
    return min((i for i, c in enumerate(row) if not c.isalpha()), key=lambda i: abs(i - wanted), default=wanted)
