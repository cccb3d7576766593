"""Sections on averages and on the effect of motion, as plain geometry for the templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vitascope.core.text import escaped, number, p_value, signed, with_interval
from vitascope.core.types import Score
from vitascope.report.analysis import motion_effect
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.motion_effect import AccuracyDrop, MotionDependence, MotionEffect, motion_use
from vitascope.report.analysis.phrases import gap_too_few
from vitascope.report.analysis.ranking import ALPHA, Chance, Ranking
from vitascope.report.charts import plots
from vitascope.report.charts.plots import Axis, Mark, Strip
from vitascope.report.sections.tables import drop_text

MAX_CLASSES = 20
"""Number of classes up to which all are drawn at once."""
ENDS = 10
"""Number of classes drawn at each end if there are more."""
REMOVES = {
    "shuffled": "order removed, flicker added",
    "reversed": "direction reversed",
    "frozen": "one frame repeated",
    "slowed": "half speed",
}
"""Effect of each alteration on a clip."""
REMOVED = {"frozen": "Without motion: one frame repeated", "shuffled": "Without order: frames shuffled"}


class Panel(NamedTuple):
    """Strips on one axis under a heading."""

    title: str
    note: str
    axis: Axis
    strips: tuple[Strip, ...]


class SensitivityPanels(NamedTuple):
    """Motion sensitivity on one task, one panel per alteration."""

    title: str
    limited: bool
    on_test: bool
    panels: tuple[Panel, ...]


class ClassPanels(NamedTuple):
    """Motion dependence by class: the most and the least dependent ones, or all in `most` if there are few."""

    title: str
    limited: bool
    on_test: bool
    best: EncoderRow
    removed: str
    significant: int
    """Number of classes whose dependence differs significantly from zero."""
    total: int
    most: Panel
    least: Panel
    every: Panel


class MotionSection(NamedTuple):
    """Effect of motion on the page."""

    overview: Panel | None
    """Headline sensitivity of all encoders, task by task."""
    sensitivity: tuple[SensitivityPanels, ...]
    dependence: tuple[Panel, ...]
    classes: tuple[ClassPanels, ...]
    best: tuple[EncoderRow, ...]
    """Encoders with which dependence was measured."""
    rows: tuple[EncoderRow, ...]
    """Encoders whose sensitivity was measured."""


def averages_section(board: Leaderboard, rankings: Mapping[str, Ranking]) -> tuple[Panel, ...]:
    """Bars of appearance, motion and the mean of both, best mean first; empty for fewer than two encoders.

    The mean of both has no interval, because both axes may share their videos and are not independent samples.
    """
    appearance, motion = rankings.get("appearance"), rankings.get("motion")
    if appearance is None or motion is None:
        return ()
    both = {row: _mean_of_two(s, motion.scores[row]) for row, s in appearance.scores.items() if row in motion.scores}
    if len(both) < 2:
        return ()
    order = sorted(both, key=lambda row: -both[row].value)
    panels = (
        ("Appearance", appearance.scores, appearance.chance),
        ("Motion", motion.scores, motion.chance),
        ("Mean of both", both, None),
    )
    return tuple(bars(board, title, {row: scores[row] for row in order}, chance) for title, scores, chance in panels)


def _mean_of_two(one: Score, other: Score) -> Score:
    return Score((one.value + other.value) / 2)


def bars(board: Leaderboard, title: str, scores: Mapping[int, Score], chance: Chance | None) -> Panel:
    """A bar for each score, by index of its encoder, on an axis of percent."""
    scale = plots.PERCENT._replace(chance=chance.value, order_free=chance.bound) if chance else plots.PERCENT
    strips = []
    for row, score in scores.items():
        label, text = escaped(board.rows[row].label), with_interval(score)
        mark = Mark(row, scale.at(score.value), plots.span(scale, score))
        strips.append(Strip(label, (mark,), text, f"{label}\n{title.lower()} {text}"))
    return Panel(title, "", scale, tuple(strips))


def motion_section(board: Leaderboard, effects: Sequence[MotionEffect]) -> MotionSection:
    """Lay out the effect of motion on standard tasks; that on low-shot tasks is in the tables only."""
    drawn = sorted((e for e in effects if not e.original.variant), key=lambda e: e.original.axis != "motion")
    sensitivity = tuple(_sensitivity_panels(board, e) for e in drawn if e.sensitivity)
    dependence = tuple(panel for each in motion_effect.REMOVED if (panel := _dependence_panel(board, drawn, each)))
    largest = [(e.original, most) for e in drawn if (most := _largest_dependence(e))]
    classes = tuple(_class_panels(board, original, most) for original, most in largest)
    measured_with = {d.row for e in drawn for d in e.dependence.values()}
    best = tuple(row for row in board.rows if row.index in measured_with)
    rows = tuple(row for row in board.rows if any(row.index in e.sensitivity for e in drawn))
    return MotionSection(_overview(board, drawn), sensitivity, dependence, classes, best, rows)


def _overview(board: Leaderboard, effects: Sequence[MotionEffect]) -> Panel | None:
    """One strip per task with the headline sensitivity of all encoders; None for fewer than two tasks."""
    by_task = [(e, {r: use for r, drops in e.sensitivity.items() if (use := motion_use(drops))}) for e in effects]
    by_task = [(e, drops) for e, drops in by_task if drops]
    if len(by_task) < 2:
        return None
    # without whiskers: those of many encoders in one strip would hide the markers
    values = [drop.gap._replace(low=None, high=None) for _, drops in by_task for drop in drops.values()]
    scale = plots.difference_axis(values)
    strips = []
    for e, drops in by_task:
        title, order = escaped(e.original.task), sorted(drops, key=lambda row: -drops[row].gap.value)
        marks = tuple(mark for row in drops for mark in plots.difference_strip(row, "", drops[row].gap, scale).marks)
        mean = signed(sum(drop.gap.value for drop in drops.values()) / len(drops))
        tip = "\n".join(f"{escaped(board.rows[row].label)} {drop_text(drops[row])}" for row in order)
        strips.append(Strip(title, marks, mean, f"{title}\n{tip}"))
    return Panel("Motion use", "the smaller of the drops when reversed and when frozen", scale, tuple(strips))


def _sensitivity_panels(board: Leaderboard, effect: MotionEffect) -> SensitivityPanels:
    scale = plots.difference_axis([drop.gap for drops in effect.sensitivity.values() for drop in drops.values()])
    panels: list[Panel] = []
    order: list[int] = []
    for alteration in motion_effect.ALTERATIONS:
        by_row = {row: drops[alteration] for row, drops in effect.sensitivity.items() if alteration in drops}
        # all panels have the order of the first, so that each encoder keeps its place
        order += sorted(by_row.keys() - set(order), key=lambda row: -by_row[row].gap.value)
        labels = {row: escaped(board.rows[row].label) for row in order}
        strips = tuple(_strip(row, labels[row], by_row[row], scale, f"{alteration}:") for row in order if row in by_row)
        if strips:
            panels.append(Panel(alteration.capitalize(), REMOVES[alteration], scale, strips))
    original = effect.original
    return SensitivityPanels(escaped(original.task), original.limited, original.on_test, tuple(panels))


def _strip(row: int, label: str, drop: AccuracyDrop, scale: Axis, before: str) -> Strip:
    groups = f" in {drop.gap.units} groups" if drop.gap.units < drop.gap.n else ""
    tip = f"{before} {number(drop.real)} → {number(drop.altered)}\ndrop {drop_text(drop)}\n"
    tip += f"{p_value(drop.p)} (Holm-adjusted), n = {drop.gap.n}{groups}"
    few = gap_too_few(drop.gap, drop.tests)
    tip += f"\n{few}" if few else ""
    return plots.difference_strip(row, label, drop.gap, scale, tip=tip, significant=drop.p < ALPHA)


def _dependence_panel(board: Leaderboard, effects: Iterable[MotionEffect], alteration: str) -> Panel | None:
    by_task = [(e.original.task, e.dependence[alteration]) for e in effects if alteration in e.dependence]
    if not by_task:
        return None
    scale = plots.difference_axis([d.overall.gap for _, d in by_task])
    by_task.sort(key=lambda pair: -pair[1].overall.gap.value)
    strips = (
        _strip(d.row, escaped(task), d.overall, scale, f"{escaped(board.rows[d.row].label)}:") for task, d in by_task
    )
    return Panel(REMOVED[alteration], "", scale, tuple(strips))


def _largest_dependence(effect: MotionEffect) -> tuple[str, MotionDependence] | None:
    """The dependence on the alteration that removes most, among those measured by class."""
    by_class = {each: d for each in motion_effect.REMOVED if (d := effect.dependence.get(each)) and d.classes}
    return next(iter(by_class.items()), None)


def _class_panels(board: Leaderboard, original: Column, largest: tuple[str, MotionDependence]) -> ClassPanels:
    alteration, dependence = largest
    drops = dependence.classes
    scale = plots.difference_axis([drop.gap for _, drop in drops])
    strips = tuple(_strip(dependence.row, escaped(name), drop, scale, f"{alteration}:") for name, drop in drops)
    few, every = len(strips) <= MAX_CLASSES, f"All {len(strips)} classes"
    return ClassPanels(
        title=escaped(original.task),
        limited=original.limited,
        on_test=original.on_test,
        best=board.rows[dependence.row],
        removed=REMOVED[alteration],
        significant=sum(strip.significant for strip in strips),
        total=len(strips),
        most=Panel(every if few else "Most dependent", "", scale, strips if few else strips[:ENDS]),
        least=Panel("Least dependent", "", scale, () if few else strips[: -ENDS - 1 : -1]),
        every=Panel(every, "", scale, () if few else strips),
    )
