"""Tasks in time, and in space and time: all metrics, error types, and what is missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vitascope.core.text import escaped, number, signed
from vitascope.evaluation.results import Result
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.phrases import with_caveats
from vitascope.report.sections import detection
from vitascope.report.sections.tables import SummaryTable

SCORES_NOTE = "Percent. Videos without features count as missed; 95 % intervals of all scores are in results.jsonl."
ERRORS_NOTE = (
    "Error types of DETAD. Gain in average mAP, in points, if all errors of a type were removed; in parentheses, the "
    "percentage of this type among the errors of the top-scoring predictions."
)
RANGES_NOTE = (
    "Normalized mAP of the actions in each range, and in parentheses the fraction of them that was missed; percent."
)


def score_tables(board: Leaderboard) -> list[SummaryTable]:
    """All scores of all encoders on tasks in time: a table for each, several where they are parts of one number."""
    each = (_score_tables(board, column) for column in _temporal_columns(board))
    return [table for tables in each for table in tables]


def _score_tables(board: Leaderboard, column: Column) -> list[SummaryTable]:
    return detection.score_tables(board, column) if column.first.kind == "detection" else [_score_table(board, column)]


def error_tables(board: Leaderboard) -> list[SummaryTable]:
    """Tables of each task with an error diagnosis: error types, and results by length and coverage, or by size."""
    tables: list[SummaryTable] = []
    for column in _temporal_columns(board):
        of_kind = detection.error_tables if column.first.kind == "detection" else _error_tables
        tables += of_kind(board, column)
    return tables


def _temporal_columns(board: Leaderboard) -> list[Column]:
    return [c for c in board.plain() if c.first.kind != "recognition"]


def _results(board: Leaderboard, column: Column) -> Iterator[tuple[str, Result]]:
    for row in board.rows:
        if row.index in column.cells:
            yield escaped(row.label), column.cells[row.index]


def _score_table(board: Leaderboard, column: Column) -> SummaryTable:
    names = tuple(dict.fromkeys(name for _, result in _results(board, column) for name in result.scores))
    rows = tuple(
        (label, *(number(result.scores[n].value) if n in result.scores else "–" for n in names))
        for label, result in _results(board, column)
    )
    return SummaryTable(with_caveats(escaped(column.task), column), SCORES_NOTE, ("encoder", *names), rows)


def _error_tables(board: Leaderboard, column: Column) -> Iterator[SummaryTable]:
    diagnoses = [(label, result.diagnosis) for label, result in _results(board, column) if result.diagnosis]
    if not diagnoses:
        return
    title = with_caveats(escaped(column.task), column)
    kinds = tuple(k for k in diagnoses[0][1]["gains"] if all(k in diagnosis["gains"] for _, diagnosis in diagnoses))
    rows = tuple(
        (label, *(f"{signed(diagnosis['gains'][k])} ({number(diagnosis['false'][k])})" for k in kinds))
        for label, diagnosis in diagnoses
    )
    yield SummaryTable(f"{title}: effect of error types", ERRORS_NOTE, ("encoder", *kinds), rows)
    for name, unit in (("length", "s"), ("coverage", "%")):
        if all(name in diagnosis for _, diagnosis in diagnoses):
            yield _range_table(
                f"{title}: by {name}", [(label, diagnosis[name]) for label, diagnosis in diagnoses], unit
            )


def _range_table(title: str, results: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], unit: str) -> SummaryTable:
    scale = 100 if unit == "%" else 1
    heads = tuple(f"{p['range']}: over {scale * p['above']:g} {unit}, {p['segments']} actions" for p in results[0][1])
    rows = tuple((label, *(_range_cell(p) for p in parts)) for label, parts in results)
    return SummaryTable(title, RANGES_NOTE, ("encoder", *heads), rows)


def _range_cell(part: Mapping[str, Any]) -> str:
    if part["mAP_N"] is None or part["missed"] is None:
        return "–"
    return f"{number(part['mAP_N'])} ({number(part['missed'])})"
