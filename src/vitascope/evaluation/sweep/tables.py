"""Tables of a sweep, one per probe: compute, scores and differences with intervals over seeds and test examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.text import margin, nearest, number, with_interval
from vitascope.core.types import Score
from vitascope.evaluation.sweep.records import Examples, Sweep, dataset_of
from vitascope.metrics.training_seeds import difference_over_seeds, mean_over_seeds

NONE = "–"
"""Cell of a recipe without this score."""


class Table(NamedTuple):
    """A table as text; the first column is the name of a recipe."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class _Column(NamedTuple):
    """Examples of one or several tasks whose outcomes are averaged."""

    head: str
    tasks: tuple[str, ...]
    chosen: NDArray[np.bool_]


def tables(sweep: Sweep, reference: str = "") -> list[Table]:
    """One table for each probe: every dataset, their mean if the examples are the same, and what was left out.

    `reference` is a recipe whose difference from each other is shown, for the last of the columns of all examples.
    Raises UserError for a reference without runs.
    """
    if reference and reference not in sweep.recipes:
        raise UserError(f"no run of {reference}{nearest(reference, sweep.recipes)} in this sweep")
    probes = dict.fromkeys(task.partition(":")[2] for task in sweep.tasks)
    return [_table(sweep, probe, reference) for probe in probes]


def markdown(table: Table) -> str:
    """A table as Markdown, numbers to the right."""
    rule = ("---", *("---:",) * (len(table.heads) - 1))
    return "".join(f"| {' | '.join(row)} |\n" for row in (table.heads, rule, *table.rows))


def _table(sweep: Sweep, probe: str, reference: str) -> Table:
    tasks = [task for task in sweep.tasks if task.partition(":")[2] == probe]
    whole, parts = list(_whole(sweep, tasks)), list(_left_out(sweep, tasks))
    heads = ["recipe", "seeds", "steps", "TFLOP", *(column.head for column in (*whole, *parts))]
    if reference:
        heads.append(f"{reference} minus this ({whole[-1].head})")
    rows = [_row(sweep, recipe, [*whole, *parts], (reference, whole[-1])) for recipe in sweep.recipes]
    return Table(probe, tuple(heads), tuple(tuple(row) for row in rows))


def _row(sweep: Sweep, recipe: str, columns: Sequence[_Column], compared: tuple[str, _Column]) -> Iterator[str]:
    runs = sweep.runs_of(recipe)
    yield from (recipe, str(len(runs)), f"{runs[0].steps:,}", number(runs[0].tflops))
    for column in columns:
        rows = _outcomes(sweep, recipe, column)
        groups = _groups(sweep, column)
        yield with_interval(mean_over_seeds(rows, groups)) if rows is not None else NONE
    if compared[0]:
        yield _difference(sweep, *compared, recipe)


def _difference(sweep: Sweep, reference: str, column: _Column, recipe: str) -> str:
    ours, theirs = _outcomes(sweep, reference, column), _outcomes(sweep, recipe, column)
    if recipe == reference or ours is None or theirs is None:
        return NONE
    found = difference_over_seeds(ours, theirs, _groups(sweep, column))
    return margin(Score(found.value, found.low, found.high))


def _whole(sweep: Sweep, tasks: Sequence[str]) -> Iterator[_Column]:
    """A column for each dataset, and one for their mean if they have the same examples."""
    for task in tasks:
        yield _Column(_short(task, tasks), (task,), np.ones(len(_examples(sweep, task).ids), bool))
    ids = {_examples(sweep, task).ids for task in tasks}
    if len(tasks) > 1 and len(ids) == 1:
        yield _Column("mean", tuple(tasks), np.ones(len(ids.pop()), bool))


def _left_out(sweep: Sweep, tasks: Sequence[str]) -> Iterator[_Column]:
    """Columns of the examples whose class no run was shown in training."""
    without = set[str].intersection(*(set(run.without) for run in sweep.runs))
    for task in tasks:
        chosen = np.array([label in without for label in _examples(sweep, task).labels], bool)
        if chosen.any():
            yield _Column(f"{_short(task, tasks)}, held out", (task,), chosen)


def _outcomes(sweep: Sweep, recipe: str, column: _Column) -> NDArray[np.float64] | None:
    """Runs x examples, percent."""
    found = [rows for task in column.tasks if (rows := sweep.outcomes(recipe, task)) is not None]
    if len(found) < len(column.tasks) or len({len(rows) for rows in found}) > 1:
        return None
    mean: NDArray[np.float64] = np.mean([rows[:, column.chosen] for rows in found], axis=0)
    return mean


def _groups(sweep: Sweep, column: _Column) -> list[str] | None:
    groups = _examples(sweep, column.tasks[0]).groups
    return [group for group, chosen in zip(groups, column.chosen, strict=True) if chosen] if groups else None


def _examples(sweep: Sweep, task: str) -> Examples:
    return sweep.examples[dataset_of(task)]


def _short(task: str, tasks: Sequence[str]) -> str:
    """The dataset's variant, such as `motion`, if all datasets are of one family."""
    datasets = [dataset_of(each) for each in tasks]
    one_family = len({name.partition("/")[0] for name in datasets}) == 1 and len(datasets) > 1
    return dataset_of(task).partition("/")[2] if one_family else dataset_of(task)
