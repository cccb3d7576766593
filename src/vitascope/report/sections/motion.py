"""Sections: what the page draws of averages and of motion's worth, as plain geometry ready to be set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vitascope.core.text import number, p_value, shown, signed, valued
from vitascope.core.types import Score
from vitascope.report.analysis import motion_effect as motion
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.motion_effect import Loss, MotionEffect, Need
from vitascope.report.analysis.ranking import ALPHA, Chance, Ranking
from vitascope.report.charts import plots
from vitascope.report.charts.plots import Axis, Mark, Strip
from vitascope.report.sections.tables import gap

SHORT = 20
"""Classes up to which all are drawn at once."""
ENDS = 10
"""Of more, those drawn at each end."""
LOST = {
    "shuffled": "order lost",
    "reversed": "direction lost",
    "frozen": "one frame held",
    "slowed": "seen half as fast",
}
"""What an alteration takes away."""
WITHOUT = {"frozen": "Without motion: one frame held", "shuffled": "Without order: frames shuffled"}


class Panel(NamedTuple):
    """Strips on one axis under a heading."""

    title: str
    note: str
    axis: Axis
    strips: tuple[Strip, ...]


class Use(NamedTuple):
    """Motion use on one task, a panel for each alteration."""

    title: str
    limited: bool
    on_test: bool
    panels: tuple[Panel, ...]


class Classes(NamedTuple):
    """Motion need class by class: both ends of the order, or all where they are few (`least` is empty then)."""

    title: str
    limited: bool
    on_test: bool
    best: EncoderRow
    without: str
    told: int
    of: int
    most: Panel
    least: Panel
    every: Panel


class Motion(NamedTuple):
    """What motion is worth on the page."""

    overview: Panel | None
    """The headline of every encoder, task by task."""
    uses: tuple[Use, ...]
    needs: tuple[Panel, ...]
    classes: tuple[Classes, ...]
    best: tuple[EncoderRow, ...]
    """The encoders that needs were measured with."""
    rows: tuple[EncoderRow, ...]
    """Those whose use was."""


def averages_section(board: Leaderboard, standings: Mapping[str, Ranking]) -> tuple[Panel, ...]:
    """Bars of appearance, of motion and of the mean of both, the best mean first; of two encoders or more.

    The mean of both has no interval: both axes may be asked of the same videos, and are no two independent samples.
    """
    appearance, motion = standings.get("appearance"), standings.get("motion")
    if appearance is None or motion is None:
        return ()
    both = {row: _halfway(s, motion.scores[row]) for row, s in appearance.scores.items() if row in motion.scores}
    if len(both) < 2:
        return ()
    order = sorted(both, key=lambda row: -both[row].value)
    named = (
        ("Appearance", appearance.scores, appearance.chance),
        ("Motion", motion.scores, motion.chance),
        ("Mean of both", both, None),
    )
    return tuple(_bars(board, title, {row: scores[row] for row in order}, chance) for title, scores, chance in named)


def _halfway(one: Score, other: Score) -> Score:
    return Score((one.value + other.value) / 2)


def _bars(board: Leaderboard, title: str, scores: Mapping[int, Score], chance: Chance | None) -> Panel:
    scale = plots.PERCENT._replace(chance=chance.value if chance else None)
    strips = []
    for row, found in scores.items():
        label = shown(board.rows[row].label)
        mark = Mark(row, scale.at(found.value), plots.span(scale, found))
        strips.append(Strip(label, (mark,), valued(found), f"{label}\n{title.lower()} {valued(found)}"))
    return Panel(title, "", scale, tuple(strips))


def motion_section(board: Leaderboard, worth: Sequence[MotionEffect]) -> Motion:
    """The questions asked with all training examples; those of a low-shot question stand in the tables."""
    drawn = sorted((one for one in worth if not one.plain.variant), key=lambda one: one.plain.axis != "motion")
    uses = tuple(_use(board, one) for one in drawn if one.uses)
    needs = tuple(panel for how in motion.REMOVED if (panel := _needs(board, drawn, how)))
    classes = tuple(_classes(board, one.plain, found) for one in drawn for found in [_widest(one)] if found)
    rows = {found.row for one in drawn for found in one.needs.values()}
    best = tuple(row for row in board.rows if row.index in rows)
    used = tuple(row for row in board.rows if any(row.index in one.uses for one in drawn))
    return Motion(_overview(board, drawn), uses, needs, classes, best, used)


def _overview(board: Leaderboard, worth: Sequence[MotionEffect]) -> Panel | None:
    """A strip for each task with the headline of every encoder; None where there is no more than one task."""
    there = [(one, {r: of[motion.HEADLINE] for r, of in one.uses.items() if motion.HEADLINE in of}) for one in worth]
    there = [(one, losses) for one, losses in there if losses]
    if len(there) < 2:
        return None
    # whiskers of many encoders on one line would hide the marks: only the values are drawn
    scale = plots.gap_axis([loss.gap._replace(low=None, high=None) for _, losses in there for loss in losses.values()])
    strips = []
    for one, losses in there:
        order = sorted(losses, key=lambda row: -losses[row].gap.value)
        marks = tuple(mark for row in losses for mark in plots.gap_strip(row, "", losses[row].gap, scale).marks)
        mean = signed(sum(loss.gap.value for loss in losses.values()) / len(losses))
        tip = "\n".join(f"{shown(board.rows[row].label)} {gap(losses[row])}" for row in order)
        strips.append(Strip(shown(one.plain.task), marks, mean, f"{shown(one.plain.task)}\n{tip}"))
    return Panel(motion.HEADLINE.capitalize(), LOST[motion.HEADLINE], scale, tuple(strips))


def _use(board: Leaderboard, one: MotionEffect) -> Use:
    scale = plots.gap_axis([loss.gap for of in one.uses.values() for loss in of.values()])
    panels: list[Panel] = []
    order: list[int] = []
    for how in motion.ALTERATIONS:
        there = {row: of[how] for row, of in one.uses.items() if how in of}
        # all panels in the order of the first, so that an encoder is found in the same place
        order += sorted(there.keys() - set(order), key=lambda row: -there[row].gap.value)
        names = {row: shown(board.rows[row].label) for row in order}
        strips = tuple(_strip(row, names[row], there[row], scale, f"{how}:") for row in order if row in there)
        if strips:
            panels.append(Panel(how.capitalize(), LOST[how], scale, strips))
    return Use(shown(one.plain.task), one.plain.limited, one.plain.on_test, tuple(panels))


def _strip(row: int, label: str, loss: Loss, scale: Axis, before: str) -> Strip:
    among = f" in {loss.gap.units} groups" if loss.gap.units < loss.gap.n else ""
    tip = f"{before} {number(loss.real)} → {number(loss.altered)}\n{gap(loss)} lost\n"
    tip += f"{p_value(loss.p)} after Holm, n = {loss.gap.n}{among}"
    return plots.gap_strip(row, label, loss.gap, scale, tip=tip, told=loss.p < ALPHA)


def _needs(board: Leaderboard, worth: Iterable[MotionEffect], how: str) -> Panel | None:
    there = [(one.plain.task, one.needs[how]) for one in worth if how in one.needs]
    if not there:
        return None
    scale = plots.gap_axis([found.whole.gap for _, found in there])
    there.sort(key=lambda pair: -pair[1].whole.gap.value)
    strips = (
        _strip(found.row, shown(task), found.whole, scale, f"by {shown(board.rows[found.row].label)}:")
        for task, found in there
    )
    return Panel(WITHOUT[how], "", scale, tuple(strips))


def _widest(one: MotionEffect) -> tuple[str, Need] | None:
    """The need that takes most away, of those measured class by class."""
    return next(((how, one.needs[how]) for how in motion.REMOVED if how in one.needs and one.needs[how].classes), None)


def _classes(board: Leaderboard, plain: Column, of: tuple[str, Need]) -> Classes:
    how, found = of
    scale = plots.gap_axis([loss.gap for _, loss in found.classes])
    strips = tuple(_strip(found.row, shown(name), loss, scale, f"{how}:") for name, loss in found.classes)
    few = len(strips) <= SHORT
    every = f"All {len(strips)} classes"
    return Classes(
        title=shown(plain.task),
        limited=plain.limited,
        on_test=plain.on_test,
        best=board.rows[found.row],
        without=WITHOUT[how],
        told=sum(strip.told for strip in strips),
        of=len(strips),
        most=Panel(
            f"All {len(strips)} classes" if few else "Need it most", "", scale, strips if few else strips[:ENDS]
        ),
        least=Panel("Need it least", "", scale, () if few else strips[: -ENDS - 1 : -1]),
        every=Panel(every, "", scale, () if few else strips),
    )
