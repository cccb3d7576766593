"""Compare two encoders: paired differences per task, on their common examples and under the same protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.text import escaped, margin, nearest, number, p_value
from vitascope.core.types import Score
from vitascope.metrics import stats
from vitascope.metrics.stats import Difference
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis.data_warnings import warning_lines
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard, SettingDifference
from vitascope.report.analysis.paired_bootstrap import ResampledScore
from vitascope.report.analysis.phrases import caveats, least_adjusted, not_significant, too_few
from vitascope.report.analysis.published import listing, published
from vitascope.report.analysis.ranking import (
    ALPHA,
    FAMILY,
    Evidence,
    Predictions,
    Ranking,
    adjust,
    chance_level,
    common,
    load_column,
    rank_column,
)

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
    """p-value Holm-adjusted over all pairs of encoders of the task, as in the report."""
    least: float = 0.0
    """Smallest adjusted p-value that so few groups can give, whatever the outcomes; 0 where there is no such bound."""
    chance: float | None = None
    """Score of always predicting the most common test class, percent; None if it is unknown."""
    order_free: float | None = None
    """Score of one who recognizes every frame but not their order, percent; None if the data do not tell."""
    data_warnings: tuple[str, ...] = ()
    """What is doubtful about the data of the task."""
    needed: int | None = None
    """Number of examples that detect a difference this large with a power of 80 %; None from fewer than six groups."""
    pairs: int = 0
    """Number of pairs of encoders of the task, over which `adjusted` is adjusted."""
    published: tuple[str, ...] = ()
    """Published scores of the task, a line for each source."""


class _Tested(NamedTuple):
    """A comparison, and the ranking of all encoders of the task that its p-value is from; None if refused."""

    comparison: Comparison
    ranking: Ranking | None


def compare(runs: Sequence[str | Path], a: str, b: str) -> list[Comparison]:
    """Compare encoders `a` and `b` on every task that both have in `runs`, then on the means of both axes.

    UserError for an unknown encoder, for the same encoder twice, and if they share no task.
    """
    board = boards.build(boards.load_results(runs))
    first, second = find(board, a), find(board, b)
    if first == second:
        raise UserError(f"{escaped(first.label)} is given twice; name two different encoders")
    tasks = dict.fromkeys(c.task for c in board.columns)
    tested = [one for task in tasks for one in _on_task(board, task, first, second)]
    if not tested:
        raise UserError(f"{escaped(first.label)} and {escaped(second.label)} share no task; evaluate both on one")
    return [one.comparison for one in tested] + _means(tested, first, second)


def _means(tested: Sequence[_Tested], a: EncoderRow, b: EncoderRow) -> list[Comparison]:
    """For each probe with both axes, the mean of its differences on appearance and on motion."""
    standard = [t for t in tested if not t.comparison.variant and t.comparison.value is not None]
    by_probe: dict[str, list[list[_Tested]]] = {}
    for one in standard:
        axes = by_probe.setdefault(one.comparison.task.rpartition(":")[2], [[], []])
        if one.comparison.axis in AXES:
            axes[AXES.index(one.comparison.axis)].append(one)
    return [_mean_of(probe, axes, a, b) for probe, axes in by_probe.items() if all(axes)]


def _mean_of(probe: str, axes: Sequence[Sequence[_Tested]], a: EncoderRow, b: EncoderRow) -> Comparison:
    """Average over the tasks of each axis, then over both; half-widths add because tasks may share their videos."""
    each = [[t.comparison for t in axis] for axis in axes]
    every = [c for axis in each for c in axis]
    base = Comparison(
        task=f"mean of both axes:{probe}",
        axis=BOTH,
        a=a.label,
        b=b.label,
        limited=any(c.limited for c in every),
        on_test=any(c.on_test for c in every),
        only_a=sum(c.only_a for c in every),
        only_b=sum(c.only_b for c in every),
        mean_a=fmean(fmean(c.mean_a or 0.0 for c in axis) for axis in each),
        mean_b=fmean(fmean(c.mean_b or 0.0 for c in axis) for axis in each),
        chance=_mean_level([[c.chance for c in axis] for axis in each]),
        order_free=_mean_level([[c.order_free for c in axis] for axis in each]),
    )
    return _with_difference(base, _mean_ranking(axes), a, b)


def _mean_level(axes: Sequence[Sequence[float | None]]) -> float | None:
    """Mean level, such as chance, over the tasks of each axis, then over both; None if one is unknown."""
    levels = [[level for level in axis if level is not None] for axis in axes]
    known = [len(level) for level in levels] == [len(axis) for axis in axes]
    return fmean(map(fmean, levels)) if known else None


def _mean_ranking(axes: Sequence[Sequence[_Tested]]) -> Ranking:
    """The mean differences of all pairs of encoders that have all of the tasks."""
    rankings = [[t.ranking for t in axis if t.ranking] for axis in axes]
    first = rankings[0][0]
    means = {}
    for pair in first.pairs:
        gaps = [[gap for r in axis if (gap := r.difference(*pair))] for axis in rankings]
        if [len(axis) for axis in gaps] == [len(axis) for axis in rankings]:
            means[pair] = _mean_gap([_mean_gap(axis) for axis in gaps])
    return Ranking(first.scores, means, adjust(means))


def _mean_gap(gaps: Sequence[Difference]) -> Difference:
    return stats.average_difference(gaps, [0] * len(gaps))


def _with_difference(base: Comparison, ranking: Ranking, a: EncoderRow, b: EncoderRow) -> Comparison:
    """Add the difference of both encoders and its p-values."""
    gap = ranking.difference(a.index, b.index)
    assert gap is not None, "only compared if known"
    return replace(
        base,
        n=gap.n,
        groups=gap.units,
        value=gap.value,
        low=gap.low,
        high=gap.high,
        p=gap.p,
        adjusted=ranking.adjusted(a.index, b.index),
        least=least_adjusted(gap, len(ranking.pairs)),
        pairs=len(ranking.pairs),
    )


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


def _on_task(board: Leaderboard, task: str, a: EncoderRow, b: EncoderRow) -> list[_Tested]:
    columns = [c for c in board.columns if c.task == task]
    shared = [c for c in columns if a.index in c.cells and b.index in c.cells]
    if shared:
        return [_test(c, a, b) for c in shared]
    ours, theirs = (next((c for c in columns if row.index in c.cells), None) for row in (a, b))
    if ours is None or theirs is None:
        return []
    differs = tuple(boards.setting_differences(ours.settings, theirs.settings))
    limit = ours.limited != theirs.limited
    reason = "only one was evaluated with --limit" if limit else "they were evaluated under different protocols"
    refused = Comparison(task=task, axis=ours.axis, a=a.label, b=b.label, refused=reason, differs=differs)
    return [_Tested(refused, None)]


def _test(column: Column, a: EncoderRow, b: EncoderRow) -> _Tested:
    base = Comparison(
        task=column.task,
        axis=column.axis,
        a=a.label,
        b=b.label,
        variant=column.variant,
        limited=column.limited,
        on_test=column.on_test,
        data_warnings=tuple(warning_lines(column.cells.values())),
        published=tuple(listing(published(column.first))),
    )
    evidence = load_column(column)
    guess = chance_level(column, (each for each in evidence.values() if isinstance(each, Predictions)))
    base = replace(base, chance=guess.value, order_free=guess.order_free) if guess else base
    ours, theirs = evidence.get(a.index), evidence.get(b.index)
    if ours is None or theirs is None:
        whose = escaped(a.label if ours is None else b.label)
        reason = f"the predictions of {whose} are missing; evaluate again with --overwrite"
        return _Tested(replace(base, refused=reason), None)
    ranking = rank_column(column, evidence)
    gap = ranking.difference(a.index, b.index)
    if gap is None:
        pooled = isinstance(ours, ResampledScore)
        reason = "they were not tested on the same videos" if pooled else "they have no example in common"
        return _Tested(replace(base, refused=reason), None)
    only_a, only_b = len(ours.key) - gap.n, len(theirs.key) - gap.n
    means = replace(base, only_a=only_a, only_b=only_b, mean_a=_mean(ours, theirs), mean_b=_mean(theirs, ours))
    return _Tested(replace(_with_difference(means, ranking, a, b), needed=gap.needed()), ranking)


def _mean(own: Evidence, other: Evidence) -> float:
    """Score on the common examples, percent."""
    if isinstance(own, ResampledScore):
        return own.value
    assert not isinstance(other, ResampledScore), "results of one task are of one kind"
    return float(own.outcome[common(own, other)[0]].mean())


def compare_text(comparisons: Sequence[Comparison]) -> str:
    """Format comparisons as lines for a terminal."""
    first = next(iter(comparisons), None)
    lines = [f"{escaped(first.a)} minus {escaped(first.b)}: points, 95 % interval, p {FAMILY}"] if first else []
    width = max((len(escaped(c.task)) for c in comparisons), default=0)
    for one in comparisons:
        lines += [f"{escaped(one.task):<{width}}  {_line(one)}", *(" " * (width + 2) + note for note in _notes(one))]
    return "\n".join(lines)


def _line(one: Comparison) -> str:
    if one.value is None or one.mean_a is None or one.mean_b is None:
        return f"not compared: {one.refused}"
    gap = margin(Score(one.value, one.low, one.high))
    among = f" in {one.groups} groups" if one.groups < one.n else ""
    p = p_value(1.0 if one.adjusted is None else one.adjusted)
    guess = "" if one.chance is None else f"  chance {number(one.chance)}"
    if one.order_free is not None and one.order_free < 100:
        guess += f"  order-free {number(one.order_free)}"
    return f"{number(one.mean_a)} − {number(one.mean_b)} = {gap}{guess}  {p}  n = {one.n}{among}"


def _notes(one: Comparison) -> list[str]:
    notes = [f"{s.name}: {s.ours} | {s.theirs}" for s in one.differs]
    if one.only_a or one.only_b:
        notes.append(f"on common examples; left out: {one.only_a} of the first encoder, {one.only_b} of the second")
    notes += caveats(limited=one.limited, on_test=one.on_test)
    notes += map(escaped, one.data_warnings)
    notes += one.published
    if one.adjusted is not None and one.adjusted >= ALPHA:
        notes.append(not_significant(one.n, one.needed, too_few(one.n, one.groups, one.least, one.pairs)))
    return notes
