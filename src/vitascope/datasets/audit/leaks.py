"""Leaks of a split: test examples that share their recording, or moments of it, with training examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, NamedTuple

from vitascope.core.types import CLOCK, Dataset, Example, Fold, Span


class Leak(NamedTuple):
    """The test examples that a leak touches, over all folds, each with a training example of the same source."""

    pairs: Mapping[str, str]
    """{id of a test example: id of a training example}."""
    tested: int
    """Number of different test examples."""


def divided_sources(dataset: Dataset[Any], source: Callable[[Example[Any]], Hashable | None]) -> Leak:
    """The test examples whose source also occurs in the training set of their fold; an example may have none."""
    sources = {e.id: source(e) for e in dataset.examples}
    pairs: dict[str, str] = {}
    for fold in dataset.folds:
        trained = {sources[i]: i for i in reversed(fold.train)}
        pairs |= {i: trained[s] for i in fold.test if (s := sources[i]) is not None and s in trained}
    return Leak(pairs, _tested(dataset))


def recording(dataset: Dataset[Any]) -> Callable[[Example[Any]], Hashable | None]:
    """The recording of an example: the group that the given split divides, its group, or else its file."""

    def of(e: Example[Any]) -> Hashable | None:
        return dataset.divided_groups.get(e.id) or e.group or e.path or None

    return of


def overlapping_spans(dataset: Dataset[Any]) -> Leak:
    """The test examples that share moments of their file with a training example of their fold."""
    by_id, pairs = dataset.by_id(), dict[str, str]()
    for fold in dataset.folds:
        pairs |= dict(_overlaps(fold, by_id))
    return Leak(pairs, _tested(dataset))


def _overlaps(fold: Fold, by_id: Mapping[str, Example[Any]]) -> Iterator[tuple[str, str]]:
    trained: dict[str, list[Example[Any]]] = defaultdict(list)
    for i in fold.train:
        trained[by_id[i].path].append(by_id[i])
    for test in (by_id[i] for i in fold.test):
        spans = trained.get(test.path, []) if test.path else []
        other = next((e for e in spans if _shares_moments(e.span, test.span)), None)
        if other:
            yield test.id, other.id


def _shares_moments(one: Span | None, other: Span | None) -> bool:
    """Whether two spans of a video overlap by more than the tick of its clock; None is the whole video."""
    if one is None or other is None:
        return True
    return min(one[1], other[1]) - max(one[0], other[0]) > CLOCK


def _tested(dataset: Dataset[Any]) -> int:
    return len({i for fold in dataset.folds for i in fold.test})
