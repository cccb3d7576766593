"""A dataset that has vectors and no videos, as one json file beside its store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vitascope.core import files
from vitascope.core.migrate import DATASET as DATASET_NAMES
from vitascope.core.migrate import TASK_TYPE, current
from vitascope.core.types import Card, Dataset, Example, Fold, Segment, Timeline, plain


def write(path: Path, dataset: Dataset[Any]) -> None:
    """Write names, classes, examples, folds and the card of the vectors."""
    data: dict[str, Any] = {
        "name": dataset.name,
        "classes": dataset.classes,
        "examples": [[e.id, _said(e.truth)] for e in dataset.examples],
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
    """The dataset of such a file, whose vectors are in `store`."""
    data = json.loads(path.read_text(encoding="utf-8"))
    data = current(data, DATASET_NAMES)
    kind = TASK_TYPE.get(data.get("kind", "recognition"), data.get("kind", "recognition"))
    about = data.get("about") or [[None, None]] * len(data["examples"])
    return Dataset(
        name=data["name"],
        examples=tuple(
            Example(id=i, path="", truth=_truth(t, kind), duration=duration, group=group)
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


def _said(truth: Any) -> Any:
    """A truth as json has it: a number, [start, end, label] of each action, or runs and their rate."""
    if isinstance(truth, Timeline):
        return {"fps": truth.fps, "runs": truth.runs}
    return [[s.start, s.end, s.label] for s in truth] if isinstance(truth, tuple) else truth


def _truth(said: Any, kind: str) -> Any:
    if kind == "segmentation":
        return Timeline(tuple((label, count) for label, count in said["runs"]), said["fps"])
    return tuple(Segment(*segment) for segment in said) if kind == "localization" else said


DATASET = "dataset.json"


STORE = "store"


def open_published(folder: Path) -> Dataset[Any]:
    """The dataset of a folder that an import made."""
    return read(folder / DATASET, store=folder / STORE)
