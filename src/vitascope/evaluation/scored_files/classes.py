"""Top-1 accuracy of files of class scores: csv or npz."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from vitascope.core.arrays import read_arrays
from vitascope.core.errors import UserError
from vitascope.core.names import canonical
from vitascope.core.text import counted, nearest, whole_number
from vitascope.core.types import Score
from vitascope.datasets.readers.annotation_files import ClassOrder, text_of
from vitascope.evaluation.scored_files.scored import DRAWS, SEED, Scored
from vitascope.metrics import accuracy, stats

FORMS = (
    "csv rows of an id and a score per class, with a header of class names or without, or npz: ids, scores[, classes]"
)


@dataclass(frozen=True)
class ClassScores:
    """Scores of examples (n, classes), and the names of the classes, empty if they are numbers."""

    ids: tuple[str, ...]
    scores: Float64[ndarray, "n c"]
    classes: tuple[str, ...]


def accuracy_scores(truth: Path, predictions: Sequence[Path]) -> list[Scored]:
    """Top-1 (headline), top-5 and mean class accuracy of each file, with intervals over examples."""
    labels = _truth(truth)
    return [_accuracy(path, labels, truth) for path in predictions]


def _accuracy(path: Path, labels: dict[str, str], truth: Path) -> Scored:
    given = read_class_scores(path)
    order = ClassOrder(given.classes or tuple(map(str, range(given.scores.shape[1]))))
    place = {name: row for row, name in enumerate(given.ids)}
    ids = [name for name in labels if name in place]
    if not ids:
        raise UserError(
            f"{path}: none of its ids, such as {given.ids[0]!r}, is in {truth}{nearest(given.ids[0], labels)}"
        )
    target = np.array([order.index(labels[name], f"{truth}: {name}") for name in labels], np.int64)
    known = np.array([name in place for name in labels])
    table = given.scores[[place[name] for name in ids]]
    outcomes = np.zeros(len(labels))
    outcomes[known] = accuracy.outcomes(table, target[known])
    rng = np.random.default_rng(SEED)
    scores = {"top-1": stats.bootstrap(outcomes, draws=DRAWS, rng=rng)}
    if table.shape[1] > 5:
        top = np.zeros(len(labels))
        top[known] = 100.0 * accuracy.hits(table, target[known], 5)
        scores["top-5"] = stats.bootstrap(top, draws=DRAWS, rng=rng)
    per_class = {
        order.classes[c]: stats.bootstrap(outcomes[target == c], draws=DRAWS, rng=rng) for c in np.unique(target)
    }
    scores["mean class accuracy"] = Score(float(np.mean([score.value for score in per_class.values()])))
    extra, missing = len(given.ids) - len(ids), int((~known).sum())
    notes = [f"{counted(len(labels), 'example')}, {counted(table.shape[1], 'class', 'classes')}"]
    notes += [f"{counted(missing, 'example')} without predictions: wrong"] if missing else []
    notes += [f"{counted(extra, 'prediction')} of examples that are not in the truth: not counted"] if extra else []

    def statistic(weights: Int64[ndarray, "b u"]) -> Float64[ndarray, "b 1"]:
        share: Float64[ndarray, "b 1"] = (weights @ outcomes / weights.sum(axis=1))[:, None]
        return share

    return Scored(
        str(path), scores, per_class, statistic, len(labels), notes, {name: s.value for name, s in scores.items()}
    )


def _truth(path: Path) -> dict[str, str]:
    """{id: label} from rows `id,label`, with or without this header."""
    rows = _rows(path)
    if rows and [cell.lower() for cell in rows[0][1]][:2] in (["id", "label"], ["video", "label"], ["path", "label"]):
        rows = rows[1:]
    labels: dict[str, str] = {}
    for line, cells in rows:
        if len(cells) != 2:
            raise UserError(f"{path}:{line}: {len(cells)} cells; expected an id and a label")
        if cells[0] in labels:
            raise UserError(f"{path}:{line}: {cells[0]!r} is listed twice")
        labels[cells[0]] = cells[1]
    if not labels:
        raise UserError(f"{path}: no rows; expected id,label in each")
    return labels


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text_of(path), newline=""), skipinitialspace=True)
    try:
        return [(reader.line_num, [canonical(cell) for cell in cells]) for cells in reader if any(cells)]
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not a table ({error})") from None


def read_class_scores(path: Path) -> ClassScores:
    """Read and check a file of class scores; UserError for what is none of `FORMS`."""
    made = _of_arrays(path) if path.suffix.lower() == ".npz" else _of_rows(path)
    if not len(made.ids) or made.scores.ndim != 2 or len(made.ids) != len(made.scores):
        raise UserError(f"{path}: {len(made.ids)} ids for scores of shape {made.scores.shape}; expected {FORMS}")
    bad = np.flatnonzero(~np.isfinite(made.scores).all(axis=1))
    if bad.size:
        raise UserError(f"{path}: a score of {made.ids[bad[0]]!r} is not a finite number")
    if len(set(made.ids)) < len(made.ids):
        twice = next(name for i, name in enumerate(made.ids) if name in made.ids[:i])
        raise UserError(f"{path}: {twice!r} is listed twice")
    if made.classes and len(made.classes) != made.scores.shape[1]:
        raise UserError(f"{path}: {len(made.classes)} classes for {made.scores.shape[1]} scores")
    return made


def _of_arrays(path: Path) -> ClassScores:
    arrays = read_arrays(path, f"expected {FORMS}")
    for name in ("ids", "scores"):
        if name not in arrays:
            raise UserError(f"{path}: no array {name!r}{nearest(name, arrays)}; it has {', '.join(list(arrays)[:8])}")
    if arrays["scores"].dtype.kind not in "fiu":
        raise UserError(f"{path}: scores are {arrays['scores'].dtype}, not numbers")
    ids, classes = (
        tuple(canonical(str(x)) for x in arrays.get(k, np.empty(0)).ravel().tolist()) for k in ("ids", "classes")
    )
    return ClassScores(ids, arrays["scores"].astype(np.float64), classes)


def _of_rows(path: Path) -> ClassScores:
    rows = _rows(path)
    if not rows:
        raise UserError(f"{path}: no rows; expected {FORMS}")
    head = [] if all(_is_number(cell) for cell in rows[0][1][1:]) and not _is_index(rows[0][1][1:]) else rows[0][1][1:]
    rows = rows[1:] if head else rows
    if not rows:
        raise UserError(f"{path}: a header and no rows; expected {FORMS}")
    width = len(rows[0][1])
    for line, cells in rows:
        if len(cells) != width or width < 2:
            raise UserError(f"{path}:{line}: {len(cells)} cells where others have {width}; expected {FORMS}")
        bad = next((cell for cell in cells[1:] if not _is_number(cell)), None)
        if bad is not None:
            raise UserError(f"{path}:{line}: {bad!r:.40} is not a number")
    table = np.array([[float(cell) for cell in cells[1:]] for _, cells in rows]).reshape(len(rows), -1)
    classes = () if _is_index(head) else tuple(head)
    return ClassScores(tuple(cells[0] for _, cells in rows), table, classes)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_index(cells: Sequence[str]) -> bool:
    """Whether a header counts the classes: 0, 1, 2 ..."""
    return len(cells) > 1 and [whole_number(cell) for cell in cells] == list(range(len(cells)))
