"""Pairs of rows that belong together, and their one-to-one matching in turn: what every metric of segments rests on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int64, Integer
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Pairs: TypeAlias = tuple[Int64[Array, "p"], Int64[Array, "p"]]
"""Rows of the left side and of the right."""

BLOCK = 1 << 16
"""About how many pairs are held at once; more would only cost memory."""


def equal(left: Integer[Array, "n"], right: Integer[Array, "m"]) -> Iterator[Pairs]:
    """All pairs of rows whose keys are equal, block by block, in order of the left row and then of the right."""
    order = np.argsort(right, kind="stable")
    known, first, many = np.unique(right[order], return_index=True, return_counts=True)
    place = np.searchsorted(known, left)
    here = np.append(known, 0)[place] == left
    low, counts = np.append(first, 0)[place], np.where(here, np.append(many, 0)[place], 0)
    total = counts.cumsum()
    cuts = np.flatnonzero(np.diff(total // BLOCK)) + 1
    for start, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), len(left)], strict=True):
        many = counts[start:stop]
        within = np.arange(many.sum()) - np.repeat(many.cumsum() - many, many)
        yield np.repeat(np.arange(start, stop), many), order[np.repeat(low[start:stop], many) + within]


def in_turn(left: Int64[Array, "p"], right: Int64[Array, "p"], lefts: int, rights: int) -> Int64[Array, "{lefts}"]:
    """The pair that each left row gets when they choose one after another; -1 for one that finds nothing free.

    The pairs are in order of `left`, which is also the turn, and of one left row in its order of liking.
    All turns are played at once by deferred acceptance (Gale and Shapley, American Mathematical Monthly 69(1), 1962):
    every row asks its favorite, every right row keeps the earliest turn that asked, the others ask their next. When
    all right rows prefer the earlier turn, the one stable matching is what choosing one after another gives.
    """
    ends = np.bincount(left, minlength=lefts).cumsum()
    asking = np.concatenate([[0], ends[:-1]])[: len(ends)]
    holder = np.full(rights, lefts)
    active = np.flatnonzero(asking < ends)
    while active.size:
        asked = right[asking[active]]
        before = holder[asked]
        np.minimum.at(holder, asked, active)
        won = holder[asked] == active
        displaced = before[won]
        refused = np.concatenate([active[~won], displaced[displaced < lefts]])
        asking[refused] += 1
        active = refused[asking[refused] < ends[refused]]
    taken = np.full(lefts, -1)
    winners = holder[holder < lefts]
    taken[winners] = asking[winners]
    return taken


def at_levels(left: Int64[Array, "p"], right: Int64[Array, "p"], held: Array, sizes: tuple[int, int]) -> Array:
    """`in_turn` at several levels: the right row of each left row, (levels, n), -1 where it gets none.

    `held` (levels, pairs) says which pairs count at a level; `sizes` are the numbers of left and right rows.
    """
    lefts, rights = sizes
    levels = len(held)
    level, pair = np.nonzero(held)
    got = in_turn(level * lefts + left[pair], level * rights + right[pair], levels * lefts, levels * rights)
    partner = np.append(right[pair], -1)[got]
    return partner.reshape(levels, lefts)
