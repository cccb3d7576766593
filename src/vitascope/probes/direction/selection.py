"""Which examples versions are made of: classes or groups of them, actions of long videos, and folds of whole groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.names import canonical
from vitascope.core.text import counted, nearest
from vitascope.core.truth import classes_of
from vitascope.core.types import Dataset, Example, Fold, Timeline
from vitascope.datasets.splits import group_folds

FOLDS = 5
"""Folds of a data set of which only one side has videos."""
LEAST = 2
"""Fewest groups to train on, and to test on."""


def selected(dataset: Dataset[Any], classes: str, folds: int, where: str) -> Dataset[Any]:
    """The part of `dataset` that is told apart: examples of some classes, in its own folds or in `folds` of groups.

    Of videos with annotated times every action is an example. UserError, which begins with `where`, for a class that is
    not there, and for too few videos.
    """
    part = _with_classes(_of_actions(dataset), classes, where)
    part = _with_folds(part, folds, where)
    for fold in part.folds:
        _check(part, fold, f"{where} on {dataset.name}" + (f" ({classes})" if classes else ""))
    return replace(part, factors=(), factor_names=(), factor_classes=()) if part.factors else part


def class_numbers(dataset: Dataset[Any], text: str, where: str) -> list[int]:
    """The classes named in `text` with commas, as they are or as groups of `dataset`; names may contain commas.

    UserError with the nearest match for a name that is neither.
    """
    named: dict[str, Sequence[int]] = {_key(name): numbers for name, numbers in dataset.class_groups.items()}
    named |= {_key(name): [i] for i, name in enumerate(dataset.classes)}
    numbers: list[int] = []
    words = text.split(",")
    while words:
        ends = [end for end in range(len(words), 0, -1) if _key(",".join(words[:end])) in named]
        if not ends:
            raise UserError(f"{where}: {_unknown(words[0].strip(), dataset)}")
        numbers += named[_key(",".join(words[: ends[0]]))]
        words = words[ends[0] :]
    return list(dict.fromkeys(numbers))


def _key(name: str) -> str:
    return " ".join(canonical(name).casefold().split())


def _unknown(name: str, dataset: Dataset[Any]) -> str:
    names = [*dataset.class_groups, *dataset.classes]
    close = {_key(n): n for n in names}
    hint = nearest(_key(name), close)
    for key, proper in close.items():
        hint = hint.replace(f"{key!r}", f"{proper!r}")
    groups = f"; groups are {', '.join(dataset.class_groups)}" if dataset.class_groups else ""
    return f"{dataset.name} has no class {name!r}{hint}; classes are named with commas{groups}"


def _with_classes(dataset: Dataset[Any], classes: str, where: str) -> Dataset[Any]:
    if not classes:
        return dataset
    kept = set(class_numbers(dataset, classes, where))
    examples = tuple(
        replace(e, truth=tuple(c for c in e.truth if c in kept)) if isinstance(e.truth, tuple) else e
        for e in dataset.examples
        if kept & set(classes_of(e.truth))
    )
    return _limited(dataset, examples)


def _limited(dataset: Dataset[Any], examples: Sequence[Example[Any]]) -> Dataset[Any]:
    """`dataset` with some of its examples; files that are missing stay on record, as they identify its folder."""
    ids = {e.id for e in examples}
    folds = tuple(
        replace(f, train=tuple(i for i in f.train if i in ids), test=tuple(i for i in f.test if i in ids))
        for f in dataset.folds
    )
    return replace(dataset, examples=tuple(examples), folds=folds)


def _with_folds(dataset: Dataset[Any], folds: int, where: str) -> Dataset[Any]:
    """The data set in folds of whole groups if they are asked for, or if one of its sides has no videos."""
    there = [e for e in dataset.examples if e.id not in dataset.missing_files]
    have = {e.id for e in there}
    one_sided = not all(have.intersection(f.train) and have.intersection(f.test) for f in dataset.folds)
    if len({e.group or f"\0{e.id}" for e in there}) < 2 * LEAST:
        raise UserError(_too_few(dataset, len(there), where))
    if folds == 1:
        raise UserError(f"{where}: a single fold has nothing to train on; give +folds=2 or more, or none")
    if not folds and dataset.folds and not one_sided:
        return dataset
    return replace(dataset, folds=group_folds(there, folds or FOLDS))


def _check(dataset: Dataset[Any], fold: Fold, where: str) -> None:
    examples = dataset.by_id()
    least_tested = LEAST if len(dataset.folds) == 1 else 1
    for side, ids, least in (("train on", fold.train, LEAST), ("test on", fold.test, least_tested)):
        groups = {examples[i].group or f"\0{i}" for i in ids if i not in dataset.missing_files}
        if len(groups) < least:
            raise UserError(
                f"{where}: {len(groups)} of the {least} videos or groups needed to {side} in {fold.name}; choose more "
                "classes, or another split with +folds=5"
            )


def _too_few(dataset: Dataset[Any], count: int, where: str) -> str:
    return (
        f"{where}: {counted(count, 'video')} of {dataset.name} in too few groups: {LEAST} videos or groups to train on "
        f"and {LEAST} to test on are the least; add videos, or choose more classes"
    )


def _of_actions(dataset: Dataset[Any]) -> Dataset[Any]:
    """Actions of long videos as examples with classes; a data set of whole videos as it is."""
    if dataset.kind == "recognition":
        return dataset
    parts = {e.id: list(_actions(e)) for e in dataset.examples}
    folds = tuple(replace(f, train=_ids(parts, f.train), test=_ids(parts, f.test)) for f in dataset.folds)
    missing = {a.id: why for i, why in dataset.missing_files.items() for a in parts.get(i, ())}
    return replace(
        dataset,
        examples=tuple(a for actions in parts.values() for a in actions),
        folds=folds,
        key=f"{dataset.key or dataset.name}-actions",
        kind="recognition",
        missing_files=missing,
    )


def _ids(parts: Mapping[str, Sequence[Example[Any]]], videos: Sequence[str]) -> tuple[str, ...]:
    return tuple(action.id for video in videos for action in parts[video])


def _actions(example: Example[Any]) -> Iterator[Example[Any]]:
    """The annotated actions of a video, each with its span; a video with actors as it is, with the classes of all."""
    group = example.group or example.id
    if isinstance(example.truth, Timeline):
        ends = [n / example.truth.fps for n in accumulate((n for _, n in example.truth.runs), initial=0)]
        times = [(*span, label) for span, (label, _) in zip(pairwise(ends), example.truth.runs, strict=True)]
    elif isinstance(example.truth, tuple):
        times = sorted({(s.start, s.end, s.label) for s in example.truth})
    else:
        yield replace(example, truth=tuple(sorted(set(classes_of(example.truth)))), group=group)
        return
    for start, end, label in times:
        name = f"{example.id}@{start:.2f}-{end:.2f}:{label}"
        yield replace(example, id=name, truth=label, span=(start, end), group=group, duration=None)
