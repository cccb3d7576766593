"""Folds of a multi-label dataset: iterative stratification of whole groups."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from vitascope.core.types import Example, Fold

Labels = tuple[int, ...]


def stratified(examples: Sequence[Example[Labels]], count: int) -> tuple[Fold, ...]:
    """`count` folds that divide no group, in each of which all classes are about equally frequent.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011): the groups of the rarest class that is
    left go, the largest first, to the fold that lacks that class most, then to the one that lacks most examples.
    """
    units: dict[tuple[str, bool], list[Example[Labels]]] = defaultdict(list)
    for e in examples:
        units[(e.id, False) if e.group is None else (e.group, True)].append(e)
    members = [units[key] for key in sorted(units)]
    random.Random("folds").shuffle(members)
    counts = [Counter(label for e in unit for label in e.truth) for unit in members]
    fold_of = _assigned([len(unit) for unit in members], counts, count)
    tested = {e.id: fold for unit, fold in zip(members, fold_of, strict=True) for e in unit}
    return tuple(
        Fold(
            name=f"fold {i + 1} of {count}",
            train=tuple(e.id for e in examples if tested[e.id] != i),
            test=tuple(e.id for e in examples if tested[e.id] == i),
        )
        for i in range(count)
    )


def _assigned(sizes: Sequence[int], counts: Sequence[Mapping[int, int]], folds: int) -> list[int]:
    """The fold of each unit, given its size and how often each class occurs in it."""
    total = sum((Counter(of) for of in counts), Counter[int]())
    lacking = [Counter({label: n / folds for label, n in total.items()}) for _ in range(folds)]
    space = [sum(sizes) / folds] * folds
    fold_of, left = [-1] * len(sizes), set(range(len(sizes)))
    while left:
        remaining = sum((Counter(counts[i]) for i in left), Counter[int]())
        rarest = min(remaining, key=lambda label: (remaining[label], label), default=None)
        chosen = [i for i in sorted(left) if rarest is None or counts[i].get(rarest, 0)]
        for i in sorted(chosen, key=lambda i: -counts[i].get(rarest, 0) if rarest is not None else -sizes[i]):
            best = max(range(folds), key=lambda f: (lacking[f][rarest] if rarest is not None else 0, space[f], -f))
            fold_of[i] = best
            space[best] -= sizes[i]
            lacking[best].subtract(counts[i])
        left -= set(chosen)
    return fold_of
