"""Summary tables of variants and head selection as plain text, which every format renders in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vitascope.core.text import escaped, margin, number
from vitascope.core.types import Score
from vitascope.report.analysis import head_selection, motion_effect
from vitascope.report.analysis.head_selection import HeadSummary
from vitascope.report.analysis.layers import LayerTask, layer_tasks
from vitascope.report.analysis.leaderboard import Leaderboard
from vitascope.report.analysis.motion_effect import (
    AccuracyDrop,
    MissingResult,
    MotionDependence,
    MotionEffect,
    motion_use,
)
from vitascope.report.analysis.phrases import SELECTED_ON_TEST, caveats, gap_too_few, with_caveats
from vitascope.report.analysis.ranking import ALPHA, Ranking, chance_level
from vitascope.report.analysis.readouts import ReadoutPair, readout_pairs
from vitascope.report.charts import low_shot
from vitascope.report.charts.low_shot import LowShotPlot
from vitascope.report.sections.layers import layer_table
from vitascope.report.sections.readouts import readout_table
from vitascope.report.sections.summary_table import SummaryTable as SummaryTable

ON_TEST_NOTE = (
    "Heads selected by their score on the test set are marked: such a score is the best of many tries on that set, too "
    "high for new videos, and comparable only to scores obtained in the same way."
)
SENSITIVITY_NOTE = (
    "Accuracy on real test clips minus accuracy on altered ones, in points, on the same examples and with the same "
    "head, trained on real clips. Motion use: the smaller of the drops when reversed and when frozen. Shuffled is no "
    "headline: it also adds flicker, which can harm encoders that never use motion. * significantly different from "
    "zero (Holm-corrected over encoders and alterations, 5 %)."
)
DEPENDENCE_NOTE = (
    "Accuracy lost when motion is removed from both training and test clips, in points, measured with the encoder that "
    "is best on real clips: frozen repeats one frame, shuffled destroys only the order. * significantly different from "
    "zero (Holm-corrected over classes, 5 %)."
)
REMOVED_TITLES = {"frozen": "motion (frozen)", "shuffled": "order (shuffled)"}
MAX_CLASSES = 3
"""Number of classes listed at each end."""


class Extras(NamedTuple):
    """Everything a leaderboard holds beyond the scores of its standard tasks."""

    motion_effects: Sequence[MotionEffect]
    missing_results: Sequence[MissingResult]
    low_shot_plots: Sequence[LowShotPlot]
    heads: Sequence[HeadSummary]
    readouts: Sequence[ReadoutPair]
    layers: Sequence[LayerTask]


def collect_extras(board: Leaderboard, rankings: Mapping[str, Ranking]) -> Extras:
    """Compute the effect of motion from saved predictions, and collect low-shot scores and selected heads."""
    effects, missing = motion_effect.motion_effects(board)
    heads, readouts = head_selection.head_summaries(board), readout_pairs(board)
    plots, layers = low_shot.low_shot_plots(board, rankings), layer_tasks(board)
    return Extras(effects, missing, plots, heads, readouts, layers)


def summary_tables(board: Leaderboard, extras: Extras, *, brief: bool = False) -> list[SummaryTable]:
    """All tables that have rows; `brief` leaves out head selection, and motion effects on low-shot tasks."""
    effects = [e for e in extras.motion_effects if not (brief and e.original.variant)]
    tables = [readout_table(board, extras.readouts), layer_table(board, extras.layers)]
    tables += [sensitivity_table(board, effects), dependence_table(board, effects)]
    tables += low_shot_tables(board, extras.low_shot_plots)
    tables += [] if brief else [head_table(extras.heads)]
    return [table for table in tables if table.rows]


def sensitivity_table(board: Leaderboard, effects: Sequence[MotionEffect]) -> SummaryTable:
    """Motion sensitivity: one row per task and encoder, motion use and one column per alteration."""
    measured = {alteration for e in effects for drops in e.sensitivity.values() for alteration in drops}
    alterations = [alteration for alteration in motion_effect.ALTERATIONS if alteration in measured]
    rows = tuple(
        (
            _title(e),
            escaped(board.rows[row].label),
            _drop_cell(motion_use(drops)),
            *(_drop_cell(drops.get(each)) for each in alterations),
        )
        for e in effects
        for row, drops in e.sensitivity.items()
    )
    heads = ("task", "encoder", "motion use", *alterations)
    return SummaryTable("Motion sensitivity", sensitivity_note(effects), heads, rows)


def sensitivity_note(effects: Sequence[MotionEffect]) -> str:
    """What motion sensitivity is, and the tasks on which no drop can be significant, for lack of groups."""
    return " ".join([SENSITIVITY_NOTE, *_few_groups(effects)])


def _few_groups(effects: Sequence[MotionEffect]) -> list[str]:
    """A sentence for each task on which no drop can be significant, for lack of groups."""
    few: dict[str, str] = {}
    for e in effects:
        drops = [drop for by_name in e.sensitivity.values() for drop in by_name.values()]
        notes = [gap_too_few(drop.gap, drop.tests) for drop in drops]
        few |= {_title(e): notes[0]} if notes and all(notes) else {}
    return [f"{title}: {note}." for title, note in few.items()]


def _title(effect: MotionEffect) -> str:
    return with_caveats(escaped(effect.original.task), effect.original)


def _drop_cell(drop: AccuracyDrop | None) -> str:
    return f"{drop_text(drop)}{'*' * (drop.p < ALPHA)}" if drop else "–"


def drop_text(drop: AccuracyDrop) -> str:
    """Format an accuracy drop with its interval."""
    return margin(Score(*drop.gap[:3]))


def dependence_table(board: Leaderboard, effects: Sequence[MotionEffect]) -> SummaryTable:
    """Motion dependence: one row per task and alteration."""
    rows = tuple(
        (
            _title(e),
            REMOVED_TITLES[alteration],
            escaped(board.rows[dependence.row].label),
            f"{number(dependence.overall.real)} → {number(dependence.overall.altered)}{_chance(e)}",
            _drop_cell(dependence.overall),
            *_extreme_classes(dependence),
        )
        for e in effects
        for alteration, dependence in e.dependence.items()
    )
    heads = ("task", "removed", "best encoder", "accuracy", "drop", "most dependent classes", "least dependent classes")
    return SummaryTable("Motion dependence", DEPENDENCE_NOTE, heads, rows)


def _chance(effect: MotionEffect) -> str:
    """The chance level of a task in brackets; empty if it is unknown."""
    guess = chance_level(effect.original, ())
    return f" (chance {number(guess.value)})" if guess else ""


def _extreme_classes(dependence: MotionDependence) -> tuple[str, str]:
    most = dependence.classes[:MAX_CLASSES]
    least = dependence.classes[len(most) :][-MAX_CLASSES:]
    first, last = (
        ", ".join(f"{escaped(name)} {_signed(drop)}" for name, drop in part) for part in (most, reversed(least))
    )
    return first or "–", last or "–"


def _signed(drop: AccuracyDrop) -> str:
    return margin(Score(drop.gap.value)) + "*" * (drop.p < ALPHA)


def low_shot_tables(board: Leaderboard, plots: Sequence[LowShotPlot]) -> list[SummaryTable]:
    """Low-shot scores: one row per task and encoder, one table per set of training fractions."""
    by_levels: dict[tuple[str, ...], list[LowShotPlot]] = {}
    for plot in plots:
        by_levels.setdefault(tuple(level.text for level in plot.levels), []).append(plot)
    return [_low_shot_table(board, levels, group) for levels, group in by_levels.items()]


def _low_shot_table(board: Leaderboard, levels: tuple[str, ...], plots: Sequence[LowShotPlot]) -> SummaryTable:
    rows = []
    for plot in plots:
        warnings = caveats(limited=plot.limited, on_test=plot.on_test)
        title = f"{plot.title} ({', '.join(warnings)})" if warnings else plot.title
        rows += [(title, escaped(board.rows[row].label), *low_shot.score_cells(plot, row)) for row in plot.scores]
        rows += [(title, "chance", *[number(plot.chance.value)] * len(levels))] if plot.chance else []
    unit = plots[0].unit.removesuffix(", log scale")
    note = f"Headline score by {unit}; the last column is the full training set. Brackets: 95 % intervals."
    return SummaryTable(f"Low-shot by {unit}", note, ("task", "encoder", *levels), tuple(rows))


def head_table(heads: Sequence[HeadSummary]) -> SummaryTable:
    """Selected heads and the spread over seeds: one row per result."""
    rows = tuple(
        (
            one.task,
            escaped(one.row.label),
            one.selected or "–",
            _criterion(one),
            one.candidates or "–",
            one.seeds or "–",
        )
        for one in heads
    )
    note = "Candidates: number of heads in the hyperparameter grid, and the range of their selection scores, percent."
    columns = ("task", "encoder", "selected", "selected by", "candidates", "seeds")
    return SummaryTable("Head selection", note, columns, rows)


def _criterion(one: HeadSummary) -> str:
    if one.on_test:
        return SELECTED_ON_TEST
    return f"{one.select} training data" if one.select == "held-out" else one.select
