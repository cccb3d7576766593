"""A dataset of precomputed embeddings without videos: one JSON file beside the store of the vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitascope.core import files
from vitascope.core.errors import UserError, reading
from vitascope.core.files import read_json
from vitascope.core.migrate import DATASET as DATASET_NAMES
from vitascope.core.migrate import TASK_TYPE, current
from vitascope.core.type_check import check_fields, fits
from vitascope.core.types import Card, Dataset, Example, Fold, Segment, Timeline, plain

DATASET = "dataset.json"
STORE = "store"


def write(path: Path, dataset: Dataset[Any]) -> None:
    """Write the classes, examples and folds of `dataset` and the card of the encoder of its vectors."""
    data: dict[str, Any] = {
        "name": dataset.name,
        "classes": dataset.classes,
        "examples": [[e.id, _truth_to_json(e.truth)] for e in dataset.examples],
        "folds": plain(dataset.folds),
        "card": plain(dataset.cards[0]),
    }
    if dataset.kind != "recognition":
        data |= {
            "kind": dataset.kind,
            "about": [[e.duration, e.group] for e in dataset.examples],
            "missing_files": dataset.missing_files,
            "official_counts": dataset.official_counts,
            "notes": dataset.notes,
        }
    files.write(path, json.dumps(data, ensure_ascii=False).encode())


def read(path: Path, *, store: Path) -> Dataset[Any]:
    """Read a dataset written by `write`; its vectors are in the folder `store`."""
    with reading(path, "import the features again"):
        dataset = _dataset_from_json(read_json(path, "import the features again"), store)
        _check(dataset)
        return dataset


def _dataset_from_json(data: Any, store: Path) -> Dataset[Any]:
    data = current(data, DATASET_NAMES)
    kind = TASK_TYPE.get(data.get("kind", "recognition"), data.get("kind", "recognition"))
    about = data.get("about") or [[None, None]] * len(data["examples"])
    return Dataset(
        name=data["name"],
        examples=tuple(
            Example(id=i, path="", truth=_truth_from_json(t, kind), duration=duration, group=group)
            for (i, t), (duration, group) in zip(data["examples"], about, strict=True)
        ),
        classes=tuple(data["classes"]),
        folds=tuple(Fold(name=f["name"], train=tuple(f["train"]), test=tuple(f["test"])) for f in data["folds"]),
        cards=(Card.from_data(data["card"]),),
        store=str(store),
        kind=kind,
        missing_files=data.get("missing_files", {}),
        official_counts=data.get("official_counts", {}),
        notes=tuple(data.get("notes", ())),
    )


def _check(dataset: Dataset[Any]) -> None:
    """Raise `UserError` if the parts of a dataset are inconsistent, as in a damaged file."""
    check_fields(dataset)
    for example in dataset.examples:
        check_fields(example)
    ids = {e.id for e in dataset.examples}
    if len(ids) < len(dataset.examples):
        raise UserError("two examples have the same id")
    for fold in dataset.folds:
        check_fields(fold)
        if unlisted := {*fold.train, *fold.test} - ids:
            raise UserError(f"{fold.name} contains {min(unlisted)!r}, which is not an example")
    check_fields(dataset.cards[0])
    labels = [label for e in dataset.examples for label in _labels(e.truth)]
    if any(not fits(label, int) or not 0 <= label < len(dataset.classes) for label in labels):
        raise UserError(f"a label is not one of the {len(dataset.classes)} classes")


def _labels(truth: Any) -> Iterator[Any]:
    """The class indices in the ground truth of any task type."""
    if isinstance(truth, Timeline):
        check_fields(truth)
        yield from (label for label, _ in truth.runs)
    elif isinstance(truth, tuple):
        for segment in truth:
            check_fields(segment)
            yield segment.label
    else:
        yield truth


def _truth_to_json(truth: Any) -> Any:
    """Ground truth as JSON data: a class index, [start, end, label] per action, or the runs and rate of a timeline."""
    if isinstance(truth, Timeline):
        return {"fps": truth.fps, "runs": truth.runs}
    return [[s.start, s.end, s.label] for s in truth] if isinstance(truth, tuple) else truth


def _truth_from_json(data: Any, kind: str) -> Any:
    if kind == "segmentation":
        return Timeline(tuple((label, count) for label, count in data["runs"]), data["fps"])
    return tuple(Segment(*segment) for segment in data) if kind == "localization" else data


def open_precomputed(folder: Path) -> Dataset[Any]:
    """Open a folder of precomputed embeddings, as written by `vitascope import`."""
    return read(folder / DATASET, store=folder / STORE)
