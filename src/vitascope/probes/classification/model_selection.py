"""Choosing one of many settings: by training examples held out, class by class and groups whole, or by the test."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitascope.core.device import generator
from vitascope.core.errors import UserError
from vitascope.core.types import Example
from vitascope.metrics import accuracy

Select: TypeAlias = Literal["held-out", "best-on-test"]
"""By what one is chosen: held-out training examples, or the test side, which the tables then say."""
SHARE = 10


class Sides(NamedTuple):
    """Positions of the examples to train on, and of those to choose by."""

    train: list[int]
    held: list[int]


def check_select(name: str, select: str) -> None:
    """ValueError unless `select` is one of `Select`."""
    if select not in get_args(Select):
        raise UserError(f"{name}: select {select!r} is none of {', '.join(get_args(Select))}")


def held_out(examples: Sequence[Example[int]], seed: int) -> Sides:
    """A tenth of the `examples`, at least one, drawn by `seed`: classes in proportion, each keeps one to train on.

    No group stands on both sides, unless no group can be spared: then examples are held out one by one, which favors
    heads that know the group. ValueError where every example is the only one of its class.
    """
    held = _whole_groups(examples, seed) or _drawn(examples, [[i] for i in range(len(examples))], seed)
    if not held:
        raise UserError(
            f"{len(examples)} training examples leave none to choose a head by, as each is the only one of its class; "
            "use a probe without a grid"
        )
    apart = set(held)
    return Sides([i for i in range(len(examples)) if i not in apart], sorted(held))


def _whole_groups(examples: Sequence[Example[int]], seed: int) -> list[int]:
    units: dict[Any, list[int]] = defaultdict(list)
    for i, e in enumerate(examples):
        units[(e.group, "") if e.group is not None else (i, e.id)].append(i)
    held = _drawn(examples, list(units.values()), seed)
    if held:
        return held
    # groups larger than a tenth: the smallest that leaves every class an example
    fitting = [members for members in units.values() if _leaves(examples, members)]
    return min(fitting, key=len) if fitting else []


def _drawn(examples: Sequence[Example[int]], units: list[list[int]], seed: int) -> list[int]:
    """Units in an order drawn by `seed`, taken while their classes want more and keep some, up to a tenth."""
    counts = Counter(e.truth for e in examples)
    wanted = {label: count / SHARE for label, count in counts.items()}
    target = max(1, round(len(examples) / SHARE))
    order = sorted(units, key=lambda members: examples[members[0]].id)
    random.Random(f"held out {seed}").shuffle(order)
    held: list[int] = []
    for members in order:
        labels = Counter(examples[i].truth for i in members)
        spared = all(wanted[c] > 0 and counts[c] > n for c, n in labels.items())
        if spared and len(held) + len(members) <= target:
            held += members
            for c, n in labels.items():
                wanted[c] -= n
                counts[c] -= n
    return held


def sample(labels: Int[Tensor, "e"], most: int, seed: int) -> Int[Tensor, "m"]:
    """Positions of at most `most` examples, ascending, drawn by `seed` with classes in proportion."""
    if len(labels) <= most:
        return torch.arange(len(labels))
    order = torch.randperm(len(labels), generator=generator(seed))
    by_class = labels[order].argsort(stable=True)
    counts = torch.bincount(labels)
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    through = torch.empty(len(labels))
    through[by_class] = (place + 0.5) / counts.repeat_interleave(counts)  # of its class; all classes advance together
    return order[through.argsort(stable=True)[:most]].sort().values


def _leaves(examples: Sequence[Example[int]], members: Sequence[int]) -> bool:
    """Whether every class has an example beside `members`."""
    gone = set(members)
    return {e.truth for i, e in enumerate(examples) if i not in gone} == {e.truth for e in examples}


def top_1(scores: Float[Tensor, "n c"], labels: Int[Tensor, "n"]) -> float:
    """Percent whose class has the largest score; NaN (could not be read, or a head that diverged) does not count."""
    keep = ~scores.isnan().any(dim=1)
    if not keep.any():
        return 0.0
    return accuracy.top_k(scores[keep].cpu().numpy(), labels.to(keep.device)[keep].cpu().numpy())


def chosen(grid: Sequence[Mapping[str, float]], select: Select, scores: Sequence[float]) -> tuple[int, dict[str, Any]]:
    """Which of a grid, and what to say about it: the first with the best of `scores`, those on the side of `select`."""
    best = max(range(len(grid)), key=lambda i: (scores[i], -i))
    side = "held-out" if select == "held-out" else "test"
    told = [{**point, side: round(score, 4)} for point, score in zip(grid, scores, strict=True)]
    return best, {"select": select, "chosen": dict(grid[best]), "grid": told}
