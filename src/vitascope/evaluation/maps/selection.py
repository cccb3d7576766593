"""Which examples a map shows: by split and class, and what share of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.names import NameIndex
from vitascope.core.text import counted, nearest, whole_number
from vitascope.core.types import Dataset, Example
from vitascope.evaluation.maps.projections import SEED

Split: TypeAlias = Literal["test", "train", "all"]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Examples of a dataset, by what its annotations say."""

    split: Split = "test"
    """Test examples of any fold (all of a folder whose folds are drawn), training examples of any, or all."""
    classes: tuple[str, ...] = ()
    """Names or numbers of the classes to show; all if there are none."""
    exclude: tuple[str, ...] = ()
    """Names or numbers of classes to leave out."""
    random_classes: int = 0
    """Draw so many of the classes; 0: take all."""
    share: float = 1.0
    """Share of the examples of each class to draw, at least one of each."""
    seed: int = SEED

    def __post_init__(self) -> None:
        """Reject a share that leaves nothing, or more than everything."""
        if not 0 < self.share <= 1:
            raise UserError(f"--share {self.share:g}: must be above 0 and at most 1 (or 100%); 0.5 shows half")


def read_share(text: str) -> float:
    """Return the share written as `0.5` or `50%`; UserError for other text."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UserError(f"--share {text!r}: must be a number above 0 and at most 1, or a percentage, as 50%") from None


def selected(dataset: Dataset[Any], selection: Selection) -> list[Example[int]]:
    """Return the examples to show, in the order of the dataset; UserError for classes it lacks, or where none is left.

    Only datasets with one class per video can be shown.
    """
    if dataset.kind != "recognition" or any(not isinstance(e.truth, int) for e in dataset.examples):
        what = "several labels per video" if dataset.kind == "recognition" else f"actions in time ({dataset.kind})"
        raise UserError(f"{dataset.name} has {what}, but a map colors each video by one class; map a recognition set")
    classes = chosen_classes(dataset, selection)
    sides = [(*fold.train, *fold.test) for fold in dataset.folds]
    if selection.split != "all":
        sides = [fold.train if selection.split == "train" else fold.test for fold in dataset.folds]
    inside = {i for side in sides for i in side}
    examples = [e for e in dataset.examples if e.id in inside and e.truth in classes]
    kept = _drawn(examples, selection)
    if not kept:
        raise UserError(f"{dataset.name}: no example of {_listed(dataset, classes)} is in the {selection.split} split")
    return kept


def chosen_classes(dataset: Dataset[Any], selection: Selection) -> set[int]:
    """Return the labels to show; UserError for a name of no class, with the nearest, or if none is left."""
    labels = {class_of(dataset, name, "--class") for name in selection.classes} or {*range(len(dataset.classes))}
    labels -= {class_of(dataset, name, "--exclude-class") for name in selection.exclude}
    if not labels:
        raise UserError(f"--exclude-class leaves none of the classes of {dataset.name}; exclude fewer")
    if selection.random_classes > len(labels):
        raise UserError(
            f"--random-classes {selection.random_classes}: there are {counted(len(labels), 'class', 'classes')} to "
            "draw from; draw fewer"
        )
    if selection.random_classes:
        rng = np.random.default_rng(selection.seed)
        labels = set(rng.choice(sorted(labels), selection.random_classes, replace=False).tolist())
    return labels


def class_of(dataset: Dataset[Any], name: str, option: str) -> int:
    """Return the label of a class given by name, else by number from 0; UserError with the nearest match."""
    found = NameIndex(dataset.classes).find(name, option)
    if found is not None:
        return dataset.classes.index(found)
    number = whole_number(name)
    if number is not None and 0 <= number < len(dataset.classes):
        return number
    last = len(dataset.classes) - 1
    raise UserError(
        f"{option} {name!r}: {dataset.name} has no such class{nearest(name, dataset.classes)}; name one of its "
        f"{last + 1}, such as {dataset.classes[0]!r}, or give its number, 0 to {last}"
    )


def _drawn(examples: Sequence[Example[int]], selection: Selection) -> list[Example[int]]:
    """The share of the examples of each class, at random."""
    if selection.share == 1:
        return list(examples)
    rng = np.random.default_rng(selection.seed)
    labels = np.array([e.truth for e in examples], int)
    kept: set[int] = set()
    for label in np.unique(labels):
        indices = np.flatnonzero(labels == label)
        count = max(1, round(selection.share * len(indices)))
        kept.update(rng.choice(indices, count, replace=False).tolist())
    return [example for i, example in enumerate(examples) if i in kept]


def _listed(dataset: Dataset[Any], classes: set[int]) -> str:
    names = [repr(dataset.classes[label]) for label in sorted(classes)[:3]]
    return ", ".join(names) + (f" and {len(classes) - 3} more" if len(classes) > 3 else "")
