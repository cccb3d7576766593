"""Choosing one of many settings: by training examples held out, class by class and groups whole, or by the test."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitascope.metrics import accuracy
from vitascope.runtime import generator
from vitascope.types import Example

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
        raise ValueError(f"{name}: select {select!r} is none of {', '.join(get_args(Select))}")


def held_out(examples: Sequence[Example[int]], seed: int) -> Sides:
    """A tenth of the `examples`, at least one, drawn by `seed`: classes in proportion, no group on both sides.

    Every class keeps an example to train on, unless its groups leave none. ValueError where nothing can be held out.
    """
    units: dict[Any, list[int]] = defaultdict(list)
    for i, e in enumerate(examples):
        units[(e.group, "") if e.group is not None else (i, e.id)].append(i)
    counts: dict[int, int] = defaultdict(int)
    for e in examples:
        counts[e.truth] += 1
    wanted = {label: count / SHARE for label, count in counts.items()}
    draw = random.Random(f"held out {seed}")
    order = sorted(units.values(), key=lambda members: examples[members[0]].id)
    draw.shuffle(order)
    held: list[int] = []
    target = max(1, round(len(examples) / SHARE))
    for members in order:
        labels = [examples[i].truth for i in members]
        fits = all(wanted[c] > 0 for c in labels) and all(counts[c] > labels.count(c) for c in set(labels))
        if fits and len(held) + len(members) <= max(target, 1):
            held += members
            for c in labels:
                wanted[c] -= 1
                counts[c] -= 1
    if not held and len(units) > 1:  # groups larger than a tenth: the smallest that leaves every class an example
        members = min(order, key=lambda one: (not _leaves(examples, one), len(one)))
        held = members if _leaves(examples, members) else []
    if not held:
        raise ValueError(
            f"{len(examples)} training examples in {len(units)} groups leave none to choose a head by; use a probe "
            "without a grid"
        )
    apart = set(held)
    return Sides([i for i in range(len(examples)) if i not in apart], sorted(held))


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


def chosen(
    grid: Sequence[Mapping[str, float]], select: Select, held: Sequence[float], test: Sequence[float]
) -> tuple[int, dict[str, Any]]:
    """Which of the grid, and what to say about it: the first of the best by what `select` names."""
    by = held if select == "held-out" else test
    best = max(range(len(grid)), key=lambda i: (by[i], -i))
    told = [
        {**point, **({"held-out": round(h, 4)} if held else {}), "test": round(t, 4)}
        for point, h, t in zip(grid, held or [0.0] * len(grid), test, strict=True)
    ]
    return best, {"select": select, "chosen": dict(grid[best]), "grid": told}
