"""The ground truth of an example in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitascope.core.actors import Keyframes


def describe_truth(truth: Any, classes: Sequence[str]) -> str:
    """The truth of an example in words, for a table: its class, or the number of actions of each class."""
    if isinstance(truth, int):
        return classes[truth] if 0 <= truth < len(classes) else str(truth)
    if isinstance(truth, Keyframes):
        labels = truth.labels
    else:
        labels = [s.label for s in truth] if isinstance(truth, tuple) else [label for label, _ in truth.runs]
    counts = {classes[label]: labels.count(label) for label in sorted(set(labels))}
    return ", ".join(f"{name} x {count}" if count > 1 else name for name, count in counts.items()) or "nothing"
