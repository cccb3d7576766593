"""A dataset of precomputed embeddings without videos: one JSON file beside the store of the vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitascope.core import files
from vitascope.core.errors import DamagedFileError, UserError, reading
from vitascope.core.migrate import DATASET as DATASET_NAMES
from vitascope.core.migrate import TASK_TYPE, current
from vitascope.core.schema import conform
from vitascope.core.truth import classes_of
from vitascope.core.types import Card, Dataset, Example, Fold, Kind, Segment, Timeline, plain

DATASET = "dataset.json"
STORE = "store"


def write(path: Path, dataset: Dataset[Any]) -> None:
    """Write the classes, examples and folds of `dataset`, what else is known, and the card of the encoder."""
    data: dict[str, Any] = {
        "name": dataset.name,
        "classes": dataset.classes,
        "examples": [[e.id, _truth_to_json(e.truth)] for e in dataset.examples],
        "folds": plain(dataset.folds),
        "card": plain(dataset.cards[0]),
    }
    about = [[e.duration, e.group] for e in dataset.examples]
    optional = {
        "about": about if any(value is not None for values in about for value in values) else [],
        "missing_files": dataset.missing_files,
        "official_counts": dataset.official_counts,
        "notes": dataset.notes,
    }
    data |= {"kind": dataset.kind} | {name: value for name, value in optional.items() if value}
    files.write(path, json.dumps(data, ensure_ascii=False).encode())


AGAIN = "import the features again"


@dataclass(frozen=True)
class _Stored:
    """The content of the file."""

    name: str
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    card: Mapping[str, Any]
    kind: Kind = "recognition"
    about: tuple[tuple[float | None, str | None], ...] = ()
    missing_files: dict[str, str] = field(default_factory=dict)
    official_counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _StoredTimeline:
    fps: float
    runs: tuple[tuple[int, int], ...]


EXAMPLES: dict[str, Any] = {
    "recognition": tuple[tuple[str, int], ...] | tuple[tuple[str, tuple[int, ...]], ...],
    "localization": tuple[tuple[str, tuple[tuple[float, float, int], ...]], ...],
    "segmentation": tuple[tuple[str, _StoredTimeline], ...],
}
"""How the ids and the truths of examples are stored, by task type."""
MAX_FRAMES = 100_000_000
"""Labels of one video; so many fill the memory."""


def read(path: Path, *, store: Path) -> Dataset[Any]:
    """Read a dataset written by `write`; its vectors are in the folder `store`.

    Raises DamagedFileError for a file that is not one, or whose parts contradict each other.
    """
    data = current(files.read_json(path, AGAIN, dict[str, Any]), DATASET_NAMES)
    if isinstance(kind := data.get("kind"), str):
        data["kind"] = TASK_TYPE.get(kind, kind)
    listed = data.pop("examples", None)
    stored = conform(data, _Stored, str(path), AGAIN)
    if stored.kind not in EXAMPLES:
        raise DamagedFileError(f"{path}: imported vectors cannot be of kind {stored.kind!r}; {AGAIN}")
    known = stored.kind == "recognition" and _are_pairs(listed)
    examples = listed if known else conform(listed, EXAMPLES[stored.kind], f"{path}: examples", AGAIN)
    with reading(path, AGAIN):
        dataset = _dataset(stored, examples, store)
        _check(dataset)
        return dataset


def _are_pairs(listed: Any) -> bool:
    """Whether these are ids with one label each, as nearly always: told at a tenth of the time of `conform`."""
    return isinstance(listed, list) and all(
        type(pair) is list and len(pair) == 2 and type(pair[0]) is str and type(pair[1]) is int for pair in listed
    )


def _dataset(stored: _Stored, listed: Sequence[Sequence[Any]], store: Path) -> Dataset[Any]:
    about = stored.about or ((None, None),) * len(listed)
    if len(about) != len(listed):
        raise UserError(f"about: {len(about)} entries for {len(listed)} examples")
    own = {i: i for i, _ in listed}  # one text for each id, in examples and folds
    folds = (Fold(name=f.name, train=_same(f.train, own), test=_same(f.test, own)) for f in stored.folds)
    return Dataset(
        name=stored.name,
        examples=tuple(
            Example(id=i, path="", truth=_truth(t), duration=duration, group=group)
            for (i, t), (duration, group) in zip(listed, about, strict=True)
        ),
        classes=stored.classes,
        folds=tuple(folds),
        cards=(Card.from_data(stored.card),),
        store=str(store),
        kind=stored.kind,
        missing_files=stored.missing_files,
        official_counts=stored.official_counts,
        notes=stored.notes,
    )


def _same(ids: Sequence[str], own: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(own.get(i, i) for i in ids)


def _check(dataset: Dataset[Any]) -> None:
    """Raise `UserError` if the parts of a dataset are inconsistent, as in a damaged file."""
    ids = {e.id for e in dataset.examples}
    if len(ids) < len(dataset.examples):
        raise UserError("two examples have the same id")
    for fold in dataset.folds:
        if unlisted := {*fold.train, *fold.test} - ids:
            raise UserError(f"{fold.name} contains {min(unlisted)!r}, which is not an example")
    if any(e.duration is not None and e.duration < 0 for e in dataset.examples):
        raise UserError("a duration is negative")
    if any(isinstance(e.truth, Timeline) and e.truth.frames > MAX_FRAMES for e in dataset.examples):
        raise UserError(f"a timeline of more than {MAX_FRAMES:,} frames")
    labels = [label for e in dataset.examples for label in classes_of(e.truth)]
    if any(not 0 <= label < len(dataset.classes) for label in labels):
        raise UserError(f"a label is not one of the {len(dataset.classes)} classes")


def _truth_to_json(truth: Any) -> Any:
    """Ground truth as JSON data: class indices, [start, end, label] per action, or the runs and rate of a timeline."""
    if isinstance(truth, Timeline):
        return {"fps": truth.fps, "runs": truth.runs}
    if isinstance(truth, tuple):
        return [[part.start, part.end, part.label] if isinstance(part, Segment) else part for part in truth]
    return truth


def _truth(stored: Any) -> Any:
    if isinstance(stored, _StoredTimeline):
        return Timeline(stored.runs, stored.fps)
    if isinstance(stored, tuple):
        return tuple(Segment(*part) if isinstance(part, tuple) else part for part in stored)
    return stored


def open_precomputed(folder: Path) -> Dataset[Any]:
    """Open a folder of precomputed embeddings, as written by `vitascope import`."""
    return read(folder / DATASET, store=folder / STORE)
