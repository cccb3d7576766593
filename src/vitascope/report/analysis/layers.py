"""Layers: scores of every probed block of an encoder, beside that of the encoder's own vector under the same settings.

Differences are paired: layer minus own vector on the same test examples, in points, with the interval and the p-value
of `stats.paired`, Holm-adjusted over the layers of an encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.motion_effect import AccuracyDrop, accuracy_drop, align, evidence, holm_adjusted


class LayerTask(NamedTuple):
    """A task evaluated on layers."""

    own: Column | None
    """The same task on the encoders' own vectors."""
    column: Column
    """Any column of a layer, to read what all of them share."""
    scores: Mapping[int, Mapping[int, Score]]
    """By encoder row and number of the block, in ascending order."""
    depths: Mapping[int, int]
    """Number of blocks by encoder row."""
    gaps: Mapping[int, Mapping[int, AccuracyDrop]]
    """Layer minus own vector, by row and block, for those with saved predictions."""


def layer_tasks(board: Leaderboard) -> list[LayerTask]:
    """Group the columns of layers by task; layers on altered clips or fewer training examples are left out."""
    groups: dict[tuple[str, bool], list[Column]] = {}
    for column in board.variants():
        if column.variant.keys() == {"layer", "of"}:
            groups.setdefault((column.variant["of"], column.limited), []).append(column)
    return [_layer_task(board, of, columns) for (of, _), columns in groups.items()]


def _layer_task(board: Leaderboard, of: str, columns: list[Column]) -> LayerTask:
    first = columns[0]
    own = next((c for c in board.plain() if (c.task, c.limited) == (of, first.limited)), None)
    cells: dict[int, dict[int, Result]] = {}
    for column in sorted(columns, key=lambda c: _place(c)[0]):
        for row, result in column.cells.items():
            cells.setdefault(row, {})[_place(column)[0]] = result
    depths = {row: _place(c)[1] for c in columns for row in c.cells}
    scores = {row: {n: r.headline for n, r in by_block.items()} for row, by_block in sorted(cells.items())}
    gaps = {row: _gaps(own.cells[row], by_block) for row, by_block in cells.items() if own and row in own.cells}
    return LayerTask(own, first, scores, depths, gaps)


def _place(column: Column) -> tuple[int, int]:
    """Number of the block, and number of all blocks."""
    block, _, depth = column.variant["layer"].partition("/")
    return int(block), int(depth)


def _gaps(own: Result, layers: Mapping[int, Result]) -> dict[int, AccuracyDrop]:
    reference = evidence(own)
    pairs = {block: align(evidence(result), reference) for block, result in layers.items()}
    measured = {block: accuracy_drop(pair) for block, pair in pairs.items() if pair}
    return dict(zip(measured, holm_adjusted(list(measured.values())), strict=True))
