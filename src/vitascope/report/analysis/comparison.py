"""Compare two encoders: paired differences per task, on the examples both have, under one protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from vitascope.core.errors import UserError
from vitascope.core.text import margin, nearest, number, p_value, shown
from vitascope.core.types import Score
from vitascope.metrics import stats
from vitascope.metrics.stats import Difference
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard, SettingDifference
from vitascope.report.analysis.paired_bootstrap import Pooled
from vitascope.report.analysis.phrases import marks, unsure
from vitascope.report.analysis.ranking import ALPHA, Evidence, common, difference, evidence

AXES = ("appearance", "motion")
BOTH = "both"
"""The axis of a mean over the two."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Encoder `a` minus encoder `b` on one task; percent. Plain data: `dataclasses.asdict` of it is JSON.

    Where `refused` says why, there are no numbers, and `differs` lists the settings that are not the same.
    """

    task: str
    axis: str
    a: str
    b: str
    refused: str = ""
    differs: tuple[SettingDifference, ...] = ()
    variant: Mapping[str, str] = field(default_factory=dict)
    """How the question differs from the plain one, where it does."""
    limited: bool = False
    on_test: bool = False
    """Whether the heads were chosen on the test set."""
    n: int = 0
    """Examples both have; the means below are over these."""
    groups: int = 0
    """Groups of examples they come from: the units of interval and test."""
    only_a: int = 0
    only_b: int = 0
    mean_a: float | None = None
    mean_b: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """Of the paired test."""
    adjusted: float | None = None
    """The same after Holm over the plain tasks compared, over their variants, or over means of both axes."""
    needed: int | None = None
    """Examples that would tell a difference this large, 80 times in 100."""


def compare(runs: Sequence[str | Path], a: str, b: str) -> list[Comparison]:
    """Every task that encoders `a` and `b` both have in `runs`: compared, or refused and why; then means of both axes.

    ValueError for an encoder that is not there, for the same one twice, and where they share no task.
    """
    board = boards.build(boards.gather(runs))
    first, second = find(board, a), find(board, b)
    if first == second:
        raise UserError(f"{shown(first.label)} is given twice; name two encoders to compare")
    tasks = dict.fromkeys(c.task for c in board.columns)
    found = [c for task in tasks for c in _on(board, task, first, second)]
    if not found:
        raise UserError(f"{shown(first.label)} and {shown(second.label)} share no task; evaluate both on one")
    found += _means(found)
    return [_adjusted(c, [o.p for o in found if o.p is not None and _family(o) == _family(c)]) for c in found]


def _family(one: Comparison) -> tuple[bool, bool]:
    """What a comparison is tested together with: plain tasks do not pay for their variants, nor for means of them."""
    return bool(one.variant), one.axis == BOTH


def _means(found: Sequence[Comparison]) -> list[Comparison]:
    """For each probe asked on both axes, the mean of its differences on appearance and on motion."""
    plain = [c for c in found if not c.variant and c.value is not None]
    probes = dict.fromkeys(c.task.rpartition(":")[2] for c in plain)
    asked = {
        p: {axis: [c for c in plain if c.task.endswith(f":{p}") and c.axis == axis] for axis in AXES} for p in probes
    }
    return [_mean_of(probe, list(axes.values())) for probe, axes in asked.items() if all(axes.values())]


def _mean_of(probe: str, axes: Sequence[Sequence[Comparison]]) -> Comparison:
    """Means over the tasks of each axis, and of those; half-widths add, as tasks may be asked of the same videos."""
    every = [c for axis in axes for c in axis]
    gaps = [_mean_gap([_gap(c) for c in axis]) for axis in axes]
    gap = _mean_gap(gaps)
    return Comparison(
        task=f"mean of both axes:{probe}",
        axis=BOTH,
        a=every[0].a,
        b=every[0].b,
        limited=any(c.limited for c in every),
        on_test=any(c.on_test for c in every),
        n=gap.n,
        groups=gap.units,
        only_a=sum(c.only_a for c in every),
        only_b=sum(c.only_b for c in every),
        mean_a=fmean(fmean(c.mean_a or 0.0 for c in axis) for axis in axes),
        mean_b=fmean(fmean(c.mean_b or 0.0 for c in axis) for axis in axes),
        value=gap.value,
        low=gap.low,
        high=gap.high,
        p=gap.p,
    )


def _gap(one: Comparison) -> Difference:
    """The difference of one that was compared."""
    return Difference(one.value or 0.0, one.low, one.high, 1.0 if one.p is None else one.p, one.n, one.groups)


def _mean_gap(gaps: Sequence[Difference]) -> Difference:
    return stats.average_difference(gaps, [0] * len(gaps))


def _adjusted(one: Comparison, together: Sequence[float]) -> Comparison:
    """`one` with Holm's p among those it is tested together with."""
    if one.p is None:
        return one
    return replace(one, adjusted=stats.holm(together)[list(together).index(one.p)])


def find(board: Leaderboard, name: str) -> EncoderRow:
    """The row of the encoder called `name`; ValueError where there is none, or more than one."""
    rows = [row for row in board.rows if name in (row.label, row.encoder)]
    if len(rows) == 1:
        return rows[0]
    labels = [row.label for row in board.rows]
    if rows:
        raise UserError(
            f"encoder {name!r} was evaluated with several cards; say which: {', '.join(r.label for r in rows)}"
        )
    raise UserError(f"no results of encoder {name!r}{nearest(name, labels)}; there are {', '.join(labels)}")


def _on(board: Leaderboard, task: str, a: EncoderRow, b: EncoderRow) -> list[Comparison]:
    columns = [c for c in board.columns if c.task == task]
    shared = [c for c in columns if a.index in c.cells and b.index in c.cells]
    if shared:
        return [_pair(c, a, b) for c in shared]
    ours, theirs = (next((c for c in columns if row.index in c.cells), None) for row in (a, b))
    if ours is None or theirs is None:
        return []
    differs = tuple(boards.differing(ours.settings, theirs.settings))
    reason = "one of them is limited" if ours.limited != theirs.limited else "they were not asked the same thing"
    return [Comparison(task=task, axis=ours.axis, a=a.label, b=b.label, refused=reason, differs=differs)]


def _pair(column: Column, a: EncoderRow, b: EncoderRow) -> Comparison:
    base = Comparison(
        task=column.task,
        axis=column.axis,
        a=a.label,
        b=b.label,
        variant=column.variant,
        limited=column.limited,
        on_test=column.on_test,
    )
    ours, theirs = evidence(column.cells[a.index]), evidence(column.cells[b.index])
    if ours is None or theirs is None:
        whose = shown(a.label if ours is None else b.label)
        return replace(base, refused=f"the predictions of {whose} are not there; evaluate it with --overwrite")
    found = difference(ours, theirs)
    if found is None:
        same = (
            "they were not tested on the same videos" if isinstance(ours, Pooled) else "they have no example in common"
        )
        return replace(base, refused=same)
    return _numbers(base, (ours, theirs), found)


def _numbers(base: Comparison, both: tuple[Evidence, Evidence], found: Difference) -> Comparison:
    ours, theirs = both
    return replace(
        base,
        n=found.n,
        groups=found.units,
        only_a=len(ours.key) - found.n,
        only_b=len(theirs.key) - found.n,
        mean_a=_mean(ours, theirs),
        mean_b=_mean(theirs, ours),
        value=found.value,
        low=found.low,
        high=found.high,
        p=found.p,
        needed=found.needed(),
    )


def _mean(own: Evidence, other: Evidence) -> float:
    """The score on what both have."""
    if isinstance(own, Pooled):
        return own.value
    assert not isinstance(other, Pooled), "one question has one kind of headline"
    return float(own.outcome[common(own, other)[0]].mean())


def compare_text(found: Sequence[Comparison]) -> str:
    """Comparisons as lines for a terminal."""
    lines = [f"{shown(found[0].a)} minus {shown(found[0].b)}, points, 95 % interval, p after Holm"] if found else []
    width = max((len(shown(c.task)) for c in found), default=0)
    for one in found:
        lines += [f"{shown(one.task):<{width}}  {_line(one)}", *(" " * (width + 2) + note for note in _notes(one))]
    return "\n".join(lines)


def _line(one: Comparison) -> str:
    if one.value is None or one.mean_a is None or one.mean_b is None:
        return f"not compared: {one.refused}"
    gap = margin(Score(one.value, one.low, one.high))
    among = f" in {one.groups} groups" if one.groups < one.n else ""
    return f"{number(one.mean_a)} − {number(one.mean_b)} = {gap}  {p_value(one.adjusted or 0.0)}  n = {one.n}{among}"


def _notes(one: Comparison) -> list[str]:
    notes = [f"{s.name}: {s.ours} | {s.theirs}" for s in one.differs]
    if one.only_a or one.only_b:
        notes.append(f"on the common examples; left out: {one.only_a} of the first, {one.only_b} of the second")
    notes += marks(limited=one.limited, on_test=one.on_test)
    if one.adjusted is not None and one.adjusted >= ALPHA:
        notes.append(unsure(one.n, one.groups, one.needed))
    return notes
