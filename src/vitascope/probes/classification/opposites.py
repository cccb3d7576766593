"""Which pairs of opposite classes, or groups of videos, are asked of a dataset, and which of them it can answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.text import counted
from vitascope.core.types import Dataset, Example
from vitascope.datasets import chirality_groups, class_pairs
from vitascope.datasets.class_pairs import Sides

LEAST_TRAIN, LEAST_TEST = 2, 1
"""Fewest videos of each side of a pair, to train and to test on."""
SHOWN = 3
"""Pairs that a message names."""


class PairChoice(NamedTuple):
    """The pairs that a probe is to tell apart: a user's, groups of videos from files, or those listed for a dataset."""

    name: str
    """Of the probe, for messages."""
    pairs: str = ""
    groups: str = ""
    known: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The files that name them."""
        if self.pairs:
            return (self.pairs,) if class_pairs.is_file(self.pairs) else ()
        if self.groups:
            return tuple(map(str, chirality_groups.files(self.groups)))
        return (str(class_pairs.list_file(self.known)),) if self.known else ()

    def sides(self, examples: Sequence[Example[Any]], classes: Sequence[str]) -> list[Sides]:
        """The examples on the two sides of each pair, in one order for all examples of a dataset."""
        if self.groups:
            groups = chirality_groups.read_groups(chirality_groups.files(self.groups))
            return chirality_groups.matched(groups, examples, self.groups)
        if self.pairs:
            chosen = class_pairs.read_pairs(self.pairs, classes, self.name)
        else:
            chosen = class_pairs.fitting(self.known, classes, self.name) if self.known else []
        return class_pairs.class_sides(chosen, examples, classes)

    def check(self, dataset: Dataset[Any]) -> tuple[list[Sides], dict[str, str]]:
        """The pairs that `dataset` can answer, and {pair: why not} of the others.

        UserError if there is none, or one that the user named is among the others.
        """
        sides = self.sides(dataset.examples, dataset.classes)
        if not sides:
            of = f"{dataset.name} has no two classes of the pairs of {self.known}" if self.known else ""
            none = of or f"no opposite classes are known of {dataset.name}"
            raise UserError(f"{self.name}: {none}; {class_pairs.how_to(dataset.classes, self.name)}")
        lacking = {pair.name: why for pair in sides if (why := _lack(pair, dataset))}
        usable = [pair for pair in sides if pair.name not in lacking]
        if lacking and (self.pairs or not usable):
            raise UserError(f"{self.name}: {dataset.name}: {_listed(lacking)}{self._hint()}")
        return usable, lacking

    def _hint(self) -> str:
        if not self.groups:
            needed = f"a pair needs {LEAST_TRAIN} training videos and a test video of each class"
            return f"; {needed}{', leave it out' if self.pairs else ''}"
        both = "cia-ssv2-train.csv,cia-ssv2-validation.csv"
        return f"; groups need both files, in one folder or as +groups={both}"


def left_out(lacking: Mapping[str, str], total: int) -> str:
    """A line on the pairs that a dataset cannot answer."""
    return f"{len(lacking)} of {counted(total, 'pair')} left out: {_listed(lacking)}"


def _lack(pair: Sides, dataset: Dataset[Any]) -> str:
    """What a pair lacks in every fold; empty if it can be trained and tested in one."""
    lacks = []
    for fold in dataset.folds:
        train, test = (_counts(pair, ids) for ids in (fold.train, fold.test))
        if min(train) >= LEAST_TRAIN and min(test) >= LEAST_TEST:
            return ""
        lacks.append(f"{train[0]} + {train[1]} training and {test[0]} + {test[1]} test videos")
    return lacks[0] if lacks else "no split"


def _counts(pair: Sides, ids: Sequence[str]) -> tuple[int, int]:
    sides = [pair.side[i] for i in ids if i in pair.side]
    return sides.count(0), sides.count(1)


def _listed(lacking: Mapping[str, str]) -> str:
    shown = [f"{name} ({why})" for name, why in list(lacking.items())[:SHOWN]]
    more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
    return f"{', '.join(shown)}{more}"
