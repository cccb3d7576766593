"""Moments: what is told of actions in time beside the headline: every score, kinds of errors, who is missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vitascope.core.text import number, shown, signed
from vitascope.evaluation.results import Result
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.phrases import titled
from vitascope.report.sections.tables import SummaryTable

SCORES_NOTE = "Percent. Videos without features count as missed; 95 % intervals of all are in results.jsonl."
ERRORS_NOTE = (
    "DETAD's kinds. Gain: what the average mAP would gain, in points, were the wrong predictions of a kind not there; "
    "in brackets, the kind's share of the wrong ones among the best predictions, percent."
)
RANGES_NOTE = (
    "Normalized mAP of the actions of each range, and in brackets the share of them that nothing found; percent."
)


def scores(board: Leaderboard) -> list[SummaryTable]:
    """A table for each question about actions in time: every score of every encoder."""
    return [_scores(board, column) for column in _timed(board)]


def mistakes(board: Leaderboard) -> list[SummaryTable]:
    """What goes wrong in each question whose results tell: kinds of errors, and how ranges of actions fare."""
    return [table for column in _timed(board) for table in _mistakes(board, column)]


def _timed(board: Leaderboard) -> list[Column]:
    return [c for c in board.plain() if c.any.kind != "recognition"]


def _each(board: Leaderboard, column: Column) -> Iterator[tuple[str, Result]]:
    for row in board.rows:
        if row.index in column.cells:
            yield shown(row.label), column.cells[row.index]


def _scores(board: Leaderboard, column: Column) -> SummaryTable:
    names = tuple(dict.fromkeys(name for _, result in _each(board, column) for name in result.scores))
    rows = tuple(
        (label, *(number(result.scores[n].value) if n in result.scores else "–" for n in names))
        for label, result in _each(board, column)
    )
    return SummaryTable(titled(shown(column.task), column), SCORES_NOTE, ("encoder", *names), rows)


def _mistakes(board: Leaderboard, column: Column) -> Iterator[SummaryTable]:
    told = [(label, result.diagnosis) for label, result in _each(board, column) if result.diagnosis]
    if not told:
        return
    title, kinds = titled(shown(column.task), column), tuple(told[0][1]["gains"])
    rows = tuple(
        (label, *(f"{signed(found['gains'][k])} ({number(found['false'][k])})" for k in kinds)) for label, found in told
    )
    yield SummaryTable(f"{title}: what the errors cost", ERRORS_NOTE, ("encoder", *kinds), rows)
    for name, unit in (("length", "s"), ("coverage", "%")):
        if all(name in found for _, found in told):
            yield _ranges(f"{title}: by {name}", [(label, found[name]) for label, found in told], unit)


def _ranges(title: str, told: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], unit: str) -> SummaryTable:
    scale = 100 if unit == "%" else 1
    heads = tuple(f"{p['range']}: over {scale * p['above']:g} {unit}, {p['segments']} actions" for p in told[0][1])
    rows = tuple((label, *(_part(p) for p in parts)) for label, parts in told)
    return SummaryTable(title, RANGES_NOTE, ("encoder", *heads), rows)


def _part(part: Mapping[str, Any]) -> str:
    if part["mAP_N"] is None or part["missed"] is None:
        return "–"
    return f"{number(part['mAP_N'])} ({number(part['missed'])})"
