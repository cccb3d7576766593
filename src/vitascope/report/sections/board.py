"""Rows of the board of many runs: per task every result with its tier, who recorded it, and whether repeats agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vitascope.core.text import counted, escaped, interval, number
from vitascope.core.types import Score
from vitascope.report.analysis import incomparable
from vitascope.report.analysis.incomparable import Reason
from vitascope.report.analysis.leaderboard import Column, EncoderRow
from vitascope.report.analysis.merged_runs import Entry, MergedRuns, Run, agreement
from vitascope.report.analysis.phrases import caveats, coverage_note
from vitascope.report.analysis.protocol_words import protocol_words
from vitascope.report.analysis.ranking import ColumnAnalysis, Ranking
from vitascope.report.charts import plots
from vitascope.report.charts.plots import Axis, Mark


class BoardRow(NamedTuple):
    """A result in the table of a task."""

    row: EncoderRow
    tier: int
    """0 if nothing is ranked, or for a repeated result."""
    score: Score
    value: str
    interval: str
    mark: Mark
    run: Run
    tested: str
    """Examples scored of those expected."""
    note: str
    """What the repeated result says of the ranked one; caveats of the score."""
    agrees: bool
    repeats: bool
    in_pretraining_data: bool


class BoardColumn(NamedTuple):
    """Results of one task under one protocol."""

    protocol: str
    encoders: str
    axis: Axis
    rows: tuple[BoardRow, ...]
    words: str
    """The protocol in words."""
    caveats: tuple[str, ...]
    reasons: tuple[Reason, ...]
    """Why it cannot be compared with the task's main one; empty for the main one."""


class BoardTask(NamedTuple):
    """A task with its main protocol first."""

    title: str
    dataset: str
    probe: str
    score: str
    chance: str
    order_free: str
    columns: tuple[BoardColumn, ...]
    summary: str


class BoardRun(NamedTuple):
    """A run in the table of runs."""

    run: Run
    date: str
    encoders: str
    tasks: str
    link: str
    """Path of its report beside the page; empty without one."""


def tasks(merged: MergedRuns, analyses: Sequence[ColumnAnalysis]) -> list[BoardTask]:
    """The standard tasks in the order of the leaderboard; `analyses` are those of `board.plain()`, in order."""
    analyzed = list(zip(merged.board.plain(), analyses, strict=True))
    return [_task(merged, [pair for pair in analyzed if pair[0].task == column.task]) for column in merged.board.main()]


def _task(merged: MergedRuns, analyzed: Sequence[tuple[Column, ColumnAnalysis]]) -> BoardTask:
    main, analysis = next((c, a) for c, a in analyzed if c.main)
    chance = analysis.ranking.chance
    ordered = sorted(analyzed, key=lambda pair: not pair[0].main)
    columns = tuple(_column(merged, column, one.ranking, main) for column, one in ordered)
    total = len({row.row.index for column in columns for row in column.rows})
    apart = f", {counted(len(columns), 'protocol')}" if len(columns) > 1 else ""
    return BoardTask(
        escaped(main.task),
        escaped(main.first.dataset),
        escaped(main.first.probe),
        escaped(next(iter(main.first.scores))),
        number(chance.value) if chance else "",
        number(chance.bound) if chance and chance.bound is not None else "",
        columns,
        f"{counted(total, 'encoder')}{apart}",
    )


def _column(merged: MergedRuns, column: Column, ranking: Ranking, main: Column) -> BoardColumn:
    entries = [(row, entry) for row in ranking.order() for entry in merged.entries_of(column, row)]
    scale = plots.axis([entry.result.headline for _, entry in entries], ranking.chance)
    rows = tuple(_row(merged.board.rows[row], entry, ranking, scale) for row, entry in entries)
    return BoardColumn(
        column.protocol[:6],
        incomparable.named(column.cells, merged.board.rows),
        scale,
        rows,
        protocol_words(column.first),
        tuple(caveats(limited=column.limited, on_test=column.on_test)),
        () if column.main else tuple(incomparable.reasons(column, main)),
    )


def _row(row: EncoderRow, entry: Entry, ranking: Ranking, scale: Axis) -> BoardRow:
    score = entry.result.headline
    said = agreement(score, entry.repeats.headline) if entry.repeats else None
    notes = [said.text] if said else []
    notes += [note] if (note := coverage_note(entry.result)) else []
    return BoardRow(
        row,
        0 if said else ranking.tiers.get(row.index, 0),
        score,
        number(score.value),
        interval(score),
        Mark(row.index, scale.at(score.value), plots.span(scale, score)),
        entry.run,
        f"{entry.result.n:,} of {entry.result.expected:,}",
        "; ".join(notes),
        said is None or said.agrees,
        said is not None,
        entry.result.in_pretraining_data,
    )


def runs(merged: MergedRuns, links: Mapping[str, str]) -> list[BoardRun]:
    """The table of runs; `links` are paths of reports by the names of runs."""
    return [_board_run(run, links.get(run.name, "")) for run in merged.runs]


def _board_run(run: Run, link: str) -> BoardRun:
    names = list(dict.fromkeys(escaped(r.encoder) for r in run.results))
    tasks = len({r.task for r in run.results if not r.variant})
    date = f"{run.recorded:%Y-%m-%d}"
    return BoardRun(
        run,
        date,
        ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else ""),
        counted(tasks, "task"),
        link,
    )


def records(board_tasks: Sequence[BoardTask]) -> list[dict[str, Any]]:
    """The tables as plain data, a record for each result, for JSON and CSV."""
    return [_record(task, column, row) for task in board_tasks for column in task.columns for row in column.rows]


def _record(task: BoardTask, column: BoardColumn, row: BoardRow) -> dict[str, Any]:
    value, low, high = (None if end is None else round(end, 4) for end in row.score)
    return {
        "task": task.title,
        "dataset": task.dataset,
        "probe": task.probe,
        "score": task.score,
        "protocol": column.protocol,
        "comparable": not column.reasons,
        "encoder": row.row.label,
        "value": value,
        "low": low,
        "high": high,
        "tier": row.tier or None,
        "run": row.run.name,
        "recorded": row.run.recorded.isoformat(timespec="seconds"),
        "version": row.run.versions,
        "tested": row.tested,
        "note": row.note,
    }
