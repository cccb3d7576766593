"""How a dataset was understood, in a few lines, before anything is decoded."""

from __future__ import annotations

from collections import Counter
from typing import Any

from vitascope.core.text import escaped
from vitascope.core.truth import classes_of
from vitascope.core.types import Dataset
from vitascope.datasets.audit.leaks import divided_sources, recording
from vitascope.datasets.label_sets import several_phrase
from vitascope.datasets.splits import are_drawn

MAX_CLASSES = 6
"""Number of classes that are counted one by one."""
IGNORED = "ignored: "
"""Start of the note on what was met and not used."""


def describe(dataset: Dataset[Any]) -> list[str]:
    """What the examples were read from, their labels, splits and groups, and what was ignored."""
    ignored = [note.removeprefix(IGNORED) for note in dataset.notes if note.startswith(IGNORED)]
    lines = [
        f"layout: {dataset.layout or f'annotations of {dataset.name}: {len(dataset.examples)} examples'}",
        f"labels: {_labels(dataset)}",
        *([f"boxes: {_boxes(dataset)}"] if dataset.kind == "detection" else []),
        f"split: {_split(dataset)}",
        f"groups: {_groups(dataset)}",
        f"ignored: {'; '.join(ignored) or 'nothing'}",
    ]
    return [escaped(line) for line in lines]


COUNTED = {"localization": "actions of ", "segmentation": "steps of ", "detection": "actors with "}
"""What has a class, by task type."""


def _labels(dataset: Dataset[Any]) -> str:
    counts = Counter(label for e in dataset.examples for label in classes_of(e.truth))
    shown = [f"{dataset.classes[label]} {count}" for label, count in sorted(counts.items())[:MAX_CLASSES]]
    more = [f"and {len(counts) - MAX_CLASSES} more"] if len(counts) > MAX_CLASSES else []
    what = COUNTED.get(dataset.kind) or several_phrase(dataset)
    return f"{what}{len(dataset.classes)} classes ({', '.join([*shown, *more])})"


def _boxes(dataset: Dataset[Any]) -> str:
    """Numbers of videos, keyframes, actors and tracks of a set of boxes."""
    videos = {e.path or e.group for e in dataset.examples}
    times = sum(len(e.truth.times) for e in dataset.examples)
    actors = [actor for e in dataset.examples for actor in e.truth.actors]
    crowd = Counter((e.id, actor.time) for e in dataset.examples for actor in e.truth.actors)
    empty, most = times - len(crowd), max(crowd.values(), default=0)
    tracks = len({(e.path, a.track) for e in dataset.examples for a in e.truth.actors if a.track >= 0})
    return (
        f"{len(videos):,} videos, {times:,} keyframes ({empty:,} without people), {len(actors):,} actors, "
        f"{len(actors) / max(times, 1):.1f} per keyframe (at most {most}), {f'{tracks:,}' if tracks else 'no'} tracks"
    )


def _split(dataset: Dataset[Any]) -> str:
    if len(dataset.folds) == 1:
        (fold,) = dataset.folds
        return f"given ({fold.name}): {len(fold.train)} to train, {len(fold.test)} to test"
    return f"none given: {len(dataset.folds)} folds" if are_drawn(dataset) else f"{len(dataset.folds)} given"


def _groups(dataset: Dataset[Any]) -> str:
    grouped = [e.group for e in dataset.examples if e.group is not None]
    if not grouped and not dataset.divided_groups:
        return "none; every example is a recording of its own"
    count = len({*grouped, *dataset.divided_groups.values()})
    divided = len(divided_sources(dataset, recording(dataset)).pairs)
    how = f"the split divides them, at {divided} test examples" if divided else "no fold divides one"
    alone = len(dataset.examples) - len(grouped) - len(dataset.divided_groups)
    every = f"{len(dataset.examples) - alone} examples of {count} recordings or groups"
    return f"{every}; {how}{f'; {alone} examples of their own' if alone else ''}"
