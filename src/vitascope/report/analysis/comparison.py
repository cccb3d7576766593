"""Compare two encoders: paired differences per task, on their common examples and under the same protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from vitascope.core.errors import UserError
from vitascope.core.text import escaped, margin, nearest, number, p_value
from vitascope.core.types import Score
from vitascope.metrics import stats
from vitascope.metrics.stats import Difference
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis.data_warnings import warning_lines
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard, SettingDifference
from vitascope.report.analysis.paired_bootstrap import ResampledScore
from vitascope.report.analysis.phrases import caveats, not_significant
from vitascope.report.analysis.ranking import ALPHA, Evidence, common, difference, load_evidence

AXES = ("appearance", "motion")
BOTH = "both"
"""Axis of a mean over appearance and motion."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Encoder `a` minus encoder `b` on one task, in percent; `dataclasses.asdict` of it can be written as JSON."""

    task: str
    axis: str
    a: str
    b: str
    refused: str = ""
    """Why the two cannot be compared; empty if they can. With a reason there are no numbers."""
    differs: tuple[SettingDifference, ...] = ()
    """Settings that differ."""
    variant: Mapping[str, str] = field(default_factory=dict)
    """How the task differs from its standard form; empty for the standard form."""
    limited: bool = False
    on_test: bool = False
    """Whether the heads were selected on the test set."""
    n: int = 0
    """Number of common examples, over which the means below are taken."""
    groups: int = 0
    """Number of groups of these examples: the units of the interval and the test."""
    only_a: int = 0
    only_b: int = 0
    mean_a: float | None = None
    mean_b: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """p-value of the paired test."""
    adjusted: float | None = None
    """Holm-adjusted p-value, over the standard tasks compared, over their variants, or over the means of both axes."""
    data_warnings: tuple[str, ...] = ()
    """What is doubtful about the data of the task."""
    needed: int | None = None
    """Number of examples that detect a difference this large with a power of 80 %."""


def compare(runs: Sequence[str | Path], a: str, b: str) -> list[Comparison]:
    """Compare encoders `a` and `b` on every task that both have in `runs`, then on the means of both axes.

    UserError for an unknown encoder, for the same encoder twice, and if they share no task.
    """
    board = boards.build(boards.load_results(runs))
    first, second = find(board, a), find(board, b)
    if first == second:
        raise UserError(f"{escaped(first.label)} is given twice; name two different encoders")
    tasks = dict.fromkeys(c.task for c in board.columns)
    comparisons = [c for task in tasks for c in _on_task(board, task, first, second)]
    if not comparisons:
        raise UserError(f"{escaped(first.label)} and {escaped(second.label)} share no task; evaluate both on one")
    comparisons += _means(comparisons)
    return [
        _adjusted(c, [o.p for o in comparisons if o.p is not None and _family(o) == _family(c)]) for c in comparisons
    ]


def _family(one: Comparison) -> tuple[bool, bool]:
    """The family of hypotheses that a comparison is adjusted within: standard tasks, their variants, or the means."""
    return bool(one.variant), one.axis == BOTH


def _means(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """For each probe with both axes, the mean of its differences on appearance and on motion."""
    standard = [c for c in comparisons if not c.variant and c.value is not None]
    probes = dict.fromkeys(c.task.rpartition(":")[2] for c in standard)
    by_axis = {
        p: [[c for c in standard if c.task.endswith(f":{p}") and c.axis == axis] for axis in AXES] for p in probes
    }
    return [_mean_of(probe, axes) for probe, axes in by_axis.items() if all(axes)]


def _mean_of(probe: str, axes: Sequence[Sequence[Comparison]]) -> Comparison:
    """Average over the tasks of each axis, then over both; half-widths add because tasks may share their videos."""
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
    """The difference of a comparison."""
    return Difference(one.value or 0.0, one.low, one.high, 1.0 if one.p is None else one.p, one.n, one.groups)


def _mean_gap(gaps: Sequence[Difference]) -> Difference:
    return stats.average_difference(gaps, [0] * len(gaps))


def _adjusted(one: Comparison, family: Sequence[float]) -> Comparison:
    """Add the Holm-adjusted p-value, given all p-values of the family."""
    if one.p is None:
        return one
    return replace(one, adjusted=stats.holm(family)[list(family).index(one.p)])


def find(board: Leaderboard, name: str) -> EncoderRow:
    """Find the row of the encoder called `name`; UserError if there is none or more than one."""
    rows = [row for row in board.rows if name in (row.label, row.encoder)]
    if len(rows) == 1:
        return rows[0]
    labels = [row.label for row in board.rows]
    if rows:
        raise UserError(
            f"encoder {name!r} was evaluated with several cards; name one of {', '.join(r.label for r in rows)}"
        )
    raise UserError(
        f"no results of encoder {name!r}{nearest(name, labels)}; encoders with results: {', '.join(labels)}"
    )


def _on_task(board: Leaderboard, task: str, a: EncoderRow, b: EncoderRow) -> list[Comparison]:
    columns = [c for c in board.columns if c.task == task]
    shared = [c for c in columns if a.index in c.cells and b.index in c.cells]
    if shared:
        return [_pair(c, a, b) for c in shared]
    ours, theirs = (next((c for c in columns if row.index in c.cells), None) for row in (a, b))
    if ours is None or theirs is None:
        return []
    differs = tuple(boards.setting_differences(ours.settings, theirs.settings))
    limit = ours.limited != theirs.limited
    reason = "only one was evaluated with --limit" if limit else "they were evaluated under different protocols"
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
        data_warnings=tuple(warning_lines(column.cells.values())),
    )
    ours, theirs = load_evidence(column.cells[a.index]), load_evidence(column.cells[b.index])
    if ours is None or theirs is None:
        whose = escaped(a.label if ours is None else b.label)
        return replace(base, refused=f"the predictions of {whose} are missing; evaluate again with --overwrite")
    gap = difference(ours, theirs)
    if gap is None:
        pooled = isinstance(ours, ResampledScore)
        reason = "they were not tested on the same videos" if pooled else "they have no example in common"
        return replace(base, refused=reason)
    return _with_numbers(base, (ours, theirs), gap)


def _with_numbers(base: Comparison, both: tuple[Evidence, Evidence], gap: Difference) -> Comparison:
    ours, theirs = both
    return replace(
        base,
        n=gap.n,
        groups=gap.units,
        only_a=len(ours.key) - gap.n,
        only_b=len(theirs.key) - gap.n,
        mean_a=_mean(ours, theirs),
        mean_b=_mean(theirs, ours),
        value=gap.value,
        low=gap.low,
        high=gap.high,
        p=gap.p,
        needed=gap.needed(),
    )


def _mean(own: Evidence, other: Evidence) -> float:
    """Score on the common examples, percent."""
    if isinstance(own, ResampledScore):
        return own.value
    assert not isinstance(other, ResampledScore), "results of one task are of one kind"
    return float(own.outcome[common(own, other)[0]].mean())


def compare_text(comparisons: Sequence[Comparison]) -> str:
    """Format comparisons as lines for a terminal."""
    first = next(iter(comparisons), None)
    lines = [f"{escaped(first.a)} minus {escaped(first.b)}: points, 95 % interval, Holm-adjusted p"] if first else []
    width = max((len(escaped(c.task)) for c in comparisons), default=0)
    for one in comparisons:
        lines += [f"{escaped(one.task):<{width}}  {_line(one)}", *(" " * (width + 2) + note for note in _notes(one))]
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
        notes.append(f"on common examples; left out: {one.only_a} of the first encoder, {one.only_b} of the second")
    notes += caveats(limited=one.limited, on_test=one.on_test)
    notes += map(escaped, one.data_warnings)
    if one.adjusted is not None and one.adjusted >= ALPHA:
        notes.append(not_significant(one.n, one.groups, one.needed))
    return notes
