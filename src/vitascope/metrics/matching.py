"""Joining rows by key and greedy one-to-one matching, the basis of all segment metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int64, Integer
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Pairs: TypeAlias = tuple[Int64[Array, "p"], Int64[Array, "p"]]
"""Row indices of the left and the right table."""

BLOCK = 1 << 16
"""Approximate number of pairs per block; larger blocks only cost memory."""


def pairs_with_equal_keys(left: Integer[Array, "n"], right: Integer[Array, "m"]) -> Iterator[Pairs]:
    """All pairs of rows with equal keys, in blocks, ordered by left row, then right row."""
    order = np.argsort(right, kind="stable")
    keys, first, many = np.unique(right[order], return_index=True, return_counts=True)
    place = np.searchsorted(keys, left)
    present = np.append(keys, 0)[place] == left
    low, counts = np.append(first, 0)[place], np.where(present, np.append(many, 0)[place], 0)
    total = counts.cumsum()
    cuts = np.flatnonzero(np.diff(total // BLOCK)) + 1
    for start, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), len(left)], strict=True):
        many = counts[start:stop]
        within = np.arange(many.sum()) - np.repeat(many.cumsum() - many, many)
        yield np.repeat(np.arange(start, stop), many), order[np.repeat(low[start:stop], many) + within]


def greedy_pairs(left: Int64[Array, "p"], right: Int64[Array, "p"], lefts: int, rights: int) -> Int64[Array, "{lefts}"]:
    """Greedy matching: the pair that each left row gets when left rows choose in order; -1 if no candidate is free.

    Pairs are sorted by left row and, within a row, by its preference. All choices are computed in parallel by deferred
    acceptance (Gale and Shapley, American Mathematical Monthly 69(1), 1962): each left row proposes to its favorite,
    each right row holds on to the lowest left row, and rejected rows propose to their next choice. Because all right
    rows prefer the lower left row, the stable matching is unique and equals the greedy one.
    """
    ends = np.bincount(left, minlength=lefts).cumsum()
    proposal = np.concatenate([[0], ends[:-1]])[: len(ends)]
    holder = np.full(rights, lefts)
    active = np.flatnonzero(proposal < ends)
    while active.size:
        candidate = right[proposal[active]]
        before = holder[candidate]
        np.minimum.at(holder, candidate, active)
        won = holder[candidate] == active
        displaced = before[won]
        rejected = np.concatenate([active[~won], displaced[displaced < lefts]])
        proposal[rejected] += 1
        active = rejected[proposal[rejected] < ends[rejected]]
    matched = np.full(lefts, -1)
    winners = holder[holder < lefts]
    matched[winners] = proposal[winners]
    return matched


def match_at_levels(
    left: Int64[Array, "p"], right: Int64[Array, "p"], eligible: Array, sizes: tuple[int, int]
) -> Array:
    """The right row matched to each left row at several levels, (levels, n), -1 if none; see `greedy_pairs`.

    `eligible` (levels, pairs) marks the pairs allowed at each level; `sizes` are the numbers of left and right rows.
    """
    lefts, rights = sizes
    levels = len(eligible)
    level, pair = np.nonzero(eligible)
    matched = greedy_pairs(level * lefts + left[pair], level * rights + right[pair], levels * lefts, levels * rights)
    partner = np.append(right[pair], -1)[matched]
    return partner.reshape(levels, lefts)
