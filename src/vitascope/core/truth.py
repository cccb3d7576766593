"""Ground truth of any task: its classes, and its description in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitascope.core.actors import Keyframes
from vitascope.core.types import Segment, Timeline

UNLABELED = "no label"
"""The class of videos without one, where a probe does without."""


def classes_of(truth: Any) -> list[int]:
    """The class indices in the ground truth of any task, in order."""
    if type(truth) is int:  # of most examples, of which there may be very many
        return [truth]
    if isinstance(truth, Timeline):
        return [label for label, _ in truth.runs]
    if isinstance(truth, Keyframes):
        return truth.labels
    parts = truth if isinstance(truth, tuple) else (truth,)
    return [part.label if isinstance(part, Segment) else part for part in parts]


def describe_truth(truth: Any, classes: Sequence[str]) -> str:
    """The truth of an example in words, for a table: its class, or the number of actions of each class."""
    if isinstance(truth, int):
        return classes[truth] if 0 <= truth < len(classes) else str(truth)
    labels = classes_of(truth)
    counts = {classes[label]: labels.count(label) for label in sorted(set(labels))}
    return ", ".join(f"{name} x {count}" if count > 1 else name for name, count in counts.items()) or "nothing"
