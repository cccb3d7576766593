"""What a sweep found, as plain data: of every run its compute and its outcome for every test example."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitascope.core import files
from vitascope.core.errors import UserError
from vitascope.core.files import read_json
from vitascope.evaluation.results import Result, read_predictions

FILE = "sweep.json"
"""File in the folder of a sweep."""
VERSION = 1
FULL = 100.0
COLUMNS = ("id", "label", "group", "outcome", "fold")


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The test examples of a dataset, in order."""

    ids: tuple[str, ...]
    labels: tuple[str, ...] = ()
    """Class of each; empty if they have no single label."""
    groups: tuple[str, ...] = ()
    """Group of each; empty if there are none."""


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """One training and its scores."""

    recipe: str
    """Name of the recipe as given."""
    seed: int
    steps: int
    clips: int
    """Clips consumed, steps times batch."""
    tflops: float
    """Compute of the training: student, decoders, teachers and optimizer."""
    without: tuple[str, ...] = ()
    """Labels of MotionLab that were never shown in training."""
    digest: str = ""
    """Of what determines the weights: the run stands for its recipe when its folder is gone; empty: unknown."""
    evaluated: tuple[str, ...] = ()
    """Every dataset with every probe, as they were given."""
    outcomes: Mapping[str, str] = field(default_factory=dict)
    """By `dataset:probe`: a digit for each test example in order, 1 for right."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All runs of a sweep."""

    runs: tuple[SweepRun, ...]
    examples: Mapping[str, Examples]
    """Test examples by dataset."""
    version: int = VERSION

    @property
    def recipes(self) -> list[str]:
        """Names of the recipes in order."""
        return list(dict.fromkeys(run.recipe for run in self.runs))

    @property
    def tasks(self) -> list[str]:
        """`dataset:probe` of all runs, in order."""
        return list(dict.fromkeys(task for run in self.runs for task in run.outcomes))

    def runs_of(self, recipe: str) -> list[SweepRun]:
        """The runs of a recipe."""
        return [run for run in self.runs if run.recipe == recipe]

    def outcomes(self, recipe: str, task: str) -> NDArray[np.float64] | None:
        """Outcomes in percent, runs x examples, of the runs that have this task; None if none has."""
        rows = [run.outcomes[task] for run in self.runs_of(recipe) if task in run.outcomes]
        return np.array([[FULL * (digit == "1") for digit in row] for row in rows]) if rows else None


def read(path: Path) -> Sweep:
    """Read a sweep from its file or its folder. Raises UserError if it is none."""
    path = path / FILE if path.is_dir() else path
    remedy = "run `vitascope sweep` again to write it"
    if not path.is_file():
        raise UserError(f"{path}: no such file; `vitascope sweep RECIPE ... -o FOLDER` writes {FILE}")
    sweep: Sweep = read_json(path, remedy, Sweep)
    if sweep.version != VERSION:
        raise UserError(f"{path}: version {sweep.version}, this program reads {VERSION}; {remedy}")
    if not sweep.runs:
        raise UserError(f"{path}: no runs in it; {remedy}")
    for run in sweep.runs:
        for task, digits in run.outcomes.items():
            examples = sweep.examples.get(dataset_of(task))
            if examples is None or len(examples.ids) != len(digits) or not set(digits) <= {"0", "1"}:
                raise UserError(f"{path}: outcomes of {run.recipe} on {task} do not match its examples; {remedy}")
    return sweep


def write(sweep: Sweep, path: Path) -> None:
    """Write a sweep, a run a line."""
    runs = ",\n".join(json.dumps(asdict(run)) for run in sweep.runs)
    examples = ",\n".join(f"{json.dumps(name)}: {json.dumps(asdict(e))}" for name, e in sweep.examples.items())
    text = f'{{"version": {sweep.version},\n"runs": [\n{runs}\n],\n"examples": {{\n{examples}\n}}}}\n'
    files.write(path, text.encode())


def dataset_of(task: str) -> str:
    """The dataset of `dataset:probe`."""
    return task.partition(":")[0]


def left_out(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """Labels that none of a recipe's sources shows, of a recipe as plain data."""
    sources = [source for source, _ in recipe.get("data", [])]
    sets = [set(source.get("without", ())) for source in sources]
    return tuple(label for label in (sources[0].get("without", ()) if sources else ()) if all(label in s for s in sets))


def outcomes_of(
    found: Iterable[Result], folder: Path, examples: Mapping[str, Examples]
) -> tuple[dict[str, str], dict[str, Examples]]:
    """The outcomes of results with predictions in `folder`, by task, and the examples that they are of.

    Datasets that are in `examples` keep their order. Raises UserError for outcomes other than right and wrong, and for
    other examples than those of the runs before.
    """
    outcomes: dict[str, str] = {}
    known = dict(examples)
    for result in found:
        columns = read_predictions(folder / result.predictions, COLUMNS, top=1)
        _check(result, columns)
        mine = _examples(columns)
        known.setdefault(result.dataset, mine)
        by_id = dict(zip(mine.ids, columns["outcome"], strict=True))
        if set(by_id) != set(known[result.dataset].ids):
            raise UserError(f"{folder}: {result.task} was scored on other examples than the runs before")
        outcomes[result.task] = "".join("1" if by_id[id] else "0" for id in known[result.dataset].ids)
    return outcomes, known


def _check(result: Result, columns: Mapping[str, Sequence[Any]]) -> None:
    if "outcome" not in columns or not set(columns["outcome"]) <= {0, FULL}:
        raise UserError(f"{result.task}: a sweep compares what is right or wrong for each example; use another probe")


def _examples(columns: Mapping[str, Sequence[Any]]) -> Examples:
    """Ids with their fold, if there are several; labels and groups as text."""
    folds = columns.get("fold", [0] * len(columns["id"]))
    several = len(set(folds)) > 1
    ids = tuple(f"{fold}/{id}" if several else str(id) for fold, id in zip(folds, columns["id"], strict=True))
    groups = [g or i for g, i in zip(columns.get("group", ids), ids, strict=True)]
    return Examples(
        ids=ids,
        labels=tuple(map(str, columns.get("label", ()))),
        groups=tuple(map(str, groups)) if len(set(groups)) < len(ids) else (),
    )
