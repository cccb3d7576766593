"""Summaries: what variants and trainings say, as short tables of text that every format sets in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vitascope.core.text import margin, number, shown
from vitascope.core.types import Score
from vitascope.report.analysis import head_selection, motion_effect
from vitascope.report.analysis.head_selection import Trained
from vitascope.report.analysis.leaderboard import Leaderboard
from vitascope.report.analysis.motion_effect import Loss, MissingResult, MotionEffect, Need
from vitascope.report.analysis.phrases import CHOSEN_ON_TEST, marks, titled
from vitascope.report.analysis.ranking import ALPHA, Ranking
from vitascope.report.charts import low_shot
from vitascope.report.charts.low_shot import LowShotPlot

ON_TEST_NOTE = (
    "Heads that were chosen by their score on the test set are marked: such a score is the best of many tries at that "
    "set, too high for videos not yet seen, and compares only with scores made the same way."
)
USE_NOTE = (
    "Accuracy on real test clips minus accuracy on altered ones, in points: one head, trained on real clips, the same "
    "examples. Shuffled is the headline: the same frames, their order alone destroyed. * told from zero (Holm, 5 %)."
)
NEED_NOTE = (
    "Accuracy lost when motion is removed from training and test alike, in points, by the encoder that is best with "
    "real clips: frozen holds one frame, shuffled destroys order only. * told from zero (Holm over classes, 5 %)."
)
NEEDS = {"frozen": "motion (frozen)", "shuffled": "order (shuffled)"}
NAMED = 3
"""Classes named at each end."""


class SummaryTable(NamedTuple):
    """A table of text with a title and a note."""

    title: str
    note: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Extras(NamedTuple):
    """All that a board says beside its plain scores."""

    worth: Sequence[MotionEffect]
    lacking: Sequence[MissingResult]
    plots: Sequence[LowShotPlot]
    trained: Sequence[Trained]


def extras(board: Leaderboard, standings: Mapping[str, Ranking]) -> Extras:
    """Read the predictions of the altered columns, and gather low-shot scores and trainings."""
    worth, lacking = motion_effect.worth(board)
    return Extras(worth, lacking, low_shot.plots(board, standings), head_selection.trained(board))


def summaries(board: Leaderboard, found: Extras, *, brief: bool = False) -> list[SummaryTable]:
    """The tables there is something to put in; `brief` leaves out trainings and alterations of low-shot questions."""
    worth = [one for one in found.worth if not (brief and one.plain.variant)]
    tables = [use(board, worth), need(board, worth), *few(board, found.plots)]
    tables += [] if brief else [trainings(found.trained)]
    return [table for table in tables if table.rows]


def use(board: Leaderboard, worth: Sequence[MotionEffect]) -> SummaryTable:
    """Motion use: a line for each task and encoder, a column for each alteration."""
    there = [how for how in motion_effect.ALTERATIONS if any(how in of for one in worth for of in one.uses.values())]
    rows = tuple(
        (titled(shown(one.plain.task), one.plain), shown(board.rows[row].label), *(_loss(of.get(how)) for how in there))
        for one in worth
        for row, of in one.uses.items()
    )
    return SummaryTable("Motion use", USE_NOTE, ("task", "encoder", *there), rows)


def _loss(loss: Loss | None) -> str:
    return f"{gap(loss)}{'*' * (loss.p < ALPHA)}" if loss else "–"


def gap(loss: Loss) -> str:
    """A loss and its interval."""
    return margin(Score(*loss.gap[:3]))


def need(board: Leaderboard, worth: Sequence[MotionEffect]) -> SummaryTable:
    """Motion need: a line for each task and what was removed."""
    rows = tuple(
        (
            titled(shown(one.plain.task), one.plain),
            NEEDS[how],
            shown(board.rows[found.row].label),
            f"{number(found.whole.real)} → {number(found.whole.altered)}",
            _loss(found.whole),
            _ends(found)[0],
            _ends(found)[1],
        )
        for one in worth
        for how, found in one.needs.items()
    )
    heads = ("task", "without", "best encoder", "accuracy", "need", "classes that need it most", "least")
    return SummaryTable("Motion need", NEED_NOTE, heads, rows)


def _ends(found: Need) -> tuple[str, str]:
    most = found.classes[:NAMED]
    least = found.classes[len(most) :][-NAMED:]
    first, last = (
        ", ".join(f"{shown(name)} {_signed(loss)}" for name, loss in part) for part in (most, reversed(least))
    )
    return first or "–", last or "–"


def _signed(loss: Loss) -> str:
    return margin(Score(loss.gap.value)) + "*" * (loss.p < ALPHA)


def few(board: Leaderboard, plots: Sequence[LowShotPlot]) -> list[SummaryTable]:
    """Low-shot scores, a line for each question and encoder; questions asked with the same shares share a table."""
    held: dict[tuple[str, ...], list[LowShotPlot]] = {}
    for plot in plots:
        held.setdefault(tuple(level.text for level in plot.levels), []).append(plot)
    return [_few(board, levels, alike) for levels, alike in held.items()]


def _few(board: Leaderboard, levels: tuple[str, ...], plots: Sequence[LowShotPlot]) -> SummaryTable:
    rows = []
    for plot in plots:
        told = marks(limited=plot.limited, on_test=plot.on_test)
        title = f"{plot.title} ({', '.join(told)})" if told else plot.title
        rows += [(title, shown(board.rows[row].label), *low_shot.cells(plot, row)) for row in plot.scores]
    unit = plots[0].unit.removesuffix(", log scale")
    note = f"Headline score by {unit}; the last column is all of the training side. Brackets: 95 % intervals."
    return SummaryTable(f"Low-shot by {unit}", note, ("task", "encoder", *levels), tuple(rows))


def trainings(found: Sequence[Trained]) -> SummaryTable:
    """Which heads were chosen and what several seeds gave."""
    rows = tuple(
        (one.task, shown(one.row.label), one.chosen or "–", _select(one), one.grid or "–", one.seeds or "–")
        for one in found
    )
    note = "Grid: how many heads were tried and between which scores they lay, on what they were chosen by."
    return SummaryTable("Trainings", note, ("task", "encoder", "chosen", "chosen by", "grid", "seeds"), rows)


def _select(one: Trained) -> str:
    return CHOSEN_ON_TEST if one.on_test else f"{one.select} training data" if one.select == "held-out" else one.select
