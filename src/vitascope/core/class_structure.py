"""How the classes of a dataset are related: opposites, families, and those that are alike without order of frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vitascope.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ClassStructure:
    """Relations between classes, which are given by index. UserError where a class is in two pairs or two groups."""

    pairs: tuple[tuple[int, int], ...] = ()
    """Opposite classes, such as up and down."""
    families: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Classes by what changes in them, such as position or size."""
    alike: tuple[tuple[int, ...], ...] | None = None
    """Groups of classes whose videos consist of the same frames in another order, so that nobody can tell them apart
    who does not know the order; classes in no group are told from all others. None: not known."""

    def __post_init__(self) -> None:
        for what, groups in (("pairs", self.pairs), ("groups that look alike", self.alike or ())):
            if twice := [c for c, times in Counter(c for group in groups for c in group).items() if times > 1]:
                raise UserError(f"class {twice[0]} is in two {what}; a class is in one at most")

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a pair nor a family."""
        return not self.pairs and not self.families


UNRELATED = ClassStructure()
"""Of classes about which nothing is known."""


def merged(groups: Iterable[Iterable[int]], classes: int) -> list[int]:
    """For each of so many classes the smallest class of its group, which is itself where it is in none."""
    first = list(range(classes))
    for group in map(sorted, groups):
        for c in group:
            first[c] = group[0]
    return first
