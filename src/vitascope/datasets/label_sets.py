"""Multi-label datasets: every example belongs to any number of classes, none included."""

from __future__ import annotations

from collections import Counter
from typing import Any

from vitascope.core.truth import classes_of
from vitascope.core.types import Dataset, Segment

NO_CLASS = -1
"""The stratum of examples that belong to no class."""


def is_multilabel(dataset: Dataset[Any]) -> bool:
    """Whether the truth of the examples is a tuple of class indices."""
    return dataset.kind == "recognition" and any(
        isinstance(e.truth, tuple) and not any(isinstance(part, Segment) for part in e.truth) for e in dataset.examples
    )


def several_phrase(dataset: Dataset[Any]) -> str:
    """How many labels the examples of a multi-label dataset have, in words before the number of classes; else empty."""
    if not is_multilabel(dataset):
        return ""
    counts = [len(e.truth) for e in dataset.examples]
    none = f", {counts.count(0)} have none" if 0 in counts else ""
    return (
        f"several per example (mean {sum(counts) / len(counts):.1f}, at most {max(counts)}{none}), scored by mAP, of "
    )


def class_strata(dataset: Dataset[Any]) -> dict[str, int]:
    """The class of every example by id: of several the rarest, `NO_CLASS` of none; 0 for all unless recognition."""
    if dataset.kind != "recognition":
        return dict.fromkeys((e.id for e in dataset.examples), 0)
    counts = Counter(label for e in dataset.examples for label in classes_of(e.truth))
    return {
        e.id: min(classes_of(e.truth), key=lambda label: (counts[label], label), default=NO_CLASS)
        for e in dataset.examples
    }
