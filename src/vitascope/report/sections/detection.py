"""Actors in space and time: whether they are found, whether they are known, and why boxes are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vitascope.core.text import escaped, number, signed
from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.metrics import detection_errors
from vitascope.metrics.detection_errors import BEST, KINDS
from vitascope.metrics.frame_ap import GIVEN_BOXES, HEADLINE
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.phrases import with_caveats
from vitascope.report.sections.motion import Panel, bars
from vitascope.report.sections.tables import SummaryTable

FOUND = detection_errors.recall_name(BEST[1])
STRICT = "fAP@0.5:0.95"
SPLIT_NOTE = (
    "Percent. Found: actors whose box is among the best 1, 10 or all boxes of their keyframe (IoU 0.5), whatever their "
    f"class. Known: {HEADLINE} as if every true box had been found, each with the classes of the box that overlaps it "
    "most. Both: the headline. All intervals are in results.jsonl."
)
GROUP_NOTE = "Percent: the same for the classes of each group alone; known given the true boxes, and both."
ERRORS_NOTE = (
    f"Gain in {HEADLINE}, in points, if all errors of a type were removed (missed: if these true boxes were left out), "
    "and in parentheses their number among the best predictions of each class, as many as it has true boxes (missed: "
    "true boxes that no prediction matches, of all of them). A true box counts once for each of its classes. Wrong "
    "place: IoU of at least 0.1, but below 0.5."
)
RANGES_NOTE = (
    f"Normalized {HEADLINE} (precision as if every class had equally many boxes in each range), and in parentheses the "
    f"percentage missed, and of actors found by the best {BEST[1]} boxes, whatever their class."
)
RANGES = {"size": ("% of the frame", "area of the box"), "people": ("", "number of actors in the keyframe")}


class ErrorBar(NamedTuple):
    """The best predictions of an encoder by type."""

    row: EncoderRow
    parts: tuple[tuple[str, float, float], ...]
    """Type, number and percentage."""


class ActorTask(NamedTuple):
    """One task in panels."""

    title: str
    panels: tuple[Panel, ...]
    """Found, known, both."""
    groups: tuple[Panel, ...]
    """Known and both for each group of classes."""
    errors: tuple[ErrorBar, ...]


def actor_tasks(board: Leaderboard) -> list[ActorTask]:
    """Lay out the parts of the score of each task of actors in space and time."""
    return [_task(board, column) for column in board.plain() if column.first.kind == "detection"]


def _task(board: Leaderboard, column: Column) -> ActorTask:
    names = {"Found": FOUND, "Known": GIVEN_BOXES, "Found and known": HEADLINE}
    groups = {
        f"{title}, {group}": f"{name} of {group}"
        for group in _groups(column)
        for title, name in (("Known", GIVEN_BOXES), ("Found and known", HEADLINE))
    }
    bar = [_error_bar(row, result) for row, result in _cells(board, column) if result.diagnosis.get("best")]
    return ActorTask(
        with_caveats(escaped(column.task), column),
        _panels(board, column, names),
        _panels(board, column, groups),
        tuple(bar),
    )


def _cells(board: Leaderboard, column: Column) -> Iterator[tuple[EncoderRow, Result]]:
    """The results of a column, best first."""
    held = [row for row in board.rows if row.index in column.cells]
    for row in sorted(held, key=lambda row: -column.cells[row.index].headline.value):
        yield row, column.cells[row.index]


def _groups(column: Column) -> list[str]:
    """Names of the groups of classes that are scored apart."""
    start = f"{HEADLINE} of "
    found = (name for result in column.cells.values() for name in result.scores if name.startswith(start))
    return list(dict.fromkeys(name.removeprefix(start) for name in found))


def _panels(board: Leaderboard, column: Column, names: Mapping[str, str]) -> tuple[Panel, ...]:
    each = []
    for title, name in names.items():
        scores: dict[int, Score] = {r.index: c.scores[name] for r, c in _cells(board, column) if name in c.scores}
        each += [bars(board, escaped(title), scores, None)] if scores else []
    return tuple(each)


def _error_bar(row: EncoderRow, result: Result) -> ErrorBar:
    counts: Mapping[str, float] = result.diagnosis["best"]
    total = sum(counts.values()) or 1
    return ErrorBar(row, tuple((kind, counts[kind], 100 * counts[kind] / total) for kind in KINDS if kind in counts))


def score_tables(board: Leaderboard, column: Column) -> list[SummaryTable]:
    """The parts of the number, those of each group of classes, and all other scores."""
    title = with_caveats(escaped(column.task), column)
    parts = {
        **{f"found by {'all' if not k else f'the best {k}'}": detection_errors.recall_name(k) for k in BEST},
        "known": GIVEN_BOXES,
        "both": HEADLINE,
        "both, 0.5:0.95": STRICT,
    }
    groups = {
        f"{escaped(group)}: {head}": f"{name} of {group}"
        for group in _groups(column)
        for head, name in (("known", GIVEN_BOXES), ("both", HEADLINE))
    }
    named = {*parts.values(), *groups.values()}
    others = {escaped(n): n for result in column.cells.values() for n in result.scores if n not in named}
    tables = [
        _table(board, column, f"{title}: found and known", SPLIT_NOTE, parts),
        _table(board, column, f"{title}: by group of classes", GROUP_NOTE, groups),
        _table(board, column, f"{title}: other scores", "Percent.", others),
    ]
    return [table for table in tables if len(table.heads) > 1]


def _table(board: Leaderboard, column: Column, title: str, note: str, names: Mapping[str, str]) -> SummaryTable:
    held = {head: n for head, n in names.items() if any(n in result.scores for result in column.cells.values())}
    rows = tuple(
        (escaped(row.label), *(number(c.scores[n].value) if n in c.scores else "–" for n in held.values()))
        for row, c in _cells(board, column)
    )
    return SummaryTable(title, note, ("encoder", *held), rows)


def error_tables(board: Leaderboard, column: Column) -> list[SummaryTable]:
    """Error types, and what is found and known by size of the box and by number of people."""
    title = with_caveats(escaped(column.task), column)
    held = [(escaped(row.label), c.diagnosis) for row, c in _cells(board, column) if c.diagnosis.get("best")]
    if not held:
        return []
    kinds = [kind for kind in KINDS[1:] if all(kind in diagnosis["gains"] for _, diagnosis in held)]
    rows = tuple((label, *_error_cells(diagnosis, kinds)) for label, diagnosis in held)
    tables = [
        SummaryTable(f"{title}: effect of error types", ERRORS_NOTE, ("encoder", "right", "missed", *kinds), rows)
    ]
    for name, (unit, of) in RANGES.items():
        parts = [(label, diagnosis[name]) for label, diagnosis in held if diagnosis.get(name)]
        tables += [_range_table(f"{title}: by {of}", parts, unit)] if parts else []
    return tables


def _error_cells(diagnosis: Mapping[str, Any], kinds: Sequence[str]) -> Iterator[str]:
    best, missed = diagnosis["best"], diagnosis.get("missed")
    yield _count(best.get(KINDS[0], 0))
    yield f"{_signed(missed['gain'])} ({missed['boxes']:,})" if missed else "–"
    yield from (f"{_signed(diagnosis['gains'][kind])} ({_count(best.get(kind, 0))})" for kind in kinds)


def _count(value: float) -> str:
    return f"{round(value):,}"


def _signed(value: float | None) -> str:
    return "–" if value is None else signed(value)


def _range_table(title: str, results: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], unit: str) -> SummaryTable:
    """One column for each range that any of the results has."""
    ranges = {part["range"]: part for _, parts in results for part in parts}
    named: Callable[[Mapping[str, Any]], str] = (
        (lambda p: f"{p['range']}: over {100 * p['above']:g} {unit}, {p['people']:,} actors")
        if unit
        else lambda p: f"{p['range']}: {p['people']:,} actors"
    )
    by_label = [(label, {part["range"]: part for part in parts}) for label, parts in results]
    rows = tuple((label, *(_range_cell(parts.get(name)) for name in ranges)) for label, parts in by_label)
    return SummaryTable(title, RANGES_NOTE, ("encoder", *(escaped(named(p)) for p in ranges.values())), rows)


def _range_cell(part: Mapping[str, Any] | None) -> str:
    if part is None or part["mAP_N"] is None or part["missed"] is None:
        return "–"
    found = "" if part["found"] is None else f"; {number(part['found'])}"
    return f"{number(part['mAP_N'])} ({number(part['missed'])}{found})"
