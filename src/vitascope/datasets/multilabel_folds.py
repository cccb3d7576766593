"""Folds of a multi-label dataset: iterative stratification of whole groups."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from vitascope.core.types import Example

Labels = tuple[int, ...]


def folds_of(examples: Sequence[Example[Labels]], count: int) -> list[int]:
    """Which of `count` folds each example is in: they divide no group, and in each all classes are about as frequent.

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
    return [tested[e.id] for e in examples]


def _assigned(sizes: Sequence[int], counts: Sequence[Mapping[int, int]], folds: int) -> list[int]:
    """The fold of each unit, given its size and how often each class occurs in it."""
    remaining, units_of = Counter[int](), defaultdict[int, list[int]](list)
    for i, of in enumerate(counts):
        remaining.update(of)
        for label in of:
            units_of[label].append(i)
    lacking = [Counter({label: n / folds for label, n in remaining.items()}) for _ in range(folds)]
    space = [sum(sizes) / folds] * folds
    fold_of, left = [-1] * len(sizes), set(range(len(sizes)))
    while left:
        remaining = +remaining
        rarest = min(remaining, key=lambda label: (remaining[label], label), default=None)
        chosen = sorted(left) if rarest is None else [i for i in units_of[rarest] if i in left]
        for i in sorted(chosen, key=lambda i: -counts[i].get(rarest, 0) if rarest is not None else -sizes[i]):
            best = max(range(folds), key=lambda f: (lacking[f][rarest] if rarest is not None else 0, space[f], -f))
            fold_of[i] = best
            space[best] -= sizes[i]
            lacking[best].subtract(counts[i])
            remaining.subtract(counts[i])
        left -= set(chosen)
    return fold_of
