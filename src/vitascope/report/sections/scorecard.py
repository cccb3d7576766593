"""Section with the scorecard: a radar of one encoder against those of its size, and the table that says it better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from markupsafe import Markup

from vitascope.core.text import compact, escaped, interval, signed
from vitascope.report.analysis import scorecard as cards
from vitascope.report.analysis.comparison import find
from vitascope.report.analysis.leaderboard import Leaderboard
from vitascope.report.analysis.ranking import ALPHA, Ranking
from vitascope.report.analysis.scorecard import FEWEST, Contender, Value
from vitascope.report.charts import drawing
from vitascope.report.charts.drawing import Drawing
from vitascope.report.charts.radar import Spoke, radar

DAGGER = "†"
NOTE = (
    "Every axis goes from 0 in the center to the number at its rim, the best score with its interval; the band is the "
    "95 % interval, the dashed line the best competitor of each task, small marks are the others."
)


class Gap(NamedTuple):
    """A difference to the best competitor; `sign` is 0 if it is not significant, or not tested."""

    text: str
    interval: str = ""
    sign: int = 0


class TaskLine(NamedTuple):
    """A task in the table beside the radar."""

    task: str
    own: str
    interval: str
    rival: str
    """The best competitor."""
    rival_score: str
    gap: Gap


class ScorecardView(NamedTuple):
    """The scorecard laid out."""

    name: str
    rivals: tuple[str, ...]
    """Competitors with their sizes."""
    radar: Drawing
    lines: tuple[TaskLine, ...]
    note: str

    @property
    def svg(self) -> Markup:
        """The radar for a page."""
        return Markup(drawing.svg(self.radar))


Compare: TypeAlias = Callable[[str, Contender, Contender], Gap]
"""The difference of two encoders on a task."""


def of_run(board: Leaderboard, rankings: Mapping[str, Ranking], front: str = "") -> ScorecardView | None:
    """The scorecard of the leading encoder of a run, or of the one called `front`; None for too few tasks or encoders.

    UserError for an encoder without results.
    """
    chosen = find(board, front).index if front else None
    tasks, contenders = cards.of_board(board)
    if len(tasks) < FEWEST or len(contenders) < 2:
        return None
    first = next((one for one in contenders if one.row == chosen), None) or cards.leader(contenders)

    def gap(task: str, own: Contender, rival: Contender) -> Gap:
        ranking = rankings.get(tasks[task].task)
        found = ranking.difference(own.row, rival.row) if ranking else None
        if ranking is None or found is None:
            return untested(task, own, rival)
        significant = ranking.adjusted(own.row, rival.row) < ALPHA
        ends = "" if found.low is None or found.high is None else f"[{signed(found.low)}, {signed(found.high)}]"
        return Gap(signed(found.value), ends, significant * (1 if found.value > 0 else -1))

    return lay_out(list(tasks), first, cards.same_scale(first, _without(contenders, first)), gap)


def _without(contenders: Sequence[Contender], front: Contender) -> list[Contender]:
    return [one for one in contenders if one.row != front.row]


def untested(task: str, own: Contender, rival: Contender) -> Gap:
    """The difference of two scores that were not measured on the same predictions."""
    return Gap(signed(own.values[task].score.value - rival.values[task].score.value))


def lay_out(
    tasks: Sequence[str], front: Contender, rivals: Sequence[Contender], compare: Compare = untested, note: str = ""
) -> ScorecardView:
    """Lay out the radar and the table."""
    shown = [front, *rivals]
    own = [task for task in tasks if any(task in one.values for one in shown)]
    spokes = [_spoke(task, shown) for task in own]
    lines = tuple(_line(task, front, rivals, compare) for task in own)
    said = "; ".join(f"{line.task} {line.own} ({line.rival} {line.rival_score})" for line in lines)
    return ScorecardView(
        escaped(front.name),
        tuple(map(_sized, rivals)),
        radar(
            spokes, front.row, (escaped(front.name), "best competitor of its size"), f"{escaped(front.name)}: {said}"
        ),
        lines,
        f"{note} {NOTE}".strip(),
    )


def _sized(one: Contender) -> str:
    size = f"{compact(one.params)} parameters" if one.params else "size unknown"
    return f"{escaped(one.name)} ({size}{', evaluated here' * one.here})"


def _spoke(task: str, shown: Sequence[Contender]) -> Spoke:
    held = [(one, one.values[task]) for one in shown if task in one.values]
    tips = {
        one.row: f"{escaped(one.name)}\n{escaped(task)} {_text(value)} {interval(value.score)}" for one, value in held
    }
    return Spoke(escaped(task), {one.row: value.score for one, value in held}, tips)


def _text(value: Value) -> str:
    return value.text + DAGGER * value.dagger


def _line(task: str, front: Contender, rivals: Sequence[Contender], compare: Compare) -> TaskLine:
    own = front.values.get(task)
    held = [one for one in rivals if task in one.values]
    best = max(held, key=lambda one: one.values[task].score.value, default=None)
    return TaskLine(
        escaped(task),
        _text(own) if own else "–",
        interval(own.score) if own else "",
        escaped(best.name) if best else "–",
        _text(best.values[task]) if best else "–",
        compare(task, front, best) if own and best else Gap("–"),
    )


def summary(view: ScorecardView) -> str:
    """How often the encoder is in front, in words."""
    told = [line for line in view.lines if line.gap.text != "–"]
    ahead = sum(not line.gap.text.startswith("−") and line.gap.text != "0.0" for line in told)
    rivals = f"all {len(view.rivals)} encoders" if len(view.rivals) > 1 else "the other encoder"
    return f" is ahead of {rivals} of its size on {ahead} of {len(told)} benchmarks."
