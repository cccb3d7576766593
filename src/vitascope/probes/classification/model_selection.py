"""Hyper-parameter selection: on held-out training examples, stratified by class and group, or on the test set."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from jaxtyping import Float, Int

from vitascope.core.device import generator, torch
from vitascope.core.errors import UserError
from vitascope.core.types import Example
from vitascope.metrics import accuracy
from vitascope.probes.classification import multilabel
from vitascope.probes.classification.multilabel import Targets, is_multilabel, labels_of

Select: TypeAlias = Literal["held-out", "best-on-test"]
"""Selection on held-out training examples, or on the test set (tables mark this)."""
HELD_OUT_ONE_IN = 10
"""One training example in so many is held out."""


class HeldOutSplit(NamedTuple):
    """Indices of the examples to train on, and of those held out for selection."""

    train: list[int]
    held_out: list[int]


def held_out(examples: Sequence[Example[Any]], seed: int) -> HeldOutSplit:
    """Hold out a tenth of `examples`, at least one, drawn by `seed`, stratified; every class keeps a training example.

    Groups are kept whole, unless no group can be spared: then examples are held out individually, which favors heads
    that recognize the group. Raises UserError if every example is the only one of its class.
    """
    held_out_indices = _whole_groups(examples, seed) or _draw_units(examples, [[i] for i in range(len(examples))], seed)
    if not held_out_indices:
        raise UserError(
            f"cannot hold out any of {len(examples)} training examples, as each is the only one of its class; use a "
            "probe without hyper-parameter search"
        )
    excluded = set(held_out_indices)
    return HeldOutSplit([i for i in range(len(examples)) if i not in excluded], sorted(held_out_indices))


def _whole_groups(examples: Sequence[Example[Any]], seed: int) -> list[int]:
    units: dict[Any, list[int]] = defaultdict(list)
    for i, e in enumerate(examples):
        units[(e.group, "") if e.group is not None else (i, e.id)].append(i)
    held = _draw_units(examples, list(units.values()), seed)
    if held:
        return held
    # groups larger than a tenth: take the smallest that leaves every class an example
    spareable = [members for members in units.values() if _leaves_every_class(examples, members)]
    return min(spareable, key=len) if spareable else []


def _draw_units(examples: Sequence[Example[Any]], units: list[list[int]], seed: int) -> list[int]:
    """Take units in random order, up to a tenth, while their classes need more and keep training examples."""
    counts = Counter(label for e in examples for label in labels_of(e))
    needed = {label: count / HELD_OUT_ONE_IN for label, count in counts.items()}
    target = max(1, round(len(examples) / HELD_OUT_ONE_IN))
    order = sorted(units, key=lambda members: examples[members[0]].id)
    random.Random(f"held out {seed}").shuffle(order)
    held: list[int] = []
    for members in order:
        labels = Counter(label for i in members for label in labels_of(examples[i]))
        allowed = all(needed[c] > 0 and counts[c] > n for c, n in labels.items())
        if allowed and len(held) + len(members) <= target:
            held += members
            for c, n in labels.items():
                needed[c] -= n
                counts[c] -= n
    return held


def stratified_sample(labels: Targets, limit: int, seed: int) -> Int[torch.Tensor, "m"]:
    """Return ascending indices of at most `limit` examples, drawn by `seed`, stratified by class unless multi-label."""
    if len(labels) <= limit:
        return torch.arange(len(labels))
    order = torch.randperm(len(labels), generator=generator(seed))
    if is_multilabel(labels):
        return order[:limit].sort().values
    by_class = labels[order].argsort(stable=True)
    counts = torch.bincount(labels)
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    rank = torch.empty(len(labels))
    rank[by_class] = (place + 0.5) / counts.repeat_interleave(counts)  # within its class
    return order[rank.argsort(stable=True)[:limit]].sort().values


def _leaves_every_class(examples: Sequence[Example[Any]], members: Sequence[int]) -> bool:
    """Return whether every class has an example outside `members`."""
    removed = set(members)
    left = {label for i, e in enumerate(examples) if i not in removed for label in labels_of(e)}
    return left == {label for e in examples for label in labels_of(e)}


def selection_score(scores: Float[torch.Tensor, "n c"], labels: Targets) -> float:
    """Return top-1 accuracy in percent, or mAP of several labels; rows with NaN (unreadable, diverged) do not count."""
    if is_multilabel(labels):
        return multilabel.selection_score(scores, labels)
    valid = ~scores.isnan().any(dim=1)
    if not valid.any():
        return 0.0
    return accuracy.top_k(scores[valid].cpu().numpy(), labels.to(valid.device)[valid].cpu().numpy())


def choose(
    candidates: Sequence[Mapping[str, Any]], select: Select, scores: Sequence[float]
) -> tuple[int, dict[str, Any]]:
    """Return the index of the first candidate with the best of `scores`, and a summary of the selection."""
    best = max(range(len(candidates)), key=lambda i: (scores[i], -i))
    side = "held-out" if select == "held-out" else "test"
    results = [{**point, side: round(score, 4)} for point, score in zip(candidates, scores, strict=True)]
    return best, {"select": select, "chosen": dict(candidates[best]), "grid": results}
